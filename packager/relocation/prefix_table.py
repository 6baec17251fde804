"""The bundle's prefix table, portable/prefixes.json: which bytes of which files stand for the path of its Python.

`manage relocate` writes the bundle's place there, as often as its user likes (helper_scripts/portable/prefix_table.py
reads the table). Only places that were seen at build time are in it: what merely looks like one is never touched.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import jsonschema

from packager.bundle import BundleTree
from packager.prefix_files import PrefixFile
from packager.relocation.rules import load_rules

PREFIX_TABLE = "prefixes.json"


def plan_prefix_table(tree: BundleTree, files: Sequence[PrefixFile]) -> dict[str, Any]:
    """The table for `files` of the relocated `tree`, as JSON that follows prefixes.schema.json.

    Left out: what clean-up removed, what another package has replaced since, links, what a rule of rules.yml skips
    (counted in `skipped`, by reason), and binary files on Windows, where no program has its prefix compiled in.
    """
    entries, skipped = [], Counter[str]()
    for file in files:
        path = tree.prefix / file.path
        name = tree.relative(path).as_posix()
        if path.is_symlink() or not path.is_file() or (file.kind == "binary" and tree.target.is_windows):
            continue
        content = path.read_bytes()
        places = _text_places(content, file) if file.kind == "text" else _binary_places(content, file)
        rule = load_rules().skip_rule(name)
        if places and rule:
            skipped[rule.reason] += 1
        elif places:
            digest = hashlib.sha256(content).hexdigest()
            entry = {"path": name, "kind": file.kind, "size": len(content), "sha256": digest}
            entries.append({**entry, "placeholder": file.placeholder, **places})
    table = {"format": 1, "files": entries, "skipped": dict(sorted(skipped.items()))}
    jsonschema.validate(table, _schema())
    return table


def _text_places(content: bytes, file: PrefixFile) -> dict[str, Any]:
    """Offsets from the start, in bytes; nothing unless each holds its placeholder and none overlaps the next."""
    places = [len(content) - distance for distance in file.from_end]
    placeholder = file.placeholder.encode()
    apart = all(after - before >= len(placeholder) for before, after in itertools.pairwise(places))
    whole = all(place >= 0 and content.startswith(placeholder, place) for place in places)
    return {"places": places} if places and whole and apart else {}


def _binary_places(content: bytes, file: PrefixFile) -> dict[str, Any]:
    """The strings, from the first placeholder up to the NUL that ends them, with all placeholders of each."""
    placeholder = re.escape(file.placeholder.encode())
    strings = [
        {
            "start": string.start(),
            "length": len(string[0]) - 1,
            "places": [place.start() for place in re.finditer(placeholder, string[0])],
        }
        for string in re.finditer(placeholder + rb"[^\0]*\0", content)
    ]
    return {"strings": strings} if strings else {}


@functools.cache
def _schema() -> Any:
    return json.loads(importlib.resources.files(__package__).joinpath("prefixes.schema.json").read_text("utf-8"))
