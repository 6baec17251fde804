"""Where a node comes from: what the user wrote, told apart, and the addresses that follow from it (forges.json)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote, urlsplit

from portable import download
from portable.errors import HelperError, UsageError
from portable.web import is_plain

Kind = Literal["repository", "registry", "archive", "file"]
_TABLE = Path(__file__).absolute().with_name("forges.json")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATH = re.compile(r"/(?:[A-Za-z0-9._~+-]|%[0-9A-Fa-f]{2})+(?:/(?:[A-Za-z0-9._~+-]|%[0-9A-Fa-f]{2})+)*")
_ARCHIVES = (".zip", ".tar.gz", ".tgz")
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9]|conin\$|conout\$)(\..*)?")


@dataclass(frozen=True, kw_only=True)
class Source:
    """`address` is the https address of a repository or an archive, an id of the registry, or a file's path.

    `ref` is a branch, a tag, a commit or a version of the registry; None is the newest. `name` is the repository's.
    """

    kind: Kind
    address: str
    ref: str | None
    name: str

    def __str__(self) -> str:
        return self.address + (f"@{self.ref}" if self.ref else "")


def table() -> dict[str, Any]:
    """What forges.json says."""
    loaded: dict[str, Any] = json.loads(_TABLE.read_text(encoding="utf-8"))
    return loaded


def parse(word: str) -> Source:
    """Tell what `word` names. Raises UsageError for what cannot be a node's source."""
    if word.startswith("-") or not word or not word.isprintable():
        raise UsageError(f"{word!r} names no node: give an https address, NAME of the registry, or a zip file.")
    if word.lower().startswith(("https://", "http://")):
        return _parse_address(word)
    if word.lower().endswith(_ARCHIVES):
        path = Path(word).expanduser().absolute()
        if not path.is_file():
            raise UsageError(f"{path} is not there.")
        return Source(kind="file", address=str(path), ref=None, name=_stem(path.name))
    if "://" in word or re.match(r"[^/]+@[^/]+:", word):
        raise UsageError(f"{word!r}: nodes are taken over https alone. Write https://HOST/OWNER/NAME[@REF].")
    name, at, ref = word.partition("@")
    if not _ID.fullmatch(name) or (at and not is_ref(ref)):
        raise UsageError(f"{word!r} is neither an https address nor NAME[@VERSION] of the registry.")
    return Source(kind="registry", address=name, ref=ref or None, name=name)


def _parse_address(word: str) -> Source:
    scheme, _, rest = word.partition("://")
    host, slash, path = rest.partition("/")
    path, at, ref = path.partition("@")
    url = f"{scheme.lower()}://{host}{slash}{path}".rstrip("/")
    if not is_plain(url):
        shown = re.sub(r"//[^/@]*@", "//***@", word)
        raise UsageError(f"{shown!r} is no address a node is taken from: https, without a login.")
    if at and not is_ref(ref):
        raise UsageError(f"{ref!r} is no name of a branch, a tag or a commit.")
    parts = urlsplit(url)
    if parts.query or parts.fragment or not _PATH.fullmatch(parts.path) or ".." in unquote(parts.path).split("/"):
        raise UsageError(f"{word!r} is no repository's address: write https://HOST/OWNER/NAME[@REF].")
    name = _stem(unquote(parts.path.rpartition("/")[2]))
    if parts.path.lower().endswith(_ARCHIVES):
        return Source(kind="archive", address=url, ref=None, name=name)
    return Source(kind="repository", address=url.removesuffix(".git"), ref=ref or None, name=name)


def is_ref(text: str) -> bool:
    """Whether `text` may name a branch, a tag, a commit or a version; never an option or a way out of a folder."""
    return bool(_REF.fullmatch(text)) and ".." not in text and "//" not in text and not text.endswith((".lock", "/"))


def is_folder_name(name: str) -> bool:
    """Whether a node's folder may be called so on every system."""
    return bool(_ID.fullmatch(name)) and not name.endswith((".", ".disabled", ".py")) and not is_device(name)


def is_device(name: str) -> bool:
    """Whether Windows takes `name` for a device."""
    return bool(_DEVICES.fullmatch(name))


def commit_of(source: Source, environ: Mapping[str, str]) -> str:
    """The commit `source.ref` stands for now, asked of the repository as git asks (gitprotocol-http), without git.

    Raises HelperError if there is no such ref.
    """
    if source.ref and _COMMIT.fullmatch(source.ref):
        return source.ref
    url = f"{source.address}.git/info/refs?service=git-upload-pack"
    refs = read_refs(download.read(url, environ, limit=table()["limits"]["answer_bytes"]))
    if not refs:
        raise HelperError(f"{source.address} is no git repository, or an empty one.")
    names = ["HEAD"] if source.ref is None else [f"refs/{kind}/{source.ref}" for kind in ("heads", "tags")]
    found = next((refs[name] for name in (f"{names[-1]}^{{}}", *names) if name in refs), None)
    if found is None:
        known = [
            name.split("/", 2)[2] for name in refs if name.startswith(("refs/heads/", "refs/tags/")) and "^" not in name
        ]
        raise HelperError(
            f"{source.address} has no branch or tag {source.ref!r}; it has {', '.join(known[:8])}"
            f"{', ...' if len(known) > 8 else ''}. A commit must be written with all 40 digits."
        )
    return found


def read_refs(answer: bytes) -> dict[str, str]:
    """Commit by name of ref, in an answer of git's smart http protocol, version 0; empty if it is none."""
    refs: dict[str, str] = {}
    position = 0
    while position + 4 <= len(answer):
        try:
            length = int(answer[position : position + 4], 16)
        except ValueError:
            return {}
        line = answer[position + 4 : position + length].split(b"\0")[0].decode("utf-8", "replace").strip()
        position += max(length, 4)
        commit, _, name = line.partition(" ")
        if _COMMIT.fullmatch(commit) and name:
            refs[name] = commit
    return refs


def archive_address(source: Source, commit: str) -> str:
    """Where the forge serves the files of `commit` as a zip."""
    parts = urlsplit(source.address)
    rows = table()["archives"]
    row = next(row for row in rows if row["host"] in (parts.hostname, "*"))
    path = parts.path.strip("/")
    words = {"repository": source.address, "path": path, "name": path.rpartition("/")[2], "commit": commit}
    return str(row["archive"]).format(**words)


def registry_address(source: Source, environ: Mapping[str, str]) -> str:
    """Where the registry tells what to download. The variable of forges.json names another registry."""
    registry = table()["registry"]
    other = environ.get(registry["variable"], "").rstrip("/")
    pattern = f"{other}/nodes/{{id}}/install" if other else registry["install"]
    url = str(pattern).format(id=quote(source.address, safe=""))
    return url + (f"?version={quote(source.ref, safe='')}" if source.ref else "")


def _stem(name: str) -> str:
    for suffix in (*_ARCHIVES, ".git"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
