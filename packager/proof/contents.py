"""Checks of the bundle's files as they were unpacked, before anything has run: build paths, and libraries asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from packager.binaries.elf import is_elf, read_elf
from packager.errors import InputError
from packager.filesystem import walk_files
from packager.proof.needs import system_needs
from packager.proof.site import Site, Verdict, failed, passed, remedies

_MOST = 20  # findings worth showing
Differences = Callable[[Path], Sequence[str] | None]  # see Reader.differences


class LeakScan(Protocol):
    """What finds build paths: the relocation room's scan, handed in by the caller."""

    def __call__(self, root: Path, needles: Sequence[str], *, windows: bool) -> Sequence[object]:
        """One printable finding for each place below `root` that names one of the absolute paths `needles`."""


def check_files(site: Site, differences: Differences) -> Verdict:
    """Every file, link and empty folder is as the manifest in the bundle says, and nothing else is there."""
    found = differences(site.tree.root)
    if found is None:
        return passed("it has no manifest to compare its files with")
    if not found:
        return passed("the files are those of the manifest")
    return failed(_shown(found), remedy="get the archive again from its publisher, or build it again")


def check_leaks(site: Site, scan: LeakScan, needles: Sequence[str]) -> Verdict:
    """No file names a path of the build."""
    found = [str(item) for item in scan(site.tree.root, needles, windows=site.tree.target.is_windows)]
    if not found:
        return passed(f"no file names {', '.join(needles)}")
    return failed(
        _shown(found), remedy="add the file's kind to the relocation rules, or a clean-up rule if it is of no use"
    )


def check_needed_libraries(site: Site) -> Verdict:
    """A note on every library some ELF file asks for that neither the bundle nor every Linux machine has.

    A note and no fault: wheels ship plug-ins for hardware and programs which most users do not have, and which are not
    loaded without them. What an import really loads is checked by itself.
    """
    provided: set[str] = set()
    users: dict[str, list[str]] = {}
    for path in walk_files(site.tree.root):
        if ".so" in path.name:
            provided.add(path.name)
        if path.is_symlink() or not is_elf(path):
            continue
        try:
            facts = read_elf(path)
        except InputError:
            continue  # packages ship damaged files as test data, and nothing loads them
        if facts.soname:
            provided.add(facts.soname)
        for name in facts.needed:
            users.setdefault(name, []).append(site.tree.relative(path).as_posix())
    missing = {
        name: files
        for name, files in sorted(users.items())
        if name not in provided | site.system_libraries and not system_needs().allows(name)
    }
    if not missing:
        return passed("every library asked for is in the bundle or on every machine")
    notes = [f"{name}: asked for by {files[0]}" + _others(len(files) - 1) for name, files in missing.items()]
    return passed("not in the bundle, and not on every machine:\n" + "\n".join(notes), remedy=remedies(notes))


def _shown(found: Sequence[str]) -> str:
    return "\n".join([*found[:_MOST], *([f"and {len(found) - _MOST} more"] if len(found) > _MOST else [])])


def _others(count: int) -> str:
    return f" and {count} more" if count else ""
