"""The installed distributions of a tree as their metadata tells them, whatever encoding it was written in."""

from __future__ import annotations

import csv
import importlib.metadata
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

UNSTEADY = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}  # they tell of the installation, not the content


@dataclass(frozen=True, kw_only=True)
class Installed:
    """`name` is normalised. `told`: name, version and the steady lines of RECORD. `files` are absolute paths."""

    name: str
    told: str
    files: tuple[str, ...]


class _Metadata(importlib.metadata.PathDistribution):
    """Old wheels hold Latin-1 where the specifications ask for UTF-8; what is no UTF-8 is read with replacements."""

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.place = place

    def read_text(self, filename: str | os.PathLike[str]) -> str | None:
        try:
            return super().read_text(filename)
        except UnicodeDecodeError:
            return (self.place / filename).read_bytes().decode("utf-8", "replace")


def installed(site_packages: Path) -> Iterator[Installed]:
    """Those in one folder, by the names of their metadata."""
    if not site_packages.is_dir():
        return
    for place in sorted(site_packages.iterdir()):
        if place.suffix in (".dist-info", ".egg-info"):
            yield _read(_Metadata(place), site_packages)


def _read(found: _Metadata, site_packages: Path) -> Installed:
    name = canonicalize_name(found.metadata["Name"] or "nameless")
    record = found.read_text("RECORD")
    steady = [line for line in (record or "").splitlines() if not line.startswith("../") and ".pyc" not in line]
    lines = sorted(line for line in steady if line.split(",")[0].rpartition("/")[2] not in UNSTEADY)
    if record is None:
        files = [str(file) for file in found.files or ()]  # an egg's lists
    else:
        files = [row[0] for row in csv.reader(record.replace("\0", "").splitlines()) if row]
    return Installed(
        name=name,
        told="\n".join([f"{name} {found.version}", *lines]),
        files=tuple(os.path.normpath(site_packages / file) for file in files),
    )
