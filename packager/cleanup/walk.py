"""The one walk over a tree that finds what the rules remove. It reads names and sizes, and changes nothing.

Links are never followed, into folders or files; a link is removed as a link.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from packager.cleanup.bytecode import is_orphan
from packager.cleanup.layout import Scope, TreeLayout
from packager.cleanup.patterns import NameIndex, compile_pattern
from packager.cleanup.rules import Protection, Rule
from packager.errors import InputError, PackagerError

QUARANTINE = ".packager-quarantine"  # in the root of a tree that is no bundle; no walk enters it
_MAX_DEPTH = 300  # folders; the deepest real wheels have 15
_POSIX = sys.platform != "win32"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A path that a rule names and that stays. `by` is the rule itself for its own exception, else what protects it."""

    path: str
    rule: str
    by: str
    reason: str


@dataclass(slots=True, eq=False)
class Found:
    """A path to remove. `files` and `bytes` are those below it; `emptied`: a folder that other removals leave empty."""

    path: str
    rule: Rule
    files: int
    bytes: int
    is_dir: bool
    emptied: bool = False


class _Guard:
    """A protection, compiled."""

    def __init__(self, protection: Protection) -> None:
        self.protection = protection
        self._lifted = [compile_pattern(pattern, ignore_case=True) for pattern in protection.lifted]

    def holds(self, path: str) -> bool:
        return not any(pattern.match(path) for pattern in self._lifted)


class _Matcher:
    """The rules and protections of one scope, compiled. Its paths are those of the tree from `start` on."""

    def __init__(self, start: int, scopes: Sequence[Scope], rules: Sequence[Rule], guards: Sequence[_Guard]) -> None:
        self.start = start
        mine = [rule for rule in rules if any(scope in rule.scopes for scope in scopes)]
        self.rules = NameIndex([(pattern, rule) for rule in mine for pattern in rule.patterns])
        self.guards = _index_guards(
            guard for guard in guards if any(scope in (guard.protection.scopes or ()) for scope in scopes)
        )


def _index_guards(guards: Iterable[_Guard]) -> NameIndex[_Guard]:
    items = [(pattern, guard) for guard in guards for pattern in guard.protection.patterns]
    return NameIndex(items, ignore_case=True)


@dataclass(slots=True, eq=False)
class _Folder:
    """Where the walk is. `path` ends with / unless it is the root; `rule` takes all inside; `guard` keeps it."""

    path: str
    matcher: _Matcher | None
    rule: Rule | None
    guard: _Guard | None
    depth: int
    names: list[str]


