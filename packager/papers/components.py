"""What a bundle is made of, read from its lock and from what is installed in it; nothing of it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packageurl import PackageURL

Origin = Literal["python", "repository", "distribution", "conda", "system"]


@dataclass(frozen=True, kw_only=True)
class Text:
    """A licence text: the file `source` in the bundle tree, and its name below the component's folder of texts."""

    source: Path
    name: str


@dataclass(frozen=True, kw_only=True)
class Component:
    """One piece of other people's work. `version` is "" where nothing tells it.

    `licences` are SPDX expressions or ids where the metadata has them, else what it says. `hashes` are (algorithm as
    CycloneDX spells it, hex); `candidates` those of all files the lock allows, where it does not tell which was taken.
    `needs` are purls of other components.
    """

    origin: Origin
    name: str
    version: str
    purl: PackageURL
    licences: tuple[str, ...] = ()
    texts: tuple[Text, ...] = ()
    summary: str = ""
    homepage: str = ""
    source: str = ""  # the address it was fetched from
    hashes: tuple[tuple[str, str], ...] = ()
    candidates: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        """What it is called by in the SBOM: its purl."""
        return self.purl.to_string()

    @property
    def folder(self) -> str:
        """Its folder of licence texts, below licenses/."""
        return f"{self.name}-{self.version}" if self.version and self.origin != "repository" else self.name
