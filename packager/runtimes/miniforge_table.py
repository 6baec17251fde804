"""The table miniforge.yml as values."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from packager.targets import Target

_TABLE = Path(__file__).with_name("miniforge.yml")


@dataclass(frozen=True, kw_only=True)
class MiniforgeTable:
    """See miniforge.yml. `silent` and `solvers` are by system: posix, windows; `virtual_packages` by
    conda's name of the platform."""

    latest: str
    pinned: str
    checksum_suffix: str
    silent: dict[str, tuple[str, ...]]
    solvers: dict[str, tuple[str, ...]]
    channels: tuple[str, ...]
    packages: tuple[str, ...]
    passed_on: tuple[str, ...]
    virtual_packages: dict[str, dict[str, str]]
    neutral_prefix: str
    relocated: tuple[str, ...]
    remedies: tuple[tuple[str, str], ...]

    def installer_url(self, target: Target, version: str | None) -> str:
        """Where the installer for `target` lies; `version` None means the newest."""
        pattern = self.latest if version is None else self.pinned
        return pattern.format(version=version, file=target.miniforge_installer)

    def is_relocated(self, path: str) -> bool:
        """Whether relocation makes the prefix in the whole of the file `path` (below the prefix) relative."""
        return any(fnmatchcase(path, pattern) for pattern in self.relocated)

    def remedy(self, message: str) -> str | None:
        """What to do about a refusal of conda-pack."""
        return next((remedy for part, remedy in self.remedies if part in message), None)


@functools.cache
def miniforge_table() -> MiniforgeTable:
    table = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    words = ("channels", "packages", "passed_on", "relocated")
    return MiniforgeTable(
        latest=table["latest"],
        pinned=table["pinned"],
        checksum_suffix=table["checksum_suffix"],
        silent={system: tuple(command) for system, command in table["silent"].items()},
        solvers={system: tuple(programs) for system, programs in table["solvers"].items()},
        virtual_packages=table["virtual_packages"],
        neutral_prefix=table["neutral_prefix"],
        remedies=tuple((rule["message"], rule["remedy"]) for rule in table["remedies"]),
        **{name: tuple(table[name]) for name in words},
    )
