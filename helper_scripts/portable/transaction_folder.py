"""One transaction on disk, step by step; transaction.py knows the order.

portable/state/active                   the number of the transaction under way
portable/state/transactions/0007/
    journal.jsonl                       begun, planned, applying, applied, checked, committed | undoing, undone
    transaction.json                    what changes (changes.Record); never changed once written
    work-X/                             where the caller prepares; removed at the end
    new/N  old/N                        new content not yet in its place; old content, kept for rollback
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from portable.changes import STATE, Plan, Record, Recorded, check_place, content_of, kind_of
from portable.disk import explain, move, remove_tree, require_room
from portable.errors import HelperError
from portable.journal import Journal, sync_all, sync_file, write_durably, write_json_durably

Say = Callable[[str], None]


@dataclass(frozen=True)
class Transaction:
    """One transaction on disk, in the bundle `root`. Each method may be called again after it was cut off."""

    root: Path
    id: int

    @classmethod
    def begin(cls, root: Path) -> Transaction:
        """Make its folder. Raises HelperError if the bundle cannot be written; leftovers of undone ones go."""
        folder = root / STATE / "transactions"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            numbers = []
            for path in folder.iterdir():
                if path.name.isdigit():
                    if Journal(path / "journal.jsonl").state == "committed":
                        numbers.append(int(path.name))
                    else:
                        remove_tree(path)
            transaction = cls(root, max(numbers, default=0) + 1)
            write_durably(root / STATE / "active", str(transaction.id).encode())
            # Never the same name twice: a pip that outlives its killed helper may still write into the last one.
            (transaction.folder / f"work-{os.getpid():x}-{time.time_ns():x}").mkdir(parents=True)
            transaction.journal.add("begun")
        except OSError as error:
            with contextlib.suppress(OSError):
                (root / STATE / "active").unlink(missing_ok=True)
            raise HelperError(f"Nothing was changed: {explain(error)}") from error
        return transaction

    @property
    def folder(self) -> Path:
        return self.root / STATE / "transactions" / f"{self.id:04}"

    @property
    def work(self) -> Path:
        """The folder to prepare in, the newest one there is."""
        return max(self.folder.glob("work-*"), key=lambda path: int(path.name.rpartition("-")[2], 16))

    @property
    def journal(self) -> Journal:
        return Journal(self.folder / "journal.jsonl")

    @property
    def state(self) -> str:
        return self.journal.state

    def record(self) -> Record | None:
        """What it changes; None while that is not known."""
        path = self.folder / "transaction.json"
        return Record.load(path) if path.exists() else None

    def old(self, change: Recorded) -> Path:
        return self.folder / "old" / str(change.number)

    def new(self, change: Recorded) -> Path:
        return self.folder / "new" / str(change.number)

    def seal(self, plan: Plan, *, kind: str, command: Sequence[str], nodes: dict[str, str]) -> Record:
        """Take the plan's sources over and write down what will change; nothing of the bundle is touched yet."""
        for name in ("old", "new"):
            (self.folder / name).mkdir(exist_ok=True)
        recorded: list[Recorded] = []
        folders: set[str] = set()
        places: set[str] = set()
        for number, change in enumerate(sorted(plan.changes, key=lambda change: change.path), 1):
            check_place(self.root, change.path)
            if places & {change.path, *map(str, PurePosixPath(change.path).parents)}:
                raise HelperError(f"{change.path} is to be changed twice: nothing was changed.")
            places.add(change.path)
            before = kind_of(self.root / change.path)
            after = content_of(change.source) if change.source else None
            if change.source and after is None:
                raise HelperError(
                    f"{change.source}, which is to become {change.path}, is missing: nothing was changed."
                )
            if before is None and after is None:
                continue
            item = Recorded(number=number, path=change.path, before=before, after=after)
            if change.source:
                move(change.source, self.new(item))
                folders.update(_missing_parents(self.root, change.path))
            recorded.append(item)
        record = Record(
            id=self.id,
            kind=kind,
            command=tuple(command),
            created=time.time(),
            summary=plan.summary,
            changes=tuple(recorded),
            created_folders=tuple(sorted(folders)),
            details=plan.details,
            nodes=nodes,
        )
        require_room(self.root, 0)
        sync_all(_all_below(self.folder / "new"))
        write_json_durably(self.folder / "transaction.json", record.to_json())
        self.journal.add("planned")
        return record

    def apply(self) -> None:
        """Move what goes away to `old/`, then what is new into its place; folders that are empty now go.

        At once, because to pip an empty NAME-VERSION.dist-info is still that package.
        """
        changes = self._changes()
        self.journal.add("applying")
        for change in changes:
            place = self.root / change.path
            if change.before is not None and kind_of(place) is not None:
                move(place, self.old(change))
        for change in changes:
            if change.after is not None:
                place = self.root / change.path
                if kind_of(place) is not None:
                    raise HelperError(f"{place} has appeared meanwhile: something else is changing the bundle.")
                place.parent.mkdir(parents=True, exist_ok=True)
                move(self.new(change), place)
        self._remove_emptied(changes)
        self._sync(changes)
        self.journal.add("applied")

    def mark_checked(self) -> None:
        """From here on it is done, whatever happens."""
        self.journal.add("checked")

    def commit(self) -> None:
        """Tidy up: empty folders and what was prepared go, the old content stays for a rollback."""
        self._remove_emptied(self._changes())
        for path in (*self.folder.glob("work-*"), self.folder / "new"):
            remove_tree(path)
        with contextlib.suppress(OSError):  # a full disk: the next start says it again
            self.journal.add("committed")
            self._end()

    def undo(self, say: Say = lambda _: None) -> None:
        """Put everything back. Needs no room on the disk; raises HelperError if a file cannot be moved now."""
        try:
            if (self.folder / "transaction.json").exists():
                with contextlib.suppress(OSError):  # a note alone: where the files are is what counts
                    self.journal.add("undoing")
                self._put_back()
            with contextlib.suppress(OSError):
                self.journal.add("undone")
            self._end()
            remove_tree(self.folder)
        except OSError as error:
            raise HelperError(
                f"Not everything could be put back now ({explain(error)}). Nothing is lost: close what uses the "
                "bundle, and start any helper; it goes on by itself."
            ) from error
        say("everything is as it was before")

    def _put_back(self) -> None:
        record = self.record()
        if record is None:
            return
        for change in record.changes:
            place = self.root / change.path
            if change.after is not None and kind_of(self.new(change)) is None and kind_of(place) is not None:
                move(place, self.new(change))
                if place.suffix == ".py":
                    for compiled in (place.parent / "__pycache__").glob(f"{place.stem}.*.pyc"):
                        compiled.unlink(missing_ok=True)  # what was there before comes back below
        for change in record.changes:
            old, place = self.old(change), self.root / change.path
            if kind_of(old) is not None:
                place.parent.mkdir(parents=True, exist_ok=True)
                if kind_of(place) is not None:  # written meanwhile by somebody else
                    aside = self.root / STATE / "aside" / f"{self.id:04}-{change.number}"
                    aside.parent.mkdir(exist_ok=True)
                    move(place, aside)
                move(old, place)
        for folder in sorted(record.created_folders, key=len, reverse=True):
            with contextlib.suppress(OSError):  # not there, or not empty
                (self.root / folder / "__pycache__").rmdir()
            with contextlib.suppress(OSError):
                (self.root / folder).rmdir()
        self._sync(record.changes)

    def _changes(self) -> tuple[Recorded, ...]:
        record = self.record()
        return record.changes if record else ()

    def _sync(self, changes: Sequence[Recorded]) -> None:
        folders = {(self.root / change.path).parent for change in changes}
        sync_all([*sorted(folder for folder in folders if folder.is_dir()), self.folder / "old"])

    def _remove_emptied(self, changes: Sequence[Recorded]) -> None:
        """Folders that files alone made up go with them; what goes as a whole, a node, leaves the one it lay in."""
        for change in changes:
            if change.before in ("file", "link") and change.after is None:
                self._remove_empty(PurePosixPath(change.path).parent)

    def _remove_empty(self, folder: PurePosixPath) -> None:
        """Remove `folder` and those above it as long as they are empty; of bytecode folders only the empty ones."""
        while len(folder.parts) > 1:
            try:
                (self.root / folder).rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return
            folder = folder.parent

    def _end(self) -> None:
        (self.root / STATE / "active").unlink(missing_ok=True)
        sync_file(self.root / STATE)


def _missing_parents(root: Path, path: str) -> list[str]:
    return [str(parent) for parent in PurePosixPath(path).parents if parent.parts and not (root / parent).is_dir()]


def _all_below(folder: Path) -> list[Path]:
    """`folder` and everything in it, links not followed."""
    found = [folder]
    for base, folders, files in os.walk(folder):
        found += [Path(base, name) for name in (*folders, *files)]
    return found
