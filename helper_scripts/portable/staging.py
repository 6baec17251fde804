"""Getting the wheels, and unpacking them beside the bundle's Python, so that putting them into it is moving files."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from portable import pip
from portable.bundle import Bundle, site_packages_of
from portable.changes import Change, sha256_of
from portable.disk import require_room
from portable.distributions import Distribution, bytecode_of, normalise
from portable.errors import HelperError
from portable.resolution import Download
from portable.scripts import make_relocatable


def fetch_wheels(bundle: Bundle, downloads: Sequence[Download], sources: Sequence[str], work: Path) -> list[Path]:
    """One wheel for each of `downloads`, in `work`: downloaded by the hash that was resolved, or built from source.

    Raises HelperError if one cannot be had; the bundle is not touched.
    """
    wheels = work / "wheels"
    wheels.mkdir()
    by_hash, others = [], []
    for item in downloads:
        local = _local_wheel(item)
        if local is not None:
            place = wheels / local.name
            require_room(bundle.root, local.stat().st_size)
            shutil.copyfile(local, place)
            if item.hashes.get("sha256", sha256_of(place)) != sha256_of(place):
                raise HelperError(f"{local} has changed since it was looked at: nothing was changed.")
        elif item.hashes:
            pin = f"{item.name} @ {item.url}" if item.is_direct else f"{item.name}=={item.version}"
            by_hash.append(" ".join([pin, *(f"--hash={name}:{digest}" for name, digest in item.hashes.items())]))
        else:
            at = f"@{item.commit}" if item.commit else ""
            others.append(f"{item.name} @ git+{item.url}{at}" if item.commit else f"{item.name} @ {item.url}")
    for name, lines, option in (("hashed.txt", by_hash, ["--require-hashes"]), ("others.txt", others, [])):
        if not lines:
            continue
        (work / name).write_text("\n".join([*lines, ""]), encoding="utf-8")
        said = pip.call(
            bundle,
            "wheel", "--no-deps", "--no-input", "--wheel-dir", wheels, *option, *sources, "--requirement", work / name,
            cwd=work,
        )  # fmt: skip
        if said.code != 0:
            raise pip.failure("It cannot be downloaded or built.", said)
    return sorted(wheels.glob("*.whl"))


def unpack(bundle: Bundle, wheels: Sequence[Path], work: Path, *, requested: Collection[str]) -> Path:
    """Install `wheels` with pip into a prefix of its own in `work`, without a network; returns the prefix.

    `requested` are the packages that were asked for by name (PEP 376, REQUESTED). Scripts already find their Python
    from where they will lie.
    """
    require_room(bundle.root, sum(info.file_size for wheel in wheels for info in zipfile.ZipFile(wheel).infolist()))
    stage = work / "stage"
    said = pip.call(
        bundle,
        "install", "--quiet", "--no-input", "--no-index", "--no-deps", "--ignore-installed", "--no-compile",
        "--root-user-action", "ignore", "--prefix", stage / "python", *wheels,
        cwd=work, show=False,
    )  # fmt: skip
    if said.code != 0:
        raise pip.failure("pip cannot unpack it.", said)
    for origin in site_packages_of(stage).glob("*.dist-info/direct_url.json"):
        _forget(origin)
    for mark in site_packages_of(stage).glob("*.dist-info/REQUESTED"):
        if normalise(mark.parent.name.split("-")[0]) not in requested:
            _forget(mark)
    make_relocatable(stage)
    return stage / "python"


def _forget(file: Path) -> None:
    """Remove a file of a .dist-info folder and its row of RECORD; direct_url.json (PEP 610), because the folder it
    names will be gone."""
    file.unlink()
    record = file.with_name("RECORD")
    name = f"{file.parent.name}/{file.name},".encode()
    kept = [line for line in record.read_bytes().splitlines(keepends=True) if not line.startswith(name)]
    record.write_bytes(b"".join(kept))


def plan_changes(root: Path, going: Iterable[Distribution], prefix: Path | None) -> tuple[Change, ...]:
    """The changes that take the packages `going` away and put what is unpacked in `prefix` in their place."""
    coming: dict[str, Path] = {}
    if prefix is not None:
        for path in sorted(prefix.rglob("*")):
            if path.is_symlink() or path.is_file():
                coming[f"python/{path.relative_to(prefix).as_posix()}"] = path
    leaving = {name for package in going for name in package.files(root)}
    for name in coming:
        leaving.update(path.relative_to(root).as_posix() for path in bytecode_of(root / name))
    puts = [Change(path=name, source=path) for name, path in coming.items()]
    return (*puts, *(Change(path=name) for name in sorted(leaving - coming.keys())))


def overwritten(
    root: Path, changes: Sequence[Change], going: Iterable[Distribution], there: Iterable[Distribution]
) -> dict[str, list[str]]:
    """Of other packages that stay, the files that the changes replace: package -> paths."""
    own = {package.name: package.files(root) for package in going}
    puts = {change.path for change in changes if change.source is not None and (root / change.path).exists()}
    puts.difference_update(*own.values())
    if not puts:
        return {}
    found = {}
    for package in there:
        if package.name not in own and (both := sorted(puts.intersection(package.files(root)))):
            found[package.shown_name] = both
    return found


def _local_wheel(item: Download) -> Path | None:
    """The file of a download that is a wheel on this machine: named by the user, or in a wheels folder."""
    parts = urlsplit(item.url)
    if parts.scheme != "file" or not parts.path.endswith(".whl"):
        return None
    host = f"//{parts.netloc}" if parts.netloc and parts.netloc != "localhost" else ""
    return Path(url2pathname(host + parts.path))
