"""The release files: from the work folder to the output folder, and the report beside them."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from pathlib import Path

from packager import resources
from packager.archive.checksums import NAME as SUMS
from packager.archive.checksums import read_checksums, update_checksums
from packager.archive.manifest import Manifest
from packager.bundle import APP_DIR
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import remove_tree, walk_files
from packager.parts import manifest_path
from packager.relocation.path_budget import path_budget
from packager.targets import Target


def measure(root: Path) -> dict[str, int]:
    """Files and bytes below `root`; a file with two names counts once, a link not at all."""
    seen: set[tuple[int, int]] = set()
    files = size = 0
    for path in walk_files(root):
        status = path.lstat()
        if path.is_symlink() or (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        files += 1
        size += status.st_size
    return {"files": files, "bytes": size}


@functools.cache
def program_digests() -> dict[str, str]:
    """Hex sha256 of each module and room of the program, by file name (`proof`, `install.py`, `helper_scripts`)."""
    digests: dict[str, str] = {}
    for folder in (Path(__file__).parent, resources.helper_scripts()):
        for path in walk_files(folder):
            name = path.relative_to(folder).as_posix()
            room = "helper_scripts" if folder.name == "helper_scripts" else name.split("/")[0]
            if "__pycache__" not in path.parts and room != "_data":
                seen = f"{digests.get(room, '')} {name} ".encode() + path.read_bytes()
                digests[room] = hashlib.sha256(seen).hexdigest()
    return digests


def publish(archives: Path, output: Path) -> list[str]:
    """Put everything in `archives` into `output`, each file in one step; SHA256SUMS is merged. Returns the names."""
    output.mkdir(parents=True, exist_ok=True)
    sums = read_checksums(archives / "SHA256SUMS")
    names = []
    for source in sorted(archives.iterdir()):
        if source.name == "SHA256SUMS":
            continue
        temporary = output / f".{source.name}.tmp"
        remove_tree(temporary)
        try:
            if source.is_dir():
                shutil.copytree(source, temporary, symlinks=True)
                remove_tree(output / source.name)
            else:
                _link_or_copy(source, temporary)
            temporary.replace(output / source.name)
        except BaseException:
            remove_tree(temporary)
            raise
        names.append(source.name)
    update_checksums(output, sums)
    return names


def set_aside(archives: Path, previous: Path, name: str) -> Path | None:
    """Move the finished `archives` of the last build to `previous`; the zip `name` there, or its first part, if any."""
    if (archives / SUMS).is_file():
        remove_tree(previous)
        archives.rename(previous)
    listed = read_checksums(previous / SUMS) if (previous / SUMS).is_file() else {}
    wanted = manifest_path(previous / name)
    if not all((previous / item).is_file() for item in listed):
        return None
    found = (previous / item for item in sorted(listed) if item.endswith(".zip"))
    return next((path for path in found if manifest_path(path) == wanted), None)


def is_first_part(path: str) -> bool:
    """Whether an entry belongs in part 1: what the helpers need to run, and so to tell which part is missing."""
    return path.split("/", 1)[0] != APP_DIR and "site-packages/" not in path


def is_published(archives: Path, output: Path, names: list[str]) -> bool:
    """Whether the release files are all there with the size they had."""
    return all(
        (output / name).exists() and ((archives / name).is_dir() or _same_size(archives / name, output / name))
        for name in names
    )


def _same_size(first: Path, second: Path) -> bool:
    return first.exists() and first.stat().st_size == second.stat().st_size


def _link_or_copy(source: Path, destination: Path) -> None:
    """A second name costs nothing; across file systems it takes a copy. Nothing writes to either afterwards."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)


def check_path_budget(manifest: Manifest, root: str, target: Target, budget: int | None, console: Console) -> None:
    """Tell the longest path, and the longest folder it can be unzipped into where the target has a limit.

    `budget` is in characters, the root folder included. Raises InputError if the longest path is over it.
    """
    found = path_budget([f"{root}/{entry.path}" for entry in manifest.entries], target)
    if budget is not None and found.length > budget:
        raise InputError(
            f"the longest path has {found.length} characters, the recipe allows {budget}: {found.longest}",
            where="archive.max_path",
            remedy="shorten `root`, remove what holds the path, or raise the budget",
        )
    if found.folder is not None:
        console.info(f"longest path {found.length} characters; unzips into folders of up to {found.folder} characters")
