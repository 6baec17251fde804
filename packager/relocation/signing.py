"""What macOS wants of a tree before its programs run: a signature that fits the bytes, and no quarantine.

Source: Apple, "Porting your macOS apps to Apple silicon": arm64 kills a process whose code has no valid signature, an
ad hoc one will do; x86_64 asks for none, but minds one that does not fit. `man codesign`, `man xattr`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packager.binaries import macho
from packager.errors import InputError
from packager.filesystem import walk_files
from packager.targets import Target

CODESIGN = ("codesign", "--force", "--sign", "-", "--preserve-metadata=entitlements")
_ORDER = {"library": 0, "bundle": 0, "other": 0, "program": 1}  # what is loaded is signed before what loads it


@dataclass(frozen=True, kw_only=True)
class Signing:
    """`path` is from the tree's root."""

    path: PurePosixPath
    reason: str

    def command(self, root: Path) -> list[str]:
        return [*CODESIGN, str(root / self.path)]


def find_macho(root: Path) -> dict[PurePosixPath, macho.MachOFacts]:
    """Every Mach-O file below `root` by its path, told by its first bytes; damaged ones (test data) are passed over."""
    found = {}
    for path in walk_files(root):
        if not path.is_symlink() and macho.is_macho(path):
            try:
                found[PurePosixPath(path.relative_to(root).as_posix())] = macho.read_macho(path)
            except InputError:
                continue
    return found


def plan_signing(
    files: Mapping[PurePosixPath, macho.MachOFacts], changed: Iterable[PurePosixPath], target: Target
) -> list[Signing]:
    """What must be signed anew after the files `changed` got other bytes, libraries first; nothing but on macOS.

    `files` are the tree's Mach-O files as they were before (see find_macho). Reads nothing.
    """
    if target.os != "macos":
        return []
    plan = []
    for path in sorted(set(changed) & files.keys(), key=lambda path: (_ORDER[files[path].kind], path)):
        facts = files[path]
        if facts.signed:
            plan.append(Signing(path=path, reason="its signature no longer fits its bytes"))
        elif "arm64" in facts.archs:
            plan.append(Signing(path=path, reason="arm64 runs no code without a signature"))
    return plan


def unsigned(files: Mapping[PurePosixPath, macho.MachOFacts]) -> list[PurePosixPath]:
    """Files that arm64 would refuse to run."""
    return sorted(path for path, facts in files.items() if "arm64" in facts.archs and not facts.signed)


def quarantine_command(root: Path, target: Target) -> list[str] | None:
    """How the mark of a download is taken off the tree, as the run helpers do at the first start; None but on macOS."""
    return ["xattr", "-dr", "com.apple.quarantine", str(root)] if target.os == "macos" else None