class Walk:
    """Fills `found` (a folder's content before the folder), `kept`, `links` that stay, and `files`, the tree's count.

    `held` maps paths that stay, with all below them, to what holds them and the reason.
    """

    def __init__(
        self,
        layout: TreeLayout,
        rules: Sequence[Rule],
        protections: Iterable[Protection],
        held: Mapping[str, tuple[str, str]],
    ) -> None:
        self.found: list[Found] = []
        self.kept: list[Kept] = []
        self.links: list[str] = []
        self.files = 0
        self._root = os.fspath(layout.root)
        self._held = {path: _Guard(_hold(by, reason)) for path, (by, reason) in held.items()}
        self._keeps: dict[str, list[tuple[re.Pattern[str], str]]] = {
            rule.id: [(compile_pattern(keep.pattern, ignore_case=True), keep.reason) for keep in rule.keep]
            for rule in rules
        }
        guards = [_Guard(protection) for protection in protections]
        self._tree_guards = _index_guards(guard for guard in guards if guard.protection.scopes is None)
        self._matchers = {
            folder: _Matcher(len(folder) + 1 if folder else 0, scopes, rules, guards)
            for folder, scopes in layout.scopes.items()
        }
        self._kept_inodes: set[int] = set()
        self._shared: dict[int, tuple[str, int]] = {}  # inode with several names -> the first one removed, bytes

    def run(self) -> None:
        """Raises InputError for a tree nested too deeply, PackagerError where a folder cannot be read."""
        self._enter(_Folder(path="", matcher=self._matchers.get(""), rule=None, guard=None, depth=0, names=[]))
        by_path = {found.path: found for found in self.found}
        for inode, (path, size) in self._shared.items():
            if inode in self._kept_inodes:  # another name of the file stays, so its bytes do
                by_path[next(place for place in lineage(path) if place in by_path)].bytes -= size

    def _enter(self, folder: _Folder) -> bool:
        """Whether everything in the folder goes."""
        entries = self._entries(folder)
        index = folder.matcher.rules if folder.matcher is not None else None
        all_named = folder.rule is not None or (
            folder.matcher is not None and folder.matcher.rules.concerns(folder.path[folder.matcher.start : -1])
        )
        folders: list[str] = []
        named: list[os.DirEntry[str]] = []
        stays = 0
        for entry in entries:  # the hot loop: a file that no rule can name is done with here
            if entry.is_dir(follow_symlinks=False) and (_POSIX or not _is_junction(entry)):
                folders.append(entry.name)
            elif all_named or (index is not None and index.may_match(entry.name)):
                named.append(entry)
            else:
                stays += 1
                self._keep(folder, entry)
        self.files += len(entries) - len(folders)
        if named:
            folder.names = sorted(entry.name for entry in entries)
            named.sort(key=lambda entry: entry.name)
            stays += sum([self._file(folder, entry) for entry in named])
        stays += sum([self._subfolder(folder, name) for name in sorted(folders)])
        return not stays and (bool(entries) or folder.rule is not None)

    def _keep(self, folder: _Folder, entry: os.DirEntry[str]) -> None:
        if _POSIX:
            self._kept_inodes.add(entry.inode())
        if entry.is_symlink():
            self.links.append(folder.path + entry.name)

    def _entries(self, folder: _Folder) -> list[os.DirEntry[str]]:
        if folder.depth > _MAX_DEPTH:
            raise InputError(
                f"folders are nested more than {_MAX_DEPTH} deep",
                where=folder.path[:200],
                remedy="remove that folder; no package needs it",
            )
        try:
            with os.scandir(f"{self._root}/{folder.path}") as entries:
                found = list(entries)
        except OSError as error:
            raise PackagerError(
                f"cannot be read: {error.strerror}",
                where=printable(folder.path),
                remedy="make the folder readable for the user who runs this",
            ) from error
        return found if folder.path else [entry for entry in found if entry.name != QUARANTINE]

    def _subfolder(self, folder: _Folder, name: str) -> bool:
        """Walk a folder; whether it stays."""
        path = folder.path + name
        matcher, guard = folder.matcher, folder.guard
        rule = None
        own = self._matchers.get(path)
        if own is not None:  # its patterns start anew here, and it never goes itself
            matcher = own
            if guard is not None and guard.protection.scopes is not None:
                guard = None
            guard = guard or next(self._tree_guards.matches(path + "/"), None)
        elif matcher is not None:
            rule = self._claim(folder, matcher, path, is_dir=True)
            local = path[matcher.start :] + "/"
            if guard is None or not guard.holds(local):
                guard = self._protector(matcher, path + "/") or guard
        start = len(self.found)
        below = _Folder(path=path + "/", matcher=matcher, rule=rule, guard=guard, depth=folder.depth + 1, names=[])
        if not self._enter(below) or own is not None:
            return True
        self._merge(start, path, rule)
        return False

    def _merge(self, start: int, path: str, rule: Rule | None) -> None:
        """All there is in the folder `path` was found since `start`: it goes as well, in one piece if it can."""
        inside = self.found[start:]
        rule = inside[0].rule if inside else rule
        assert rule is not None, path  # a folder that nothing was found in goes only if a rule names it
        if all(found.rule is rule for found in inside):
            del self.found[start:]
            files, size = sum(found.files for found in inside), sum(found.bytes for found in inside)
            self.found.append(Found(path=path, rule=rule, files=files, bytes=size, is_dir=True))
        else:
            self.found.append(Found(path=path, rule=inside[-1].rule, files=0, bytes=0, is_dir=True, emptied=True))

    def _file(self, folder: _Folder, entry: os.DirEntry[str]) -> bool:
        """Whether a file or link stays."""
        path = folder.path + entry.name
        rule = self._claim(folder, folder.matcher, path, is_dir=False) if folder.matcher is not None else None
        if rule is None:
            self._keep(folder, entry)
            return True
        try:
            status = entry.stat(follow_symlinks=False)
        except OSError as error:
            raise PackagerError(f"cannot be read: {error.strerror}", where=printable(path)) from error
        size = status.st_size
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if status.st_ino in self._shared:
                size = 0
            else:
                self._shared[status.st_ino] = (path, size)
        self.found.append(Found(path=path, rule=rule, files=1, bytes=size, is_dir=False))
        return False

    def _claim(self, folder: _Folder, matcher: _Matcher, path: str, *, is_dir: bool) -> Rule | None:
        """The rule that takes `path`, if any; why none does is noted."""
        whole = path + "/" if is_dir else path
        local = whole[matcher.start :]
        first, wanted = folder.rule, self._wanting(folder, matcher, local)
        first = first or next(wanted, None)
        if first is None or (folder.guard is not None and folder.guard.holds(local)):
            return None
        guard = self._protector(matcher, whole)
        if guard is not None:
            kept = guard.protection
            self.kept.append(Kept(path=path, rule=first.id, by=kept.id, reason=kept.reason))
            return None
        reason = ""
        for rule in itertools.chain((first,), wanted):  # nearly always the first, so that no other is looked for
            found = self._exception(rule, path, local)
            if found is None:
                return rule
            reason = reason or found
        self.kept.append(Kept(path=path, rule=first.id, by=first.id, reason=reason))
        return None

    def _wanting(self, folder: _Folder, matcher: _Matcher, local: str) -> Iterator[Rule]:
        for rule in matcher.rules.matches(local):
            if not rule.beside or _has_twin(folder, rule, local):
                yield rule

    def _exception(self, rule: Rule, path: str, local: str) -> str | None:
        """Why `rule` leaves a path alone."""
        for pattern, why in self._keeps[rule.id]:
            if pattern.match(local):
                return why
        if rule.rebuilt and is_orphan(f"{self._root}/{path}"):
            return "bytecode without its source: Python cannot write it again"
        return None

    def _protector(self, matcher: _Matcher, path: str) -> _Guard | None:
        """The first protection of exactly this path that holds there."""
        held = self._held.get(path.rstrip("/"))
        if held is not None:
            return held
        local = path[matcher.start :]
        for guard in matcher.guards.matches(local):
            if guard.holds(local):
                return guard
        return next(self._tree_guards.matches(path), None)


def _hold(by: str, reason: str) -> Protection:
    return Protection(id=by, scopes=None, patterns=(), reason=reason, source="the tree itself")


def _has_twin(folder: _Folder, rule: Rule, path: str) -> bool:
    """Whether the file has one of the neighbours that its rule asks for. A folder has none."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    if not stem:
        return False
    suffixes = [pattern.removeprefix("{stem}") for pattern in rule.beside]
    for position in range(bisect_left(folder.names, stem), len(folder.names)):
        other = folder.names[position]
        if not other.startswith(stem):
            break
        if any(fnmatchcase(other[len(stem) :], suffix) for suffix in suffixes):
            return True
    return False


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """Windows: a folder that is a link in all but name (os.DirEntry.is_junction is new in Python 3.12)."""
    attributes = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
    return bool(attributes & getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0))


def lineage(path: str) -> Iterable[str]:
    """A path and the folders above it, nearest first, without the root: a/b/c, a/b, a."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def printable(path: str) -> str:
    """A path as it can be shown and stored as text: bytes that are no UTF-8 and control characters become escapes."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
