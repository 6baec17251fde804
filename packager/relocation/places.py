"""Where the tree was when it was built, and where the same thing lies in it now."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from packager.bundle import PYTHON_DIR, BundleTree
from packager.relocation.needles import check_needle

# What may follow a path for it to be that path and not the start of a longer name.
_END = rb"(?!\.?[A-Za-z0-9_-])"


class BuildPlaces:
    """Every path the tree or its Python prefix was known by at build time.

    The tree's own root is always one. A path of `build_paths` that lies outside the root and does not hold it is taken
    for another name of the Python prefix (the interpreter it was copied from, a conda prefix) or, if it ends like that,
    of its standard library. Raises InputError for a path that is too short or too common to be told apart.
    """

    def __init__(self, tree: BundleTree, build_paths: Sequence[str]) -> None:
        self.tree = tree
        self.root = tree.root.resolve()
        self.prefix = self.root / PYTHON_DIR
        self._stdlib = self.root / tree.stdlib.relative_to(tree.root)
        self._known: dict[str, Path] = {}
        self._holders: set[str] = set()
        for base in (self.root, tree.root.absolute()):
            self._known[str(base)] = self.root
            self._known[str(base / PYTHON_DIR)] = self.prefix
        for text in build_paths:
            check_needle(text)
            self._add(text.rstrip("/\\"))
        self._any = [os.fsencode(s) for p in {*self._known, *self._holders} for s in _spellings(p)]
        mapped = sorted({s for p in self._known for s in _spellings(p)}, key=len, reverse=True)
        self._mapped = re.compile(b"(?:" + b"|".join(re.escape(os.fsencode(s)) for s in mapped) + b")" + _END)
        self._by_spelling = {os.fsencode(s): place for p, place in self._known.items() for s in _spellings(p)}

    def found_in(self, content: bytes) -> bool:
        """Whether `content` names any of the paths."""
        return any(path in content for path in self._any)

    def replace(self, content: bytes, spell: Callable[[Path], str]) -> bytes:
        """`content` with each path spelled anew; `spell` gets what it names: the root, the prefix or a folder below."""
        return self._mapped.sub(lambda match: os.fsencode(spell(self._by_spelling[match[0]])), content)

    def counterpart(self, path: str) -> Path | None:
        """The place in the tree of the absolute `path` of build time; None if it was not in the tree."""
        path = os.path.normpath(path)
        for known in sorted(self._known, key=len, reverse=True):
            if path == known or path.startswith(known + os.sep):
                return Path(os.path.normpath(self._known[known] / path[len(known) :].lstrip(os.sep)))
        return None

    def _add(self, text: str) -> None:
        resolved = Path(text).resolve()
        if resolved.is_relative_to(self.root):
            self._known.setdefault(text, resolved)
        elif self.root.is_relative_to(resolved):
            self._holders.add(text)
        elif text.endswith(f"/{self._stdlib.relative_to(self.prefix).as_posix()}"):
            self._known.setdefault(text, self._stdlib)
        else:
            self._known.setdefault(text, self.prefix)


def _spellings(path: str) -> tuple[str, str]:
    return path, path.replace("\\", "/")
