"""Putting back what was lost or damaged, from the archives the bundle came in: one transaction, like every change.

The user's own (user_data.json) is left alone, and so is what a helper changed on purpose.
"""

from __future__ import annotations

import collections
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from portable import snapshots, transaction
from portable.bundle import Bundle
from portable.changes import Change, Plan, Record, kind_of, sha256_of
from portable.completeness import MANIFEST
from portable.disk import require_room
from portable.errors import HelperError
from portable.shipped_files import Source, opened, set_mode
from portable.user_data import UserData
from portable.verify import Damage, find_damage, judge, left_by, parse_manifest, read_manifest

_LARGEST_MANIFEST = 512 * 1024 * 1024  # bytes


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What will be put back: `local` need no archive, `wanted` are entries of files by archive. `left` stays as it is,
    each path with the reason."""

    local: tuple[Mapping[str, Any], ...] = ()
    wanted: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)

    @property
    def entries(self) -> list[Mapping[str, Any]]:
        return [*self.local, *(entry for entries in self.wanted.values() for entry in entries)]


def choose(
    bundle: Bundle, entries: Sequence[Mapping[str, Any]], damage: Sequence[Damage], records: Sequence[Record]
) -> Choice:
    """Which of the damage can be mended, from what, and why the rest is left. Looks, and changes nothing."""
    by_path = {entry["path"]: entry for entry in entries}
    changed = {path: record for path, (record, _) in left_by(records).items()}
    own = UserData.of(bundle, by_path)
    local, wanted, left = [], collections.defaultdict(list), {}
    for item in damage:
        if item.kind == "changed":
            continue
        entry = by_path.get(item.path)
        if reason := _reason_to_leave(bundle.root, item, entry, changed, own):
            left[item.path] = reason
        elif entry is not None and (entry["kind"] != "file" or _has_content(bundle.root / item.path, entry)):
            local.append(entry)
        elif entry is not None:
            wanted[str(entry.get("archive", ""))].append(entry)
    return Choice(local=tuple(local), wanted=dict(wanted), left=left)


def run(
    bundle: Bundle,
    source: Callable[[], Source],
    *,
    command: Sequence[str],
    show: Callable[[Choice], bool],
    say: Callable[[str], None],
) -> tuple[Choice, Record | None]:
    """Find the damage and mend it; the caller holds the lock. `source` is asked for only when an archive is needed.

    `show` tells the user and returns whether to go on. Returns what was chosen, and None if nothing was changed.
    """
    choices: list[Choice] = [Choice()]

    def prepare(work: Path) -> Plan:
        changes = []
        try:
            entries = read_manifest(bundle.root / MANIFEST)
        except HelperError as error:
            say(f"note: {error} That of the archive is taken.")
            entries = _fetch_manifest(bundle, source(), work, say)
            changes.append(Change(path=MANIFEST, source=work / "manifest.json"))
        records = snapshots.history(bundle.root)
        damage = list(judge(bundle.root, find_damage(bundle.root, entries), records))
        choices[0] = choice = choose(bundle, entries, damage, records)
        names = [*(change.path for change in changes), *(entry["path"] for entry in choice.entries)]
        summary = f"put back {names[0] if len(names) == 1 else f'{len(names)} files'}" if names else "nothing to mend"
        if not names or not show(choice):
            return Plan(summary=summary)
        changes += _gather(bundle, choice, source, work / "files", say)
        return Plan(summary=summary, changes=tuple(changes), details={"files": names})

    record = transaction.run(bundle, kind="repair", command=command, prepare=prepare, say=say)
    return choices[0], record


def _gather(
    bundle: Bundle, choice: Choice, source: Callable[[], Source], folder: Path, say: Callable[[str], None]
) -> list[Change]:
    """Put everything into `folder` as it was shipped, each file judged by its hash."""
    folder.mkdir()
    require_room(folder, sum(entry.get("size", 0) for entry in choice.entries))
    for entry in choice.local:
        place = folder / entry["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        if entry["kind"] == "link":
            place.symlink_to(entry["target"])
        elif entry["kind"] == "directory":
            place.mkdir()
        else:
            shutil.copyfile(bundle.root / entry["path"], place)
            set_mode(place, entry)
    for archive, entries in sorted(choice.wanted.items()):
        origin = source()
        total, done = sum(entry["size"] for entry in entries), [0, 0]
        say(f"taking {len(entries)} files ({total / 1e6:.1f} MB) from {archive or origin.shown}")

        def tell(size: int, total: int = total, done: list[int] = done) -> None:
            before = done[1]
            done[0], done[1] = done[0] + size, 10 * (done[0] + size) // max(total, 1)
            if done[1] > before and total > 100e6:
                say(f"  {done[0] / 1e6:.0f} of {total / 1e6:.0f} MB")

        with opened(origin, archive, folder.parent, say) as found:
            found.take(entries, folder, tell)
    return [Change(path=entry["path"], source=folder / entry["path"]) for entry in choice.entries]


def _fetch_manifest(bundle: Bundle, source: Source, work: Path, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The manifest in the archive, written to `work`. Raises HelperError unless it is that of this very bundle."""
    with opened(source, "", work, say) as archive:
        content = archive.read(MANIFEST, _LARGEST_MANIFEST)
    place = work / "manifest.json"
    place.write_bytes(content)
    entries = parse_manifest(content, place)
    shipped: Any = json.loads(content).get("bundle") or {}
    facts = (shipped.get("name"), shipped.get("version"), shipped.get("target"))
    if facts != (bundle.name, bundle.version, bundle.target):
        raise HelperError(
            f"{source.shown} holds {' '.join(map(str, facts))}, and this is {bundle.name} {bundle.version} "
            f"{bundle.target}: give the archive of this bundle."
        )
    return entries


def _reason_to_leave(
    root: Path,
    item: Damage,
    entry: Mapping[str, Any] | None,
    changed: Mapping[str, Record],
    own: UserData,
) -> str:
    path = item.path
    places = [path, *map(str, PurePosixPath(path).parents)]
    if record := next((changed[place] for place in places if place in changed), None):
        return f"{record.kind} #{record.id} put it there: `manage rollback {record.id}`, or install it again"
    if entry is None:
        return "it was not shipped"
    if own.decides(path, is_there=item.kind != "missing"):
        return "it is yours"
    if kind_of(root / path) == "directory" and entry["kind"] != "directory":
        return "a folder is in its place: move that away"
    for parent in places[1:-1]:
        if kind_of(root / parent) not in (None, "directory"):
            return f"{parent} was a folder and is none any more: move it away"
    return ""


def _has_content(path: Path, entry: Mapping[str, Any]) -> bool:
    """Whether the file is whole and has lost its permissions alone."""
    try:
        return kind_of(path) == "file" and path.stat().st_size == entry["size"] and sha256_of(path) == entry["sha256"]
    except OSError:
        return False
