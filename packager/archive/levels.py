"""The table levels.yml as values, and what `--level` stands for."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import jsonschema
import yaml

from packager.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Levels:
    """See levels.yml. `job_size` in bytes."""

    deflate: Mapping[str, int]
    zstd: Mapping[str, int]
    window_log: int
    long_distance_matching: bool
    job_size: int


@functools.cache
def levels() -> Levels:
    folder = resources.files("packager.archive")
    table = yaml.safe_load(folder.joinpath("levels.yml").read_text(encoding="utf-8"))
    schema = json.loads(folder.joinpath("levels.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(table)
    zstd = table["zstd"]
    return Levels(
        deflate=table["deflate"],
        zstd=zstd["levels"],
        window_log=zstd["window_log"],
        long_distance_matching=zstd["long_distance_matching"],
        job_size=zstd["job_size"],
    )


def level_number(level: str | int, names: Mapping[str, int], *, highest: int) -> int:
    """The number, 1 to `highest`, that one of `names` or a number stands for. Raises InputError."""
    text = str(level)
    number = names.get(text, int(text) if text.isascii() and text.isdigit() else 0)
    if not 1 <= number <= highest:
        raise InputError(
            f"unknown compression level '{text}'", where="--level", remedy=f"use {', '.join(names)}, or 1 to {highest}"
        )
    return number
