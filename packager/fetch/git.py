"""Running git: alone with its own configuration, no hooks, no prompts, one protocol; and what its complaints mean.

Needs git 2.32 (GIT_CONFIG_GLOBAL).
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from packager import process
from packager.errors import FetchError, InputError, PackagerError
from packager.fetch import parallel
from packager.fetch.mirrors import is_loopback, local_path, redact, ways_out

_HERE = Path(__file__).parent
_OLDEST = (2, 32)
# Of git's own variables these name certificates and git's program folder; all others could redirect it.
_KEPT = {"GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_EXEC_PATH"}
_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

Kind = Literal["unreachable", "missing", "refused", "space", "unusable", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Complaint:
    """One entry of git_failures.yml."""

    kind: Kind
    patterns: tuple[re.Pattern[str], ...]
    what: str
    remedy: str | None


class GitError(FetchError):
    """git failed; `kind` is that of git_failures.yml, or "unknown"."""

    def __init__(self, what: str, *, kind: Kind, where: str, remedy: str) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.kind = kind


def run_git(
    *words: str | Path,
    folder: Path,
    location: str,
    cancel: threading.Event,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run git with the repository in `folder` and return its stdout; `location` (URL or path) is the one it is about.

    `env` is added to the environment of `environment()`. Raises GitError; Cancelled if told to stop.
    """
    _check_version()
    finished = process.run(
        ["git", f"--git-dir={folder}", *words],
        env={**environment(location), **(env or {})},
        check=False,
        watch=functools.partial(parallel.check, cancel),
    )
    if finished.returncode == 0:
        return finished.stdout
    said = finished.output_tail
    kind: Kind = "unknown"
    what, remedy = f"git {words[0]} failed", f"run it again; if that is no help, remove {folder}"
    for complaint in complaints():
        if any(pattern.search(said) for pattern in complaint.patterns):
            kind, what, remedy = complaint.kind, complaint.what, complaint.remedy or ways_out(location)
            break
    raise GitError(f"{what}\n  git: {_last_lines(said)}", kind=kind, where=redact(location), remedy=remedy)


def environment(location: str) -> dict[str, str]:
    """The environment git gets: ours with proxies and certificates, without what could redirect it or make it ask.

    Only the protocol of `location` is allowed, also after redirects (git help git, GIT_ALLOW_PROTOCOL).
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    kept.pop("SSH_ASKPASS", None)
    if is_loopback(location):
        kept |= {"no_proxy": "*", "NO_PROXY": "*"}
    return kept | {
        "GIT_ALLOW_PROTOCOL": "file" if local_path(location) else location.split(":", 1)[0].lower(),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": str(_HERE / "git.conf"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GCM_INTERACTIVE": "never",
        "LC_ALL": "C",
    }


@functools.cache
def complaints() -> tuple[Complaint, ...]:
    """git_failures.yml, in its order."""
    entries = yaml.safe_load((_HERE / "git_failures.yml").read_text(encoding="utf-8"))
    return tuple(
        Complaint(
            kind=entry["kind"],
            patterns=tuple(re.compile(pattern, re.IGNORECASE) for pattern in entry["patterns"]),
            what=entry["what"],
            remedy=entry.get("remedy"),
        )
        for entry in entries
    )


def is_id(word: str) -> bool:
    """Whether it is a full object id (sha1 or sha256, lower case)."""
    return _ID.fullmatch(word) is not None


def check_ref(ref: str, *, where: str) -> None:
    """Refuse what is no branch, tag, full ref or commit id, and what git could take for an option or a refspec.

    The rules are those of `git help check-ref-format`. Raises InputError.
    """
    bad = (
        not ref
        or ref.startswith(("-", "/", "+", "."))
        or ref.endswith(("/", ".", ".lock"))
        or ref == "@"
        or any(part in ref for part in ("..", "@{", "//", "/.", ".lock/"))
        or any(letter.isspace() or not letter.isprintable() or letter in "~^:?*[\\" for letter in ref)
    )
    if bad:
        shown = ref.encode("unicode_escape").decode("ascii")
        raise InputError(f"ref '{shown}' is not one", where=where, remedy="give a branch, a tag or a commit")


@functools.cache
def _check_version() -> None:
    said = process.run(["git", "--version"]).stdout
    found = re.search(r"(\d+)\.(\d+)", said)
    if not found or (int(found[1]), int(found[2])) < _OLDEST:
        raise PackagerError(f"{said.strip()} is too old", remedy="install git {}.{} or newer".format(*_OLDEST))


def _last_lines(said: str) -> str:
    """The end of what git said, each login in a URL taken out."""
    lines = [line for line in said.splitlines() if line.strip()]
    return re.sub(r"(\w+://)[^/\s]*@", r"\1***@", "\n  git: ".join(lines[-4:]))
