"""Carrying out a CopyPlan."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from packager.binaries.elf import find_patchelf, is_elf
from packager.console import Console
from packager.filesystem import write_atomic
from packager.process import run
from packager.runtimes.copy_plan import CopyPlan

_NOWHERE = b"/dev/null/"  # nothing can ever lie below a device
_PATH_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-+")


def apply_copy(plan: CopyPlan, prefix: Path, *, console: Console) -> None:
    """Do `plan` in `prefix`, an absent or empty folder. Times are those of now; modes are 0755 or 0644."""
    patchelf = find_patchelf()
    for folder in plan.folders:
        (prefix / folder).mkdir(parents=True, exist_ok=True)
    with console.bar("copying Python", sum(copy.source.stat().st_size for copy in plan.copies)) as advance:
        for copy in plan.copies:
            destination = prefix / copy.destination
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(copy.source, destination)
            executable = destination.suffix != ".h" and copy.source.stat().st_mode & 0o100
            destination.chmod(0o755 if executable or is_elf(destination) else 0o644)
            advance(destination.stat().st_size)
    for link in plan.links:
        (prefix / link.destination).symlink_to(link.to)
    for write in plan.writes:
        write_atomic(prefix / write.destination, write.content)
    for relink in plan.relinks:
        # DT_RPATH: unlike DT_RUNPATH it comes before LD_LIBRARY_PATH, so no setting of the user brings other libraries.
        names = [word for old, new in relink.renamed for word in ("--replace-needed", old, new)]
        run([patchelf, "--force-rpath", "--set-rpath", relink.run_path, *names, prefix / relink.destination])
    build_paths = sorted((path.encode() for path in plan.build_paths), key=len, reverse=True)
    for copy in plan.copies:
        if is_elf(prefix / copy.destination):
            _overwrite(prefix / copy.destination, build_paths)


def _overwrite(path: Path, build_paths: Sequence[bytes]) -> None:
    content = path.read_bytes()
    changed = content
    for build_path in build_paths:
        changed = nowhere(changed, build_path)
    if changed != content:
        path.write_bytes(changed)


def nowhere(content: bytes, path: bytes) -> bytes:
    """`content` with each `path` (absolute, two names at least) replaced by one of equal length that cannot exist.

    A compiled-in prefix is the interpreter's last resort when it does not find its library beside itself; afterwards it
    leads to no other Python. Paths that merely begin like it are left alone. The end of the path stays as it is: a
    linker stores a string as the end of a longer one where it can, and the version "3.11.7" may well end the prefix.
    """
    folder, slash, name = path.rpartition(b"/")
    start = _NOWHERE if len(folder) >= len(_NOWHERE) else b"/" + b"_" * (len(folder) - 1)
    neutral = start + (folder + slash + name)[len(start) :]
    head, *parts = content.split(path)
    pieces = [head]
    for part in parts:
        pieces += [path if part[:1] and part[0] in _PATH_BYTES else neutral, part]
    return b"".join(pieces)
