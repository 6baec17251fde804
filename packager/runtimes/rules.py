"""The table host.yml as values."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from pathspec import GitIgnoreSpec

from packager.errors import InputError
from packager.runtimes.interpreter import REMEDY

_TABLE = Path(__file__).with_name("host.yml")


@dataclass(frozen=True, kw_only=True)
class Edit:
    """`text` goes before the line `before`, or to the end, of the first of `files` that the standard library holds."""

    files: tuple[str, ...]
    reason: str
    text: str
    before: str | None = None
    optional: bool = False

    def apply(self, content: str, *, where: str) -> str:
        """`content` of the file `where`, edited. Raises InputError if the line `before` is not in it exactly once."""
        if self.before is None:
            return content + self.text
        head, *tails = content.split(f"\n{self.before}\n")
        if len(tails) != 1:
            what = f"the line '{self.before}' is there {len(tails)} times, so Debian's layout cannot be undone"
            raise InputError(what, where=where, remedy=REMEDY)
        return f"{head}\n{self.text}{self.before}\n{tails[0]}"


@dataclass(frozen=True, kw_only=True)
class Addition:
    """A file `path` below the standard library that the original lacks."""

    path: str
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True)
class HostRules:
    """`sysconfig_paths` maps a variable to a path relative to the prefix, `{version}` in it being such as 3.11."""

    left_out: tuple[tuple[GitIgnoreSpec, str], ...]
    sysconfig_paths: Mapping[str, str]
    debian_edits: tuple[Edit, ...]
    debian_additions: tuple[Addition, ...]

    def reason_to_leave_out(self, path: str) -> str | None:
        """Why `path` (from the standard library on, a folder with a final slash) stays behind; None: it comes."""
        return next((reason for spec, reason in self.left_out if spec.match_file(path)), None)


@functools.cache
def host_rules() -> HostRules:
    table = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    return HostRules(
        left_out=tuple((GitIgnoreSpec.from_lines([rule["pattern"]]), rule["reason"]) for rule in table["left_out"]),
        sysconfig_paths=table["sysconfig_paths"],
        debian_edits=tuple(Edit(**{**edit, "files": tuple(edit["files"])}) for edit in table["debian_edits"]),
        debian_additions=tuple(Addition(**addition) for addition in table["debian_additions"]),
    )
