"""git, where it is there: run so that a stranger's repository can start nothing, and asked what in a node is whose."""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from portable.errors import HelperError
from portable.web import is_plain

_TIMEOUT = 1800  # seconds for one call


@dataclass(frozen=True, kw_only=True)
class Git:
    """git without hooks, questions, or other ways than https (and http to this very machine if `plain`)."""

    program: str
    environ: Mapping[str, str]
    plain: bool = False

    @classmethod
    def find(cls, environ: Mapping[str, str], *, plain: bool = False) -> Git | None:
        """The git on the PATH of `environ`; None if there is none."""
        program = shutil.which("git", path=environ.get("PATH"))
        return cls(program=program, environ=environ, plain=plain) if program else None

    def run(self, cwd: Path, *words: str) -> bytes:
        """What git prints. Raises HelperError."""
        safe = ["protocol.allow=never", "protocol.https.allow=always", f"core.hooksPath={os.devnull}"]
        safe += ["core.fsmonitor=false", f"protocol.http.allow={'always' if self.plain else 'never'}"]
        command = [self.program, *(word for setting in safe for word in ("-c", setting)), *words]
        env = {name: value for name, value in self.environ.items() if not name.startswith("GIT_")}
        env |= {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        try:
            done = subprocess.run(
                command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HelperError(f"git cannot be run ({error}); --no-git does without.") from error
        if done.returncode != 0:
            told = "\n".join(done.stderr.decode("utf-8", "replace").strip().splitlines()[-4:])
            raise HelperError(f"git could not get it; --no-git does without git.\n{told}")
        return done.stdout


def refuse_local_commits(folder: Path, environ: Mapping[str, str], force: bool) -> None:
    """Raise HelperError if the git repository in `folder` holds commits that are nowhere else, unless `force`."""
    git = Git.find(environ)
    if force or git is None or not (folder / ".git").exists():
        return
    try:
        found = (
            git.run(folder, "log", "--oneline", "--branches", "--not", "--remotes").decode("utf-8", "replace").strip()
        )
    except HelperError:  # no repository that git understands
        return
    if found:
        raise HelperError(
            f"{folder} holds commits of your own:\n{found}\nNothing was changed. Push them, or add --force."
        )


def origin_of(folder: Path) -> str | None:
    """The https address that the repository in `folder` was cloned from, read without git; None if there is none."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        parser.read_string(re.sub(r"(?m)^[ \t]+", "", (folder / ".git" / "config").read_text(encoding="utf-8")))
        url = parser.get('remote "origin"', "url", fallback="") or ""
    except (OSError, ValueError, configparser.Error):
        return None
    return url.removesuffix("/").removesuffix(".git") if is_plain(url) else None


def files_of(folder: Path, environ: Mapping[str, str]) -> dict[str, str] | None:
    """The files of the commit that the repository in `folder` is at, each with the sha256 it has there; where a file is
    as in the commit, that of what lies in the folder. None if git is not there or does not understand it."""
    git = Git.find(environ)
    if git is None:
        return None
    try:
        tracked = _paths(git.run(folder, "ls-files", "-z"))
        changed = set(_paths(git.run(folder, "diff-index", "-z", "--name-only", "--no-renames", "HEAD", "--")))
        return {
            path: hashlib.sha256(
                git.run(folder, "cat-file", "blob", f"HEAD:{path}") if path in changed else (folder / path).read_bytes()
            ).hexdigest()
            for path in tracked
            if path in changed or (folder / path).is_file()
        }
    except (HelperError, OSError):
        return None


def _paths(listed: bytes) -> list[str]:
    return [os.fsdecode(name) for name in listed.split(b"\0") if name]
