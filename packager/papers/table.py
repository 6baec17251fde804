"""The table papers.yml as values."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath

import jsonschema
import yaml


@dataclass(frozen=True, kw_only=True)
class PapersTable:
    """See papers.yml. `classifiers`: trove classifier -> SPDX id."""

    words: tuple[str, ...]
    not_texts: frozenset[str]
    classifiers: dict[str, str]
    python_licence: str
    python_homepage: str

    def is_text(self, path: PurePosixPath) -> bool:
        """Whether a file of this name is a licence text."""
        found = re.search(rf"(^|[-_.])({'|'.join(self.words)})([-_.]|$)", path.name.lower())
        return found is not None and path.suffix.lower() not in self.not_texts


@functools.cache
def papers_table() -> PapersTable:
    folder = resources.files("packager.papers")
    table = yaml.safe_load(folder.joinpath("papers.yml").read_text(encoding="utf-8"))
    schema = json.loads(folder.joinpath("papers.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(table)
    return PapersTable(
        words=tuple(table["words"]),
        not_texts=frozenset(table["not_texts"]),
        classifiers=table["classifiers"],
        python_licence=table["python"]["licence"],
        python_homepage=table["python"]["homepage"],
    )
