"""The files of the bundle in the archives it came in: zips on a disk, or on a web server of which only parts are read.

An archive's words are not believed: each file that comes out must have the size and the hash of the manifest.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from portable.bundle import WINDOWS, Bundle
from portable.disk import require_room
from portable.errors import HelperError, UsageError
from portable.remote_file import NoRangesError, RemoteFile, fetch_whole
from portable.web import is_allowed, shown

_BLOCK = 1024 * 1024
_HEADER = 30 + 4096  # bytes at most before a member's content, as a guess: name and extra fields vary
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the archives are: `text` is a zip, one of its parts, a folder that holds them, or the address of such.

    `environ` has the proxies and certificates to use; `name` is the archive's file name if it came in one.
    """

    text: str
    environ: Mapping[str, str]
    name: str

    @property
    def is_remote(self) -> bool:
        return "://" in self.text

    @property
    def shown(self) -> str:
        """Without what may be secret."""
        return shown(self.text) if self.is_remote else self.text

    def place_of(self, archive: str) -> str:
        """Path or address of the archive of that name; "" if the bundle came in one."""
        return self._address_of(archive) if self.is_remote else str(self._path_of(archive))

    def _path_of(self, archive: str) -> Path:
        given = Path(self.text)
        if given.is_dir():
            if not archive:
                likely = [given / self.name, *sorted(given.glob(f"{self.name[:-4]}-part1of*.zip"))]
                zips = [path for path in likely if path.exists()] or sorted(given.glob("*.zip"))
                return zips[0] if zips else likely[0]
            return given / archive
        return given.with_name(archive) if archive and given.name != archive else given

    def _address_of(self, archive: str) -> str:
        parts = urlsplit(self.text)
        folder, _, last = parts.path.rpartition("/")
        wanted = archive or (last or quote(self.name))
        if unquote(last) == wanted or not archive:
            return parts._replace(path=f"{folder}/{last or wanted}").geturl()
        return parts._replace(path=f"{folder}/{quote(wanted)}", query="").geturl()


def source_of(bundle: Bundle, text: str | None, environ: Mapping[str, str]) -> Source:
    """The source the user named; without one the archive beside the bundle's folder, if it still lies there.

    Raises UsageError if there is nothing of that name, or an address is not allowed.
    """
    name = archive_name(bundle)
    if text is None:
        beside = bundle.root.parent
        found = [path for path in (beside / name, *sorted(beside.glob(f"{name[:-4]}-part1of*.zip"))) if path.is_file()]
        if not found:
            raise UsageError(
                f"Say where the zip is from which this bundle was unzipped: repair FILE, FOLDER or https://... "
                f"({name} or its parts are not in {beside})."
            )
        text = str(found[0])
    if "://" in text:
        if not is_allowed(text):
            raise UsageError(f"{shown(text)} is not an https address: give a file, a folder or an https address.")
    elif not Path(text).exists():
        raise UsageError(f"There is no {text}: give the zip, the folder with its parts, or an https address.")
    else:
        text = os.path.abspath(text)  # noqa: PTH100 - links stay
    return Source(text=text, environ=environ, name=name)


def archive_name(bundle: Bundle) -> str:
    """What the packager calls the zip of the bundle."""
    facts: Any = json.loads((bundle.portable / "bundle.json").read_text(encoding="utf-8"))
    words = [bundle.name, bundle.version, bundle.target, str(facts.get("accelerator") or "")]
    return "-".join(word for word in words if word) + ".zip"


