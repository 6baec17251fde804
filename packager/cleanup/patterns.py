"""gitignore-style patterns, compiled so that most names of a large tree cost one dictionary look-up.

The meaning of a pattern is pathspec's (https://git-scm.com/docs/gitignore). Paths are relative to the scope's folder,
with forward slashes; a folder's path ends with `/`, so that `tests/` never names a file.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

import pathspec

T = TypeVar("T")
_Entry = tuple[re.Pattern[str], T]

_GLOB = re.compile(r"[*?\[]")
_CLASS = re.compile(r"\[[A-Za-z0-9-]+\]")
_MAX_LENGTH = 200
_MAX_STARS = 4  # per segment: more of them backtrack for longer than a clean-up takes
_EVERYTHING = re.compile(r"/?(\*|\*\*|/)*/?")


def pattern_problem(pattern: str) -> tuple[str, str] | None:
    """What is wrong with `pattern` and the remedy, or None. It may not leave the scope's folder nor take it whole."""
    segments = pattern.strip("/").split("/")
    if not pattern.isprintable() or pattern != pattern.strip() or len(pattern) > _MAX_LENGTH:
        return (
            "holds control characters or outer blanks, or is too long",
            f"write at most {_MAX_LENGTH} printable characters",
        )
    if pattern.startswith(("!", "#")):
        return "begins with ! or #", "a pattern only says what goes; put what stays under `keep`"
    if "\\" in pattern or re.match(r"[A-Za-z]:", pattern):
        return "holds a backslash or a drive", "write a path relative to the scope's folder with forward slashes"
    if ".." in segments or "." in segments or "" in segments[1:-1]:
        return "has an empty, '.' or '..' segment", "a pattern stays inside the scope's folder"
    if _EVERYTHING.fullmatch(pattern):
        return "takes the whole folder", "name what goes"
    if segments[-1] == "**":
        return "ends with /**", "write the folder itself, `name/`"
    if segments.count("**") > 2 or any(segment.count("*") > _MAX_STARS for segment in segments):
        return "has too many wildcards", "split it into several patterns"
    if "[" in _CLASS.sub("", pattern) or _regex(pattern) is None:
        return "is not a gitignore pattern", "between [ and ] write letters and digits, such as [0-9]"
    return None


def _regex(pattern: str) -> str | None:
    try:
        (parsed,) = pathspec.GitIgnoreSpec.from_lines([pattern]).patterns
    except (ValueError, re.error):
        return None
    regex = getattr(parsed, "regex", None)
    return regex.pattern if regex is not None else None


@functools.cache  # the same protections hold in every scope
def compile_pattern(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """The regular expression of a pattern without a problem.

    `fullmatch` tests a path for being what the pattern names, `match` also finds what lies below it.
    """
    regex = _regex(pattern)
    if regex is None:
        raise ValueError(f"not a gitignore pattern: {pattern!r}")
    return re.compile(regex, re.DOTALL | (re.IGNORECASE if ignore_case else 0))  # DOTALL: a name may hold a newline


class NameIndex(Generic[T]):
    """Patterns with a value each, found by what is literal in them: name, suffix, folder; else by a search."""

    def __init__(self, items: Iterable[tuple[str, T]], *, ignore_case: bool = False) -> None:
        self._ignore_case = ignore_case
        self._by_name: dict[str, list[_Entry[T]]] = {}
        self._by_suffix: dict[str, list[_Entry[T]]] = {}
        self._by_folder: dict[str, list[_Entry[T]]] = {}
        self._others: list[_Entry[T]] = []
        searched: list[str] = []
        for pattern, value in items:
            entry = (compile_pattern(pattern, ignore_case=ignore_case), value)
            folder, _, last = (pattern.lower() if ignore_case else pattern).rstrip("/").rpartition("/")
            suffix = last[last.rfind(".") :] if "." in last else ""
            if not _GLOB.search(last):
                self._by_name.setdefault(last, []).append(entry)
            elif suffix and not _GLOB.search(suffix):
                self._by_suffix.setdefault(suffix, []).append(entry)
            elif "/" in pattern.rstrip("/") and not _GLOB.search(folder):
                self._by_folder.setdefault(folder.strip("/"), []).append(entry)
            else:
                self._others.append(entry)
                searched.append(fnmatch.translate(last))
        self._empty = not (self._by_name or self._by_suffix or self._by_folder or self._others)
        self._search = re.compile("|".join(searched)).match if searched else None

    def concerns(self, folder: str) -> bool:
        """Whether names right in `folder` (without a final slash) need `matches` even if `may_match` says no."""
        return (folder.lower() if self._ignore_case else folder) in self._by_folder

    def may_match(self, name: str) -> bool:
        """A quick no for most names, given as the last segment of a path."""
        if name in self._by_name:
            return True
        dot = name.rfind(".")
        return (dot >= 0 and name[dot:] in self._by_suffix) or (self._search is not None and bool(self._search(name)))

    def matches(self, path: str) -> Iterator[T]:
        """The values whose pattern names exactly `path`."""
        if self._empty:
            return iter(())
        key = (path.lower() if self._ignore_case else path).rstrip("/")
        folder, _, name = key.rpartition("/")
        dot = name.rfind(".")
        found: list[_Entry[T]] = []
        for known, word in ((self._by_name, name), (self._by_folder, folder), (self._by_suffix, name[dot:])):
            if word in known:
                found += known[word]
        if self._search is not None and self._search(name):
            found += self._others
        return (value for regex, value in found if regex.fullmatch(path)) if found else iter(())
