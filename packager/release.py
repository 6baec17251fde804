"""The release files: from the work folder to the output folder, and the report beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

from packager.archive.checksums import NAME as SUMS
from packager.archive.checksums import read_checksums, update_checksums
from packager.archive.manifest import Manifest
from packager.bundle import APP_DIR
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import remove_tree, sha256_file, walk_files
from packager.lock import Lock
from packager.papers import MEMBER as SBOM_MEMBER
from packager.papers import SUFFIX as SBOM_SUFFIX
from packager.parts import manifest_path
from packager.recipe import Recipe
from packager.release_folder import replace_folder, withdraw_folder
from packager.relocation.path_budget import path_budget
from packager.targets import Target

# What lies beside the archives, by what follows the stem in its name.
LOCK_SUFFIX = ".lock.json"
SIDECARS = (".manifest.json", SBOM_SUFFIX, ".report.json", ".report.html", LOCK_SUFFIX)


def file_stem(recipe: Recipe, target: Target) -> str:
    """The name of the release files without suffix: NAME-VERSION-TARGET, and the accelerator if the recipe has one."""
    parts = [recipe.name, recipe.version, target.name]
    return "-".join([*parts, recipe.accelerator] if recipe.accelerator else parts)


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


def add_lock(archives: Path, stem: str, lock: Lock) -> None:
    """Put the lock among the finished `archives`: by it two releases are compared, and one is made again."""
    path = archives / f"{stem}{LOCK_SUFFIX}"
    lock.save(path)
    update_checksums(archives, {path.name: sha256_file(path)})


def add_sbom(archives: Path, portable: Path, stem: str) -> None:
    """Put the bundle's SBOM beside its archives, and into their SHA256SUMS."""
    path = archives / f"{stem}{SBOM_SUFFIX}"
    shutil.copyfile(portable / SBOM_MEMBER, path)
    update_checksums(archives, {path.name: sha256_file(path)})


def publish(archives: Path, output: Path, stem: str, console: Console) -> dict[str, str]:
    """Put everything in `archives` into `output`, each file in one step; SHA256SUMS is merged.

    Copies, so that whatever happens to a release file the next build still has what it proved. Archives of an earlier
    build of the same `stem` that have no successor go (see superseded); so does the last folder, unless somebody put
    something there (see replace_folder).
    Returns the sums by name; that of a folder is "".
    """
    output.mkdir(parents=True, exist_ok=True)
    sums = read_checksums(archives / SUMS)
    published = {}
    for source in sorted(archives.iterdir()):
        if source.name == SUMS:
            continue
        temporary = output / f".{source.name}.tmp"
        remove_tree(temporary)
        try:
            if source.is_dir():
                shutil.copytree(source, temporary, symlinks=True)
                replace_folder(temporary, output / source.name, console)
            else:
                shutil.copyfile(source, temporary)
                temporary.replace(output / source.name)
        except BaseException:
            remove_tree(temporary)
            raise
        published[source.name] = sums.get(source.name, "")
    for path in superseded(output, stem, console, keep=published):
        path.unlink()
        console.info(f"removed {path.name}, of an earlier build")
    update_checksums(output, sums)
    return published


def superseded(output: Path, stem: str, console: Console, *, keep: Collection[str]) -> list[Path]:
    """Archives in `output` that a build of `stem` once published and that are not among `keep`: other parts, formats.

    Known by their names and by the hash in SHA256SUMS; one that was changed since is somebody's, and stays.
    """
    listed = read_checksums(output / SUMS) if (output / SUMS).is_file() else {}
    found = []
    for name, expected in listed.items():
        path = output / name
        of_stem = name.endswith((".zip", ".tar.zst")) and manifest_path(path).name == f"{stem}.manifest.json"
        if not of_stem or name in keep or path.is_symlink() or not path.is_file():
            continue
        if sha256_file(path) == expected:
            found.append(path)
        else:
            console.warn(f"{path} is left as it is: it is of an earlier build, and was changed since")
    return found


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


def is_intact(folder: Path, sums: Mapping[str, str]) -> bool:
    """Whether every file of `sums` lies in `folder` with that content; of a folder ("") only whether it is there."""
    return all(
        (folder / name).is_file() and sha256_file(folder / name) == value if value else (folder / name).is_dir()
        for name, value in sums.items()
    )


def withdraw_unproved(output: Path, stem: str, console: Console) -> None:
    """Take back what an earlier build of the same name published without proof: it has been proved wrong by now.

    A folder that was changed since is kept under another name.
    """
    report = output / f"{stem}.report.json"
    try:
        said = json.loads(report.read_text(encoding="utf-8"))
        proved, names = said["proof"]["passed"], [Path(name).name for name in said["archives"]]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if not proved:
        for name in (*names, *(f"{stem}{suffix}" for suffix in SIDECARS)):
            if not name.startswith(stem):
                continue
            if (output / name).is_dir():
                withdraw_folder(output / name, console)
            else:
                remove_tree(output / name)
        update_checksums(output, {})


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
