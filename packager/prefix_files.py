"""Files of a Python that hold the path of its prefix: told by the runtime, put into a table by relocation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class PrefixFile:
    """`path` is below the Python prefix, with forward slashes; `placeholder` stands in the file for the prefix.

    `from_end`, for text: where the placeholders start, in bytes from the end of the file and in the file's order. What
    relocation changes stands at the start of a file, so these stay true. A binary file's places are looked up, since a
    package's placeholder (255 characters) cannot be in it by chance.
    """

    path: str
    kind: Literal["text", "binary"]
    placeholder: str
    from_end: tuple[int, ...] = ()


def to_json(files: Iterable[PrefixFile]) -> list[dict[str, Any]]:
    """For the journal."""
    return [asdict(file) for file in files]


def from_json(values: Iterable[Mapping[str, Any]]) -> tuple[PrefixFile, ...]:
    return tuple(PrefixFile(**{**value, "from_end": tuple(value["from_end"])}) for value in values)
