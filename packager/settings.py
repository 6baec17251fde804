"""Where the machine's owner says things come from: --source and --mirror, also from the environment
(PACKAGER_SOURCES, PACKAGER_MIRRORS: `A=B` separated by newlines or `;`) and from config.yml in the config folder.

The command line wins over the environment, the environment over the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from packager.document import check_schema, read_document
from packager.errors import DocumentError, InputError

APP_NAME = "comfyui-portable-packager"
_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "sources": {
            "description": "Folder or repository to use in place of the recipe's, by name",
            "type": "object",
            "additionalProperties": {"type": "string"},
            "examples": [{"ComfyUI": "/home/me/ComfyUI"}],
        },
        "mirrors": {
            "description": "URL prefixes and what they become",
            "type": "object",
            "additionalProperties": {"type": "string"},
            "examples": [{"https://github.com/": "https://git.example.org/github/"}],
        },
    },
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`sources`: repository name -> path or URL. `mirrors`: URL prefix -> URL prefix or folder.

    `named` are the sources given for this very run; each must be one of the recipe's repositories.
    """

    sources: dict[str, str] = field(default_factory=dict)
    mirrors: dict[str, str] = field(default_factory=dict)
    named: tuple[str, ...] = ()

    def source(self, name: str) -> str | None:
        """What replaces the repository called `name`; names are compared without regard to case."""
        for known, place in self.sources.items():
            if known.lower() == name.lower():
                return place
        return None


def config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the config file is looked for; PACKAGER_CONFIG names another."""
    if named := environ.get("PACKAGER_CONFIG"):
        return Path(named)
    return platformdirs.user_config_path(APP_NAME, appauthor=False) / "config.yml"


def load_settings(
    *, sources: Sequence[str] = (), mirrors: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> Settings:
    """Merge file, environment and command line. Raises InputError for a pair without `=` and for a faulty file."""
    merged: dict[str, dict[str, str]] = {"sources": {}, "mirrors": {}}
    path = config_file(environ)
    if path.is_file():
        document = read_document(path)
        if document.value is not None:
            if faults := check_schema(document, _SCHEMA):
                raise DocumentError(faults)
            for key, pairs in document.value.items():
                merged[key].update(pairs)
    elif "PACKAGER_CONFIG" in environ:
        raise InputError("no such file", where=str(path), remedy="correct or unset PACKAGER_CONFIG")
    for key, variable, words, option in (
        ("sources", "PACKAGER_SOURCES", sources, "--source"),
        ("mirrors", "PACKAGER_MIRRORS", mirrors, "--mirror"),
    ):
        from_environment = environ.get(variable, "").replace(";", "\n").split("\n")
        merged[key].update(_pairs([word.strip() for word in from_environment if word.strip()], variable))
        merged[key].update(_pairs(words, option))
    return Settings(sources=merged["sources"], mirrors=merged["mirrors"], named=tuple(_pairs(sources, "--source")))


def _pairs(words: Sequence[str], where: str) -> dict[str, str]:
    pairs = {}
    for word in words:
        name, separator, value = word.partition("=")
        if not separator or not name or not value:
            raise InputError(f"'{word}' is not of the form A=B", where=where, remedy=f"write {where} NAME=PLACE")
        pairs[name] = value
    return pairs