class Archive:
    """One open zip. `paths` are those of its members from the bundle's root."""

    def __init__(self, stream: Any, shown_as: str) -> None:
        self.shown = shown_as
        self._stream = stream
        try:
            self._zip = zipfile.ZipFile(stream)
            members = [info for info in self._zip.infolist() if not info.is_dir()]
        except (*_FAULTS, ValueError, UnicodeError) as error:
            raise HelperError(
                f"{shown_as} is no whole zip ({error}): fetch it again, or give another source."
            ) from error
        roots = {info.filename.partition("/")[0] for info in members if "/" in info.filename}
        prefix = f"{roots.pop()}/" if len(roots) == 1 and all("/" in info.filename for info in members) else ""
        self._members = {info.filename[len(prefix) :]: info for info in members}

    def holds(self, path: str) -> bool:
        return path in self._members

    def take(self, entries: Sequence[Mapping[str, Any]], folder: Path, tell: Callable[[int], None]) -> None:
        """Write the files of `entries` (of the manifest) to folder/PATH. Raises HelperError if one is not as listed.

        `tell` is called with the number of bytes after each.
        """
        if absent := [entry["path"] for entry in entries if entry["path"] not in self._members]:
            raise HelperError(
                f"{self.shown} does not hold {absent[0]}: it is not the archive this bundle was unzipped from."
            )
        ordered = sorted(entries, key=lambda entry: self._members[entry["path"]].header_offset)
        if isinstance(self._stream, RemoteFile):
            self._stream.expect(
                (info.header_offset, min(info.header_offset + _HEADER + info.compress_size, self._stream.size))
                for info in (self._members[entry["path"]] for entry in ordered)
            )
        for entry in ordered:
            place = folder / entry["path"]
            place.parent.mkdir(parents=True, exist_ok=True)
            self._take_one(entry, place)
            tell(entry["size"])

    def _take_one(self, entry: Mapping[str, Any], place: Path) -> None:
        digest, size = hashlib.sha256(), 0
        try:
            with self._zip.open(self._members[entry["path"]]) as member, place.open("wb") as stream:
                while size <= entry["size"] and (block := member.read(_BLOCK)):
                    digest.update(block)
                    size += len(block)
                    stream.write(block)
        except _FAULTS as error:
            raise HelperError(f"{entry['path']} in {self.shown} is damaged ({error}): give another source.") from error
        if size != entry["size"] or digest.hexdigest() != entry["sha256"]:
            raise HelperError(
                f"{entry['path']} in {self.shown} is not the file this bundle was shipped with: the archive is damaged "
                "or of another version."
            )
        set_mode(place, entry)

    def read(self, path: str, limit: int) -> bytes:
        """A small member, of `limit` bytes at most. Raises HelperError if it is not there or larger."""
        if path not in self._members:
            raise HelperError(f"{self.shown} does not hold {path}.")
        try:
            with self._zip.open(self._members[path]) as member:
                content = member.read(limit + 1)
        except _FAULTS as error:
            raise HelperError(f"{path} in {self.shown} is damaged ({error}).") from error
        if len(content) > limit:
            raise HelperError(f"{path} in {self.shown} is larger than it can be.")
        return content

    def close(self) -> None:
        self._zip.close()
        self._stream.close()


@contextlib.contextmanager
def opened(source: Source, archive: str, work: Path, say: Callable[[str], None]) -> Iterator[Archive]:
    """The archive of that name ("" for the only one). `work` gets it whole if its server cannot send parts."""
    place = source.place_of(archive)
    stream: io.RawIOBase | io.BufferedReader
    if source.is_remote:
        try:
            stream = RemoteFile(place, source.environ)
        except NoRangesError as error:
            whole = work / "archive.zip"
            size = f" ({error.size / 1e6:.0f} MB)" if error.size else ""
            say(f"{error} All of it is fetched{size}.")
            require_room(work, error.size or 0)
            fetch_whole(place, source.environ, whole)
            stream = whole.open("rb")
        seen = shown(place)
    else:
        path = Path(place)
        if not path.is_file():
            what = f"{archive} is wanted, and is not in {path.parent}" if archive else f"{path} is not there"
            raise HelperError(f"{what}: put it there, or give the folder that holds it.")
        stream, seen = path.open("rb"), path.name
    with contextlib.closing(stream):
        found = Archive(stream, seen)
        try:
            yield found
        finally:
            found.close()


def set_mode(place: Path, entry: Mapping[str, Any]) -> None:
    """Give the file the permissions it was shipped with, where the system has such."""
    if not WINDOWS:
        mode = int(entry["mode"], 8) if isinstance(entry["mode"], str) else entry["mode"]
        place.chmod(stat.S_IMODE(mode) & 0o777)
