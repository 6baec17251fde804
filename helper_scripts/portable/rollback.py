"""Plans that lead back: to before a transaction, or to a named snapshot. A rollback is a transaction like any other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from portable.bundle import Bundle
from portable.changes import Change, Plan, Record, Recorded, kind_of, sha256_of
from portable.disk import remove_tree, require_room
from portable.distributions import bytecode_of, installed, normalise
from portable.errors import HelperError, UsageError
from portable.snapshots import Named, Stored, folder_of, history, in_effect, is_kept


def latest(root: Path) -> int:
    """The number of the last change that is in effect. Raises UsageError if there is none."""
    numbers = in_effect(history(root))
    if not numbers:
        raise UsageError("There is nothing to roll back: no helper has changed this bundle.")
    return numbers[-1]


def plan_before(bundle: Bundle, number: int, work: Path) -> Plan:
    """The way back to what was before transaction `number`, its content copied into `work`.

    What was changed past the helpers in the packages at hand goes as well; nothing else is touched. Raises UsageError
    for a number that does not exist, HelperError if what it replaced was pruned.
    """
    records = history(bundle.root)
    undone = [record for record in records if record.id >= number]
    if number not in (record.id for record in undone):
        raise UsageError(f"There is no change #{number}: `manage snapshots` lists those that are.")
    for record in reversed(undone):
        if not is_kept(bundle.root, record):
            raise HelperError(
                f"What #{record.id} replaced was deleted to save room: #{record.id + 1} is the first way back."
            )
    images = _oldest_images(undone)
    changes: dict[str, Change] = {}
    for path, (record, change) in images.items():
        staged = None
        if change.before is not None:
            staged = work / str(len(changes))
            _copy(folder_of(bundle.root, record.id) / "old" / str(change.number), staged, bundle.root)
            _restore_inside(bundle.root, path, record, staged, undone)
        changes[path] = Change(path=path, source=staged)
    for path in list(_left_behind(bundle.root, undone, changes)):
        changes.setdefault(path, Change(path=path))
    details = {"before": number, "undoes": [record.id for record in undone], "packages": _reversed(undone)}
    return Plan(summary=f"to before #{number} ({undone[0].summary})", changes=tuple(changes.values()), details=details)


def _oldest_images(undone: Sequence[Record]) -> dict[str, tuple[Record, Recorded]]:
    """Of each place what the first of the transactions found there; places below another that came first or is put
    back as a whole are part of that."""
    images: dict[str, tuple[Record, Recorded]] = {}
    for record in undone:
        for change in record.changes:
            images.setdefault(change.path, (record, change))
    return {
        path: image
        for path, image in images.items()
        if not any(str(parent) in images for parent in PurePosixPath(path).parents)
    }


def _restore_inside(root: Path, folder: str, whole: Record, staged: Path, undone: Sequence[Record]) -> None:
    """Take back in the copy of a folder, as `whole` found it, what earlier transactions had changed inside of it."""
    seen: set[str] = set()
    for record in (record for record in undone if record.id < whole.id):
        for change in record.changes:
            if not change.path.startswith(f"{folder}/") or change.path in seen:
                continue
            seen.add(change.path)
            place = staged / PurePosixPath(change.path).relative_to(folder)
            _delete(place)
            if change.before is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                _copy(folder_of(root, record.id) / "old" / str(change.number), place, root)


def _left_behind(root: Path, undone: Sequence[Record], changes: Mapping[str, Change]) -> Iterable[str]:
    """Bytecode of modules that change, and files of the packages at hand that no transaction put there."""
    for path in changes:
        for compiled in bytecode_of(root / path):
            yield compiled.relative_to(root).as_posix()
    there = installed(root)
    for name in sorted({normalise(item["name"]) for record in undone for item in record.details.get("packages", ())}):
        if name in there:
            yield from there[name].files(root)


def _reversed(undone: Sequence[Record]) -> list[dict[str, str | None]]:
    """What becomes of each package: `before` is its version now, `after` the one that comes back."""
    first: dict[str, str | None] = {}
    last: dict[str, str | None] = {}
    for record in undone:
        for item in record.details.get("packages", ()):
            first.setdefault(item["name"], item["before"])
            last[item["name"]] = item["after"]
    return [
        {"name": name, "before": last[name], "after": first[name]}
        for name in sorted(first)
        if first[name] != last[name]
    ]


def plan_named(bundle: Bundle, snapshot: Named, work: Path) -> Plan:
    """The way to the packages of a named snapshot, whoever changed them since.

    Raises HelperError if a file of the snapshot was written into since it was taken.
    """
    root = bundle.root
    there = installed(root)
    changes: dict[str, Change] = {}
    kept: set[str] = set()
    for stored in snapshot.files:
        kept.add(stored.path)
        if not _is_as_stored(root, stored, snapshot):
            changes[stored.path] = Change(
                path=stored.path, source=_stage(root, stored, snapshot, work / str(stored.number))
            )
    for path in sorted({path for package in there.values() for path in package.files(root)} - kept):
        if not _is_fresh_bytecode(path, kept - changes.keys()):
            changes[path] = Change(path=path)
    now = {package.name: package.version for package in there.values()}
    packages = [
        {"name": name, "before": now.get(name), "after": snapshot.packages.get(name)}
        for name in sorted(now.keys() | snapshot.packages.keys())
        if now.get(name) != snapshot.packages.get(name)
    ]
    return Plan(
        summary=f"to snapshot {snapshot.name}",
        changes=tuple(changes.values()),
        details={"packages": packages, "snapshot": snapshot.name},
    )


def _is_as_stored(root: Path, stored: Stored, snapshot: Named) -> bool:
    live, kept = root / stored.path, snapshot.folder / "files" / str(stored.number)
    if stored.link is not None or kind_of(live) != "file":
        return kind_of(live) == "link" and stored.link is not None and os.readlink(live) == stored.link  # noqa: PTH115
    if live.stat().st_size != stored.size:
        return False
    if kept.exists() and live.samefile(kept) and live.stat().st_mtime < snapshot.created:
        return True
    return sha256_of(live) == stored.digest


def _stage(root: Path, stored: Stored, snapshot: Named, place: Path) -> Path:
    kept = snapshot.folder / "files" / str(stored.number)
    if stored.link is not None:
        place.symlink_to(stored.link)
        return place
    if kind_of(kept) != "file" or sha256_of(kept) != stored.digest:
        raise HelperError(
            f"The snapshot's copy of {stored.path} was written into or lost since: nothing was changed. "
            "`manage verify` and `manage repair` bring back what was shipped."
        )
    _copy(kept, place, root)
    return place


def _is_fresh_bytecode(path: str, unchanged: set[str]) -> bool:
    """Whether `path` is what Python compiled of a module that stays."""
    name = PurePosixPath(path)
    if name.suffix != ".pyc" or name.parent.name != "__pycache__":
        return False
    return str(name.parent.parent / f"{name.name.split('.')[0]}.py") in unchanged


def other_nodes(wanted: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The nodes whose version is not the wanted one; an empty text for one that was not there."""
    return {
        name: wanted.get(name, "") for name in sorted(wanted.keys() | now.keys()) if wanted.get(name) != now.get(name)
    }


def _copy(source: Path, place: Path, root: Path) -> None:
    """Copy a file, a link or a folder with modes and times. Copied, not linked: what is written into one of them must
    not reach the other."""
    kind = kind_of(source)
    if kind is None:
        raise HelperError(f"{source} of the snapshot is missing: nothing was changed.")
    if kind == "directory":
        require_room(root, sum(file.lstat().st_size for file in source.rglob("*") if file.is_file()))
        shutil.copytree(source, place, symlinks=True)
        return
    if kind == "file":
        require_room(root, source.stat().st_size)
    shutil.copy2(source, place, follow_symlinks=False)


def _delete(path: Path) -> None:
    if kind_of(path) == "directory":
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
