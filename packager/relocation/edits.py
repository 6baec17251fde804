"""What relocation is going to do, as values that can be printed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from packager.records import Record


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change. `path` is from the bundle's root; `kind` says what the file is, `reason` why it changes."""

    path: PurePosixPath
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rewrite(Edit):
    """Put `content` in the file's place."""

    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Remove(Edit):
    """Delete the file."""


@dataclass(frozen=True, kw_only=True)
class Relink(Edit):
    """Let the link point to `target`, a path from the link's folder."""

    target: str


@dataclass(frozen=True, kw_only=True)
class Materialise(Edit):
    """Put a copy of `source`, a file of the interpreter outside the tree, in the link's place."""

    source: Path


@dataclass(frozen=True, kw_only=True)
class SetRpath(Edit):
    """Give the ELF file this search path; empty removes it. `inherited`: as DT_RPATH, else as DT_RUNPATH."""

    rpath: str
    inherited: bool


@dataclass(frozen=True, kw_only=True)
class SetInstallNames(Edit):
    """Change the Mach-O file by `install_name_tool` with these words, and sign it anew."""

    words: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RelocationPlan:
    """Edits of the tree at `root`, sorted by path, and the RECORD files that own what changes."""

    root: Path
    edits: tuple[Edit, ...]
    records: tuple[Record, ...]

    def lines(self) -> Iterator[str]:
        """One line for each edit and RECORD, for --dry-run."""
        for edit in self.edits:
            yield f"{_VERBS[type(edit)]} {edit.path} ({edit.kind}): {edit.reason}"
        for record in self.records:
            name = record.path.relative_to(self.root).as_posix()
            yield f"update {name} (RECORD): files of {record.distribution} change"


_VERBS: dict[type[Edit], str] = {
    Rewrite: "rewrite",
    Remove: "remove",
    Relink: "relink",
    Materialise: "copy in",
    SetRpath: "set rpath of",
    SetInstallNames: "set install names of",
}
