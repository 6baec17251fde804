"""What changed from one lock to the next: packages, nodes, Python."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from packager.lock import Lock, LockedRepository

_FORGES = ("github.com", "gitlab.com", "codeberg.org")  # whose addresses know REPOSITORY/compare/OLD...NEW


@dataclass(frozen=True, kw_only=True)
class Change:
    """One thing that differs. None stands for not there; `link` leads to what lies between, if there is such a page."""

    name: str
    old: str | None
    new: str | None
    link: str = ""

    @property
    def kind(self) -> str:
        return "added" if self.old is None else "removed" if self.new is None else "changed"


@dataclass(frozen=True, kw_only=True)
class LockChanges:
    """All by name. `python` is empty or one change."""

    python: tuple[Change, ...]
    repositories: tuple[Change, ...]
    packages: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.python or self.repositories or self.packages)

    def to_json(self) -> dict[str, Any]:
        return {
            field: [{"name": it.name, "old": it.old, "new": it.new, "link": it.link} for it in getattr(self, field)]
            for field in ("python", "repositories", "packages")
        }


def lock_changes(old: Lock, new: Lock) -> LockChanges:
    """What turns `old` into `new`."""
    before = {repo.name: repo for repo in old.repositories}
    after = {repo.name: repo for repo in new.repositories}
    return LockChanges(
        python=changes({"Python": old.python_version}, {"Python": new.python_version}),
        repositories=tuple(
            Change(name=it.name, old=it.old, new=it.new, link=_between(before.get(it.name), after.get(it.name)))
            for it in changes(
                {name: _state(repo) for name, repo in before.items()},
                {name: _state(repo) for name, repo in after.items()},
            )
        ),
        packages=changes(
            {package.name: package.version or package.url or "" for package in old.packages},
            {package.name: package.version or package.url or "" for package in new.packages},
        ),
    )


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Change, ...]:
    """The names whose value differs, sorted."""
    return tuple(
        Change(name=name, old=old.get(name), new=new.get(name))
        for name in sorted({**old, **new}, key=str.lower)
        if old.get(name) != new.get(name)
    )


def _state(repo: LockedRepository) -> str:
    """A commit, with its tag or branch where the recipe names one; a plain folder by its content."""
    commit = repo.commit[:12] or repo.tree[:19]
    return f"{repo.ref} ({commit})" if repo.ref and not repo.commit.startswith(repo.ref) else commit


def _between(old: LockedRepository | None, new: LockedRepository | None) -> str:
    if not old or not new or old.url != new.url or not (old.commit and new.commit):
        return ""
    if urlsplit(new.url).hostname not in _FORGES:
        return ""
    return f"{re.sub(r'([.]git)?/?$', '', new.url, count=1)}/compare/{old.commit}...{new.commit}"
