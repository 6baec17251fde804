"""The files of a commit: what they are, whether they are safe to write, and writing them."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packager.errors import InputError
from packager.fetch.git import GitError
from packager.fetch.mirrors import redact
from packager.fetch.repository import Repository
from packager.filesystem import remove_tree, walk_files

_LINK, _EXECUTABLE, _SUBMODULE = "120000", "100755", "160000"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of `git ls-tree -r -l`: `path` from the root with forward slashes; `id` of the blob, or of a submodule's
    commit; `size` in bytes."""

    mode: str
    id: str
    size: int
    path: str

    @property
    def is_submodule(self) -> bool:
        return self.mode == _SUBMODULE


def read_entries(repository: Repository, commit: str) -> list[Entry]:
    """All entries of the commit, checked. Raises InputError for a tree that could write outside its folder."""
    listed = repository.git("ls-tree", "-r", "-l", "-z", "--full-tree", "--end-of-options", commit)
    entries = []
    for line in listed.split("\0"):
        if line:
            facts, path = line.split("\t", 1)
            mode, _, oid, size = facts.split()
            entries.append(Entry(mode=mode, id=oid, size=int(size) if size.isdigit() else 0, path=path))
    _check(entries, where=f"{redact(repository.location)} at {commit[:12]}")
    return entries


def _check(entries: Sequence[Entry], *, where: str) -> None:
    """git checks the same when it fills its index; here the error says what and where, whatever git's version."""
    files = [entry.path for entry in entries]
    # On a file system that ignores case a link may be met under another spelling (CVE-2021-21300).
    links = {entry.path.casefold() for entry in entries if entry.mode == _LINK}
    for path in files:
        parts = path.split("/")
        shown = path.encode("unicode_escape").decode("ascii")
        if any(part in ("", ".", "..") or part.casefold() == ".git" for part in parts) or "\ufffd" in path:
            raise _hostile(f"holds '{shown}', which is no name for a file", where)
        if parts[-1].casefold() == ".gitmodules" and path.casefold() in links:
            raise _hostile(f"holds '{shown}' as a symbolic link", where)
        parents = {str(parent).casefold() for parent in PurePosixPath(path).parents}
        if parents & links:
            raise _hostile(f"holds '{shown}' below a symbolic link", where)
    if len(set(files)) != len(files):
        raise _hostile("holds one name twice", where)


def _hostile(what: str, where: str) -> InputError:
    return InputError(f"the commit {what}", where=where, remedy="do not use this repository, or another commit of it")


def submodule_urls(repository: Repository, entries: Sequence[Entry]) -> dict[str, str]:
    """Path -> URL as .gitmodules among `entries` has them, unchecked."""
    listed = next((entry for entry in entries if entry.path == ".gitmodules"), None)
    if listed is None:
        return {}
    said = repository.git("config", "--no-includes", f"--blob={listed.id}", "--null", "--list")
    found: dict[str, dict[str, str]] = {}
    for item in said.split("\0"):
        key, _, value = item.partition("\n")
        section, _, rest = key.partition(".")
        name, _, field = rest.rpartition(".")
        if section == "submodule" and field in ("path", "url"):
            found.setdefault(name, {})[field] = value
    return {both["path"].rstrip("/"): both["url"] for both in found.values() if len(both) == 2}


def export(repository: Repository, commit: str, folder: Path) -> None:
    """Write the files of the commit to `folder`, which is made anew; no export-ignore, no filters, no hooks.

    The index is a file of its own, removed afterwards. Folders of submodules are left empty.
    """
    remove_tree(folder)
    folder.mkdir(parents=True)
    index = repository.path / "export.index"
    index.unlink(missing_ok=True)
    env = {"GIT_INDEX_FILE": str(index), "GIT_WORK_TREE": str(folder)}
    try:
        repository.git("read-tree", commit, env=env)
        repository.git("checkout-index", "--all", "--force", env=env)
    except GitError as error:
        if "invalid path" in error.what:  # git knows more spellings of .git, those of NTFS and HFS+
            raise _hostile(f"holds a name that git refuses: {error.what}", redact(repository.location)) from error
        raise
    finally:
        index.unlink(missing_ok=True)


def is_placed(folder: Path, entries: Mapping[str, Entry], *, apart: Collection[Path]) -> bool:
    """Whether `folder` holds exactly these files (path -> entry), byte by byte; the folders `apart` don't count.

    Where attributes changed line ends on the way out a file is not equal to its blob: then the answer is no.
    """
    wanted = {path: entry for path, entry in entries.items() if not entry.is_submodule}
    paths = walk_files(folder, skip=lambda path: path in apart)
    found = {path.relative_to(folder).as_posix(): path for path in paths}
    return found.keys() == wanted.keys() and all(_equals(found[name], entry) for name, entry in wanted.items())


def _equals(path: Path, entry: Entry) -> bool:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) != (entry.mode == _LINK):
        return False
    if entry.mode == _LINK:
        content = str(path.readlink()).encode()
    elif not stat.S_ISREG(status.st_mode) or bool(status.st_mode & stat.S_IXUSR) != (entry.mode == _EXECUTABLE):
        return False
    else:
        content = path.read_bytes()
    algorithm = hashlib.sha1 if len(entry.id) == 40 else hashlib.sha256
    return algorithm(b"blob %d\0" % len(content) + content).hexdigest() == entry.id
