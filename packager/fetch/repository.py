"""One location's bare repository in the cache: what has been fetched from there, as shallow as its server allows."""

from __future__ import annotations

import difflib
import hashlib
import re
import threading
from pathlib import Path

from packager.errors import FetchError
from packager.fetch import parallel
from packager.fetch.git import GitError, is_id, run_git
from packager.fetch.mirrors import local_path, redact, ways_out
from packager.fetch.transfer import PATIENCE
from packager.filesystem import remove_tree

_TRIES = 3  # at a host that can't be reached
_EVERYTHING = ("+refs/heads/*:refs/all/heads/*", "+refs/tags/*:refs/all/tags/*")


class Repository:
    """The bare repository at `path` for `location` (an allowed URL or an absolute path). Hold its lock to use it.

    What is fetched for one ref is kept under refs/one/, so that a ref of the server can't get in the way of another and
    is known offline. With `offline` nothing is fetched from another machine.
    """

    def __init__(self, path: Path, location: str, *, offline: bool, cancel: threading.Event) -> None:
        self.path = path
        self.location = location
        local = local_path(location)
        self._url = local.as_uri() if local else location
        self._offline = offline and local is None
        self._cancel = cancel

    def prepare(self) -> None:
        """Make it if it isn't there, and remove what a killed git left."""
        if not all((self.path / name).exists() for name in ("HEAD", "config", "objects", "refs")):
            remove_tree(self.path)
            temporary = self.path.with_suffix(".new")
            remove_tree(temporary)
            temporary.parent.mkdir(parents=True, exist_ok=True)
            run_git(
                "init",
                "--bare",
                "--quiet",
                "--template=",
                folder=temporary,
                location=self.location,
                cancel=self._cancel,
            )
            temporary.rename(self.path)
        for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*"):
            for left in self.path.glob(pattern):
                left.unlink(missing_ok=True)

    def rebuild(self) -> bool:
        """Throw away what is damaged. False where it could not be fetched again."""
        if self._offline:
            return False
        remove_tree(self.path)
        self.prepare()
        return True

    def git(self, *words: str | Path, env: dict[str, str] | None = None) -> str:
        """Run git in this repository; see `run_git`."""
        return run_git(*words, folder=self.path, location=self.location, cancel=self._cancel, env=env)

    def commit_of(self, revision: str) -> str | None:
        """The full id of the commit that `revision` names here; None if there is none, or several."""
        try:
            return self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}").strip()
        except GitError as error:
            if error.kind != "unknown":
                raise
            return None

    def tree_of(self, commit: str) -> str:
        """The id of the commit's tree."""
        return self.git("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}").strip()

    def obtain(self, commit: str) -> str:
        """Have the commit with this full id (or that a tag of this id points to) here. Raises FetchError."""
        found = self.commit_of(commit)
        if found is None:
            self._fetch(commit)
            found = self.commit_of(commit)
        if found is None:
            raise self._lacks(f"commit {commit}", [])
        return found

    def resolve(self, word: str | None) -> str:
        """Have here the commit that a branch, tag, full ref, full or short id names (None: the server's HEAD); its id.

        A tag wins over a branch of the same name. Raises FetchError, with refs of similar names if there is none.
        """
        if word is not None and is_id(word):
            return self.obtain(word)
        if self._offline:
            return self._resolve_offline(word)
        refs = self._remote_refs(word)
        names = [word] if word and word.startswith("refs/") else [f"refs/tags/{word}", f"refs/heads/{word}"]
        for name in ["HEAD"] if word in (None, "HEAD") else names:
            if name in refs:
                return self._take(name, refs[name])
        if word is not None and re.fullmatch(r"[0-9a-fA-F]{4,63}", word):
            self._fetch_everything()
            if found := self.commit_of(word.lower()):
                return found
        known = sorted({re.sub(r"^refs/(heads|tags)/", "", name) for name in refs or self._remote_refs("")})
        if not known:
            raise self._lacks("commits: it is empty", [])
        raise self._lacks(f"ref '{word}'" if word else "commit at its HEAD", known, near=word)

    def _resolve_offline(self, word: str | None) -> str:
        names = [word] if word and word.startswith("refs/") else [f"refs/tags/{word}", f"refs/heads/{word}"]
        for name in ["HEAD"] if word in (None, "HEAD") else names:
            if found := self.commit_of(_slot(name)):
                return found
        if word and re.fullmatch(r"[0-9a-fA-F]{4,63}", word) and (found := self.commit_of(word.lower())):
            return found
        raise self._absent(f"ref '{word or 'HEAD'}'")

    def _remote_refs(self, word: str | None) -> dict[str, str]:
        """Ref -> id as the server has them: HEAD or one full ref if that is asked for, else all branches and tags."""
        if word in (None, "HEAD") or (word and word.startswith("refs/")):
            said = self._remote("ls-remote", "--", self._url, word or "HEAD")
        else:
            said = self._remote("ls-remote", "--heads", "--tags", "--", self._url)
        lines = [line.split("\t", 1) for line in said.splitlines()]
        return {name: oid for oid, name in lines if is_id(oid) and not name.endswith("^{}")}

    def _take(self, name: str, oid: str) -> str:
        """Have the ref `name` here, which the server says is `oid`."""
        if self.commit_of(oid):
            self.git("update-ref", "--end-of-options", _slot(name), oid)
        else:
            self._fetch(name)
        found = self.commit_of(_slot(name)) or self.commit_of(oid)
        if found is None:
            raise self._lacks(f"commit at '{name}'", [])
        return found

    def _fetch(self, name: str) -> None:
        """Fetch one full ref or commit, alone if the server gives it alone, else with everything there is."""
        if self._offline:
            raise self._absent(f"'{name}'")
        try:
            self._remote(*_FETCH, "--depth=1", "--", self._url, f"+{name}:{_slot(name)}")
        except GitError as error:
            if error.kind != "refused":
                raise
            self._fetch_everything(*([] if is_id(name) else [f"+{name}:{_slot(name)}"]))

    def _fetch_everything(self, *more: str) -> None:
        deepen = ["--unshallow"] if (self.path / "shallow").exists() else []
        self._remote(*_FETCH, "--prune", *deepen, "--", self._url, *_EVERYTHING, *more)

    def _remote(self, *words: str) -> str:
        for failed in range(1, _TRIES):
            try:
                return self.git(*words)
            except GitError as error:
                if error.kind != "unreachable":
                    raise
            self._cancel.wait(PATIENCE.delay(failed, None))
            parallel.check(self._cancel)
        return self.git(*words)

    def _absent(self, what: str) -> FetchError:
        return FetchError(
            f"{what} is not in the cache, and --offline forbids to fetch it",
            where=redact(self.location),
            remedy=f"run once without --offline, or {ways_out(self.location)}",
        )

    def _lacks(self, what: str, known: list[str], *, near: str | None = None) -> FetchError:
        close = difflib.get_close_matches(near, known, 5, 0.5) if near else []
        some = ", ".join(close or known[-5:])
        hint = f"there is {some}" if some else "check the address and the ref"
        return FetchError(
            f"the repository has no {what}", where=redact(self.location), remedy=f"{hint}; {ways_out(self.location)}"
        )


_FETCH = (
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--update-shallow",
    "--force",
)


def _slot(name: str) -> str:
    return f"refs/one/{hashlib.sha256(name.encode()).hexdigest()[:32]}"
