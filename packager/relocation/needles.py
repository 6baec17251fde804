"""A path as programs write it down: the spellings to search for, and which paths are worth searching for."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from urllib.parse import quote

from packager.errors import InputError
from packager.relocation.rules import load_rules

_ABSOLUTE = re.compile(r"(?:[A-Za-z]:)?[/\\]")
_ANCHOR = re.compile(r"[A-Za-z0-9._-]+")  # no quoting changes these


@dataclass(frozen=True, kw_only=True)
class Spelling:
    """One way to write `needle`. `encoding` names it for the report, `data` is the bytes to find."""

    needle: str
    encoding: str
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Search:
    """Bytes that occur in each of `spellings`, `offset` bytes from its start: found once, then all are compared."""

    anchor: bytes
    spellings: tuple[tuple[int, Spelling], ...]


def check_needle(needle: str) -> None:
    """Raise InputError for a path that says nothing: not absolute, too short, or found on every machine."""
    rules = load_rules().leaks
    plain = needle.replace("\\", "/").rstrip("/") or "/"
    if not _ABSOLUTE.match(needle):
        what = "is not an absolute path"
    elif plain in rules.generic or len(plain) < rules.min_length:
        what = "is too short or too common a path: it occurs in files that have nothing to do with the build"
    else:
        return
    raise InputError(
        f"'{needle}' {what}", where="build path", remedy="build in a folder of its own, such as the default work folder"
    )


def spellings(needle: str) -> list[Spelling]:
    """`needle` with both slashes, escaped as in JSON and in URLs, each as UTF-8 and UTF-16LE. Raises InputError."""
    check_needle(needle)
    path = needle.rstrip("/\\")
    forward, backward = path.replace("\\", "/"), path.replace("/", "\\")
    texts = {
        "": forward,
        "backslash ": backward,
        "escaped ": backward.replace("\\", "\\\\"),
        "escaped slash ": forward.replace("/", "\\/"),
        "json ": json.dumps(forward)[1:-1],
        "json backslash ": json.dumps(backward)[1:-1],
        "url ": quote(os.fsencode(forward), safe="/:"),
        "url component ": quote(os.fsencode(forward), safe=""),
    }
    found: dict[bytes, Spelling] = {}
    for name, text in texts.items():
        wide = text.encode("utf-16-le", "surrogatepass")
        for encoding, data in (("utf-8", os.fsencode(text)), ("utf-16-le", wide)):
            found.setdefault(data, Spelling(needle=needle, encoding=name + encoding, data=data))
    return list(found.values())


def plan_searches(needles: list[str], *, fold_case: bool) -> list[Search]:
    """What to look for so that each file is read through few times: the needles' longest plain words.

    With `fold_case` the bytes are lower-cased (ASCII) and the file's must be, too; other letters are tried in lower and
    upper case.
    """
    grouped: dict[bytes, dict[bytes, tuple[int, Spelling]]] = {}
    for needle in needles:
        cased = {needle, needle.lower(), needle.upper()} if fold_case else {needle}
        for spelling in (s for text in sorted(cased) for s in spellings(text)):
            data = spelling.data.lower() if fold_case else spelling.data
            anchor = _anchor(needle.lower() if fold_case else needle, spelling)
            if anchor not in data:
                anchor = data
            kept = Spelling(needle=needle, encoding=spelling.encoding, data=data)
            grouped.setdefault(anchor, {}).setdefault(data, (data.index(anchor), kept))
    return [Search(anchor=anchor, spellings=tuple(found.values())) for anchor, found in grouped.items()]


def _anchor(needle: str, spelling: Spelling) -> bytes:
    words = _ANCHOR.findall(needle)
    longest = max(words, key=len, default=needle)
    return longest.encode("utf-16-le" if spelling.encoding.endswith("16-le") else "utf-8", "surrogatepass")
