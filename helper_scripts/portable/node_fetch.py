"""Getting the files of a node: with git where it is there, else as the archive its forge or the registry serves."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from portable import download
from portable.changes import sha256_of
from portable.errors import HelperError
from portable.node_files import Origin
from portable.node_git import Git
from portable.node_source import Source, archive_address, commit_of, is_ref, registry_address, table
from portable.unpack import Unpacked, unpack
from portable.web import is_plain

Say = Callable[[str], None]
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Got:
    """`tree` holds the node's files, in the folder that was given; it may be moved."""

    tree: Path
    origin: Origin


class SameError(Exception):
    """The newest is what is there."""


def fetch(
    source: Source, work: Path, environ: Mapping[str, str], *, have: Origin | None, use_git: bool, say: Say
) -> Got:
    """Get the node into the empty folder `work`.

    Raises SameError if it is what `have` says already, else HelperError.
    """
    say(f"fetching {source}")
    if source.kind == "registry":
        return _from_registry(source, work, environ, have, say)
    if source.kind in ("archive", "file"):
        return _from_archive(source, work, environ, have, say)
    git = Git.find(environ, plain=source.address.startswith("http://")) if use_git else None
    if git is not None:
        return _with_git(git, source, work, environ, have)
    commit = commit_of(source, environ)
    if have and have.commit == commit:
        raise SameError
    archive = work / "node.zip"
    digest = _save(archive_address(source, commit), archive, environ)
    got = _unpack(archive, work, say)
    if _COMMIT.fullmatch(got.comment) and got.comment != commit:  # git archive and the forges write it there
        raise HelperError(f"{source} sent commit {got.comment} instead of {commit}: nothing was changed.")
    if (got.tree / ".gitmodules").exists():
        say("note: this node has parts in other repositories (submodules), which come with git alone")
    return Got(tree=got.tree, origin=_origin(source, commit=commit, sha256=digest))


def _from_registry(source: Source, work: Path, environ: Mapping[str, str], have: Origin | None, say: Say) -> Got:
    url = registry_address(source, environ)
    answer = download.read_json(url, environ, limit=table()["limits"]["answer_bytes"])
    address, version = answer.get("downloadUrl"), str(answer.get("version", ""))
    if not isinstance(address, str) or not is_ref(version) or not is_plain(address):
        raise HelperError(f"{url} names no version with an https address to download it from.")
    if have and have.version == version:
        raise SameError
    archive = work / "node.zip"
    digest = _save(address, archive, environ)
    return Got(tree=_unpack(archive, work, say).tree, origin=_origin(source, version=version, sha256=digest))


def _from_archive(source: Source, work: Path, environ: Mapping[str, str], have: Origin | None, say: Say) -> Got:
    archive = work / ("node.zip" if source.address.lower().endswith(".zip") else "node.tar.gz")
    if source.kind == "file":
        if not Path(source.address).is_file():
            raise HelperError(f"{source.address} is not there any more.")
        digest = sha256_of(Path(source.address))
        got = None if have and have.sha256 == digest else _unpack(Path(source.address), work, say)
    else:
        digest = _save(source.address, archive, environ)
        got = None if have and have.sha256 == digest else _unpack(archive, work, say)
    if got is None:
        raise SameError
    return Got(tree=got.tree, origin=_origin(source, sha256=digest))


def _save(url: str, place: Path, environ: Mapping[str, str]) -> str:
    return download.save(url, place, environ, limit=table()["limits"]["download_bytes"])


def _unpack(archive: Path, work: Path, say: Say) -> Unpacked:
    (work / "unpacked").mkdir()
    got = unpack(archive, work / "unpacked", table()["limits"])
    for link in got.links:
        say(f"note: {link} is a link, which is not taken from archives")
    return got


def _origin(source: Source, **facts: str) -> Origin:
    return replace(Origin(kind=source.kind, address=source.address, ref=source.ref), **facts)


# -- with git ----------------------------------------------------------------------------------------------------------


def _with_git(git: Git, source: Source, work: Path, environ: Mapping[str, str], have: Origin | None) -> Got:
    if have and have.commit and commit_of(source, environ) == have.commit:
        raise SameError
    tree = work / "repository"
    url = f"{source.address}.git"
    if source.ref and _COMMIT.fullmatch(source.ref):
        tree.mkdir()
        git.run(tree, "init", "--quiet")
        git.run(tree, "remote", "add", "origin", url)
        git.run(tree, "fetch", "--quiet", "--depth=1", "origin", source.ref)
        git.run(tree, "checkout", "--quiet", "--detach", "FETCH_HEAD")
    else:
        branch = [f"--branch={source.ref}"] if source.ref else []
        git.run(work, "clone", "--quiet", "--depth=1", *branch, "--", url, str(tree))
    if (tree / ".gitmodules").exists():
        git.run(tree, "submodule", "update", "--quiet", "--init", "--recursive", "--depth=1")
    commit = git.run(tree, "rev-parse", "HEAD").decode("ascii").strip()
    _refuse_links_out(tree)
    exclude = tree / ".git/info/exclude"
    exclude.parent.mkdir(exist_ok=True)
    with exclude.open("a", encoding="utf-8") as stream:
        stream.write("/.portable-node.json\n")
    return Got(tree=tree, origin=_origin(source, commit=commit))


def _refuse_links_out(tree: Path) -> None:
    """A link that leads out of the node could have a file elsewhere read or overwritten."""
    real = os.path.realpath(tree)
    for base, folders, files in os.walk(tree):
        for name in (*folders, *files):
            path = Path(base, name)
            if path.is_symlink() and not os.path.realpath(path).startswith(real + os.sep):
                raise HelperError(f"{path.relative_to(tree)} is a link that leads out of the node: it is refused.")
