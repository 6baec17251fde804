"""Whether the files of the bundle are still those that were shipped, by portable/manifest.json."""

from __future__ import annotations

import collections
import hashlib
import json
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from portable.bundle import WINDOWS
from portable.changes import Content, Record, content_of, sha256_of
from portable.errors import HelperError
from portable.prefix_table import PrefixFile, read_table
from portable.relocate import read_state

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One entry that is not as it was shipped. `path` is relative to the bundle, with forward slashes.

    `archive` is the zip that holds it, if the bundle came in several. "changed" is what a helper did on purpose
    (`detail` names the change): no damage.
    """

    path: str
    kind: Literal["missing", "damaged", "changed"]
    detail: str
    archive: str = ""


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """The entries of the manifest, each with the `archive` it came in if there were several.

    Raises HelperError if it is missing, broken, or names a path outside the bundle.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        entries = manifest["entries"]
        if manifest["format"] != _FORMAT:
            raise HelperError(f"{path} has format {manifest['format']!r}, these helpers read format {_FORMAT}.")
        for entry in entries:
            name = PurePosixPath(entry["path"])
            if name.is_absolute() or ".." in name.parts or (WINDOWS and ":" in entry["path"]):
                raise HelperError(f"{path} names {entry['path']!r}, which is outside the bundle: do not trust it.")
            if manifest.get("parts"):
                entry["archive"] = str(manifest["parts"][entry["part"] - 1])
    except FileNotFoundError:
        raise HelperError(f"{path} is missing, so nothing can be compared: unzip the bundle again.") from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise HelperError(f"{path} cannot be read ({error}): unzip the bundle again.") from error
    return list(entries)


def parts_to_unzip(root: Path, entries: list[dict[str, Any]], damage: list[Damage]) -> list[str]:
    """What to do about each part of which something is missing or damaged, as sentences; none for one archive."""
    held = collections.Counter(entry.get("archive", "") for entry in entries)
    missing = collections.Counter(item.archive for item in damage if item.kind == "missing")
    return [
        f"{'Nothing' if missing[archive] == held[archive] else 'Not all'} of {archive} is here: "
        f"unzip {archive} into the same folder as the other parts, {root.parent}"
        for archive in sorted({item.archive for item in damage if item.archive})
    ]


def find_damage(root: Path, entries: list[dict[str, Any]]) -> Iterator[Damage]:
    """Each entry of the manifest that the bundle in `root` has lost or changed, in the manifest's order.

    A file into which `relocate` wrote the bundle's place is not changed by that.
    """
    try:
        table = read_table(root)
    except HelperError:
        table = {}  # it is in the manifest itself
    signed = read_state(root).signed
    for entry in entries:
        path = root / entry["path"]
        check = {"file": _check_file, "link": _check_link, "directory": _check_directory}.get(entry["kind"])
        if check is None:
            raise HelperError(f"the manifest calls {entry['path']!r} a {entry['kind']!r}, which is not known here.")
        if not path.is_symlink() and not path.exists():
            yield Damage(path=entry["path"], kind="missing", detail="", archive=entry.get("archive", ""))
        elif (detail := check(path, entry)) and not (
            entry["path"] in table and _is_relocated(path, entry, table[entry["path"]], signed)
        ):
            yield Damage(path=entry["path"], kind="damaged", detail=detail, archive=entry.get("archive", ""))


def judge(root: Path, damage: Iterable[Damage], records: Sequence[Record]) -> Iterator[Damage]:
    """`damage`, that of it which the transactions `records` explain as "changed"; then what they put there and is lost.

    A file counts as changed only if it is exactly what the last of them left.
    """
    left = left_by(records)
    explained = set()
    for item in damage:
        place = next((name for name in (item.path, *map(str, PurePosixPath(item.path).parents)) if name in left), None)
        if place is None:
            yield item
            continue
        explained.add(item.path)
        record, content = left[place]
        by = f"changed by {record.kind} #{record.id}"
        if _is_as_left(root, item.path, place, content):
            yield replace(item, kind="changed", detail=by)
        else:
            yield replace(item, detail=f"{by}, and again since: {item.detail or 'it is gone'}", archive="")
    for path, (record, content) in sorted(left.items()):
        if content is None or path in explained or content.kind == "directory":
            continue
        if not _is_as_left(root, path, path, content):
            is_there = (root / path).is_symlink() or (root / path).exists()
            detail = f"put there by {record.kind} #{record.id}" + (", has other content now" if is_there else "")
            yield Damage(path=path, kind="damaged" if is_there else "missing", detail=detail)


def left_by(records: Sequence[Record]) -> dict[str, tuple[Record, Content | None]]:
    """What the transactions left at each place that they changed: the last that did, and what it put there."""
    left: dict[str, tuple[Record, Content | None]] = {}
    for record in records:
        for change in record.changes:
            if change.after is None or change.after.kind == "directory":
                for inside in [name for name in left if name.startswith(f"{change.path}/")]:
                    del left[inside]
            left[change.path] = (record, change.after)
    return left


def _is_as_left(root: Path, path: str, place: str, content: Content | None) -> bool:
    """Whether at `path` there is what the transaction left at `place`, which is `path` or a folder above it."""
    live = root / path
    if content is None:
        return not live.is_symlink() and not live.exists()
    if place == path:
        if content.kind == "directory":
            return live.is_dir()
        now = content_of(live)
        return now is not None and (now.kind, now.digest) == (content.kind, content.digest)
    wanted = content.files.get(str(PurePosixPath(path).relative_to(place)))
    return (live.is_file() and sha256_of(live) == wanted) if wanted else not live.exists()


def _check_file(path: Path, entry: Mapping[str, Any]) -> str:
    """What is wrong with the file, or an empty text."""
    if path.is_symlink() or not path.is_file():
        return "is not a file any more"
    size = path.stat().st_size
    if size != entry["size"]:
        return f"has {size} bytes instead of {entry['size']}"
    if _has_lost_permission(path, entry):
        return "has lost its permission to be run"
    try:
        digest = sha256_of(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if digest == entry["sha256"] else "has other content"


def _is_relocated(path: Path, entry: Mapping[str, Any], file: PrefixFile, signed: Mapping[str, list[str]]) -> bool:
    if path.is_symlink() or _has_lost_permission(path, entry):
        return False
    try:
        content = path.read_bytes()
    except OSError:
        return False
    own = hashlib.sha256(content).hexdigest() in signed.get(entry["path"], ())
    return own or file.is_as_shipped(content, entry["sha256"])


def _has_lost_permission(path: Path, entry: Mapping[str, Any]) -> bool:
    wanted = int(entry["mode"], 8) if isinstance(entry["mode"], str) else entry["mode"]
    return not WINDOWS and bool(wanted & stat.S_IXUSR) and not path.stat().st_mode & stat.S_IXUSR


def _check_link(path: Path, entry: Mapping[str, Any]) -> str:
    if not path.is_symlink():
        return "is not a link any more"
    target = path.readlink().as_posix()
    return "" if target == entry["target"] else f"leads to {target} instead of {entry['target']}"


def _check_directory(path: Path, _entry: Mapping[str, Any]) -> str:
    return "" if path.is_dir() and not path.is_symlink() else "is not a folder any more"
