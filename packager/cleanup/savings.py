"""What each rule saved in the last build on this machine, kept in the cache for `packager rules`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.console import format_bytes
from packager.filesystem import write_json

_NAME = "cleanup-savings.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class LastSaving:
    """`bytes` in `files` that went from the bundle called `bundle`."""

    bundle: str
    files: int
    bytes: int

    def __str__(self) -> str:
        return f"{format_bytes(self.bytes)} in {self.files} files ({self.bundle})"


def remember_savings(cache: Path, bundle: str, savings: Iterable[Mapping[str, Any]]) -> None:
    """Add what a build of `bundle` saved: items with `rule`, `files` and `bytes`. Other rules keep what they have.

    A cache that cannot be written to is passed over: nothing depends on it.
    """
    known = {rule: vars(saving) for rule, saving in last_savings(cache).items()}
    known |= {item["rule"]: {"bundle": bundle, "files": item["files"], "bytes": item["bytes"]} for item in savings}
    try:
        write_json(cache / _NAME, {"format": _FORMAT, "rules": known})
    except OSError:
        return


def last_savings(cache: Path) -> dict[str, LastSaving]:
    """By the rule's id; empty if there is nothing, or nothing of ours."""
    try:
        value = json.loads((cache / _NAME).read_text(encoding="utf-8"))
        if value["format"] != _FORMAT:
            return {}
        return {
            str(rule): LastSaving(bundle=str(item["bundle"]), files=int(item["files"]), bytes=int(item["bytes"]))
            for rule, item in value["rules"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
