"""The table of portable/prefixes.json: which bytes of which files stand for the path of the bundle's Python.

A file tells itself which path it holds now, as long as the table is right about it: all places hold the same, nothing
else in the file has changed its place, and with the placeholder put back the file is what was shipped. So nothing but
these places is ever written, whatever path they hold and however often they were written before.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from portable.errors import HelperError

TABLE = "prefixes.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Text:
    """`size` of the file and `places` of placeholders as shipped, in bytes from the start, ascending."""

    size: int
    places: tuple[int, ...]

    def read(self, content: bytes, placeholder: bytes) -> bytes | None:
        """What stands at all places of `content`; None if they differ or lie elsewhere."""
        growth, rest = divmod(len(content) - self.size, len(self.places))
        width = len(placeholder) + growth
        if rest or width < 1:
            return None
        return _common(content, [place + growth * index for index, place in enumerate(self.places)], width)

    def write(self, content: bytes, old: bytes, new: bytes) -> bytes:
        """`content`, in which `read` has found `old`, with `new`."""
        growth = (len(content) - self.size) // len(self.places)
        now = [place + growth * index for index, place in enumerate(self.places)]
        return new.join(_pieces(content, now, len(old)))


@dataclass(frozen=True, kw_only=True)
class String:
    """A string of a binary file: `start` in the file, `length` as shipped without its NUL, `places` from its start."""

    start: int
    length: int
    places: tuple[int, ...]

    def read(self, content: bytes, placeholder: bytes) -> bytes | None:
        """As Text.read. What is left of a string is padded with NULs, so that the file keeps its size."""
        whole = content[self.start : self.start + self.length]
        end = whole.find(b"\0")
        text = whole if end < 0 else whole[:end]
        fixed = self.length - len(self.places) * len(placeholder)
        width, rest = divmod(len(text) - fixed, len(self.places))
        if len(whole) < self.length or rest or width < 1 or whole[len(text) :].strip(b"\0"):
            return None
        growth = width - len(placeholder)
        return _common(text, [place + growth * index for index, place in enumerate(self.places)], width)

    def write(self, content: bytearray, old: bytes, new: bytes, placeholder: bytes) -> None:
        """Put `new` in place of `old`. It may be no longer than the placeholder."""
        text = bytes(content[self.start : self.start + self.length]).rstrip(b"\0")
        growth = len(old) - len(placeholder)
        now = [place + growth * index for index, place in enumerate(self.places)]
        made = new.join(_pieces(text, now, len(old)))
        content[self.start : self.start + self.length] = made.ljust(self.length, b"\0")


@dataclass(frozen=True, kw_only=True)
class PrefixFile:
    """One file of the table. `path` is from the bundle's root; `form` holds a text's places or a binary's strings."""

    path: str
    placeholder: bytes
    sha256: str
    form: Text | tuple[String, ...]

    @property
    def capacity(self) -> int | None:
        """The longest prefix there is room for, in bytes; None for any."""
        return None if isinstance(self.form, Text) else len(self.placeholder)

    def current(self, content: bytes) -> bytes | None:
        """The prefix that `content` holds; None if it is not laid out as the table says."""
        if isinstance(self.form, Text):
            return self.form.read(content, self.placeholder)
        found = {string.read(content, self.placeholder) for string in self.form}
        return found.pop() if len(found) == 1 else None

    def rewritten(self, content: bytes, old: bytes, new: bytes) -> bytes:
        """`content`, whose current prefix is `old`, with `new`."""
        if isinstance(self.form, Text):
            return self.form.write(content, old, new)
        made = bytearray(content)
        for string in self.form:
            string.write(made, old, new, self.placeholder)
        return bytes(made)

    def is_as_shipped(self, content: bytes, sha256: str | None = None) -> bool:
        """Whether `content` is the shipped file (`sha256` of it; the table's if None) but for its prefix."""
        old = self.current(content)
        if old is None:
            return False
        shipped = self.rewritten(content, old, self.placeholder)
        return hashlib.sha256(shipped).hexdigest() == (sha256 or self.sha256)


def read_table(root: Path) -> dict[str, PrefixFile]:
    """The files of the table by path, in its order; none if there is no table. Raises HelperError if it is broken."""
    path = root / "portable" / TABLE
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if table["format"] != _FORMAT:
            raise HelperError(f"{path} has format {table['format']!r}, these helpers read format {_FORMAT}.")
        return {entry["path"]: _file(entry) for entry in table["files"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise HelperError(f"{path} cannot be used ({error}): unzip the bundle again.") from error


def _file(entry: dict[str, Any]) -> PrefixFile:
    """Raises ValueError for what would lead out of the bundle or of the file."""
    path = PurePosixPath(entry["path"])
    if path.is_absolute() or path.parts[0] != "python" or ".." in path.parts or "\\" in entry["path"]:
        raise ValueError(f"{entry['path']!r} is outside the bundle's python folder")
    placeholder = str(entry["placeholder"]).encode()
    form: Text | tuple[String, ...]
    if entry["kind"] == "text":
        form = Text(size=int(entry["size"]), places=_places(entry["places"], int(entry["size"]), placeholder))
    elif entry["kind"] == "binary":
        form = tuple(_strings(entry, placeholder))
    else:
        raise ValueError(f"unknown kind {entry['kind']!r}")
    return PrefixFile(path=entry["path"], placeholder=placeholder, sha256=str(entry["sha256"]), form=form)


def _strings(entry: dict[str, Any], placeholder: bytes) -> Iterator[String]:
    end = 0
    for value in entry["strings"]:
        start, length = int(value["start"]), int(value["length"])
        if start < end or start + length > int(entry["size"]):
            raise ValueError(f"the strings of {entry['path']!r} overlap or lie outside it")
        end = start + length
        yield String(start=start, length=length, places=_places(value["places"], length, placeholder))
    if not end:
        raise ValueError(f"{entry['path']!r} has no strings")


def _places(values: Any, size: int, placeholder: bytes) -> tuple[int, ...]:
    places = tuple(int(value) for value in values)
    edges = [*places, size]
    if not places or not placeholder or places[0] < 0:
        raise ValueError("no places")
    if any(after - before < len(placeholder) for before, after in itertools.pairwise(edges)):
        raise ValueError("places overlap")
    return places


def _common(content: bytes, places: list[int], width: int) -> bytes | None:
    found = {content[place : place + width] for place in places}
    prefix = found.pop()
    return prefix if not found and len(prefix) == width else None


def _pieces(content: bytes, places: list[int], width: int) -> list[bytes]:
    """What stands before, between and behind the places."""
    edges = [0, *(edge for place in places for edge in (place, place + width)), len(content)]
    return [content[edges[index] : edges[index + 1]] for index in range(0, len(edges), 2)]
