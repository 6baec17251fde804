"""Which shared libraries come from the system, and which a bundle brings. The table is system_libraries.json."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TABLE = Path(__file__).with_name("system_libraries.json")


@dataclass(frozen=True, kw_only=True)
class SystemLibraries:
    """Sonames, sorted into what a file in a bundle may count on.

    `manylinux`: what a wheel may need without bringing it (PEP 600). `always_present`: what every glibc system has,
    however small. `never_bundled`: what must be the system's own, with the reason. `glibc_version_tags`: symbol version
    names that are no number, with the glibc version that brought them.
    """

    manylinux: frozenset[str]
    always_present: frozenset[str]
    never_bundled: Mapping[str, str]
    glibc_version_tags: Mapping[str, str]


@functools.cache
def system_libraries() -> SystemLibraries:
    table = json.loads(_TABLE.read_text(encoding="utf-8"))
    groups = table["groups"]
    return SystemLibraries(
        manylinux=frozenset(name for group in groups.values() if group["manylinux"] for name in group["sonames"]),
        always_present=frozenset(name for key in table["always_present"] for name in groups[key]["sonames"]),
        never_bundled={
            name: group["reason"]
            for group in groups.values()
            if group["bundle"] == "never"
            for name in group["sonames"]
        },
        glibc_version_tags=table["glibc_version_tags"],
    )
