"""Writing the bundle's place into the few files that can hold it as an absolute path alone (portable/prefixes.json).

No program of the bundle needs it: it is for what looks for its data under the path it was compiled for and cannot be
told otherwise, and for building software against the bundle. It may be done after every move, to a longer path too.

Each file changes in one step. All new files are written before the first one is put in place, so that a full disk
changes nothing; after a kill each file holds the old path or the new one, and the next run completes it. A file that is
being executed is replaced, never written to. On macOS a program whose bytes change is signed anew, else it is killed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portable.bundle import WINDOWS
from portable.errors import HelperError
from portable.prefix_table import PrefixFile, read_table

STATE = Path("portable", "state", "prefixes.json")
_STAGING = Path("python", ".relocating")
_FORMAT = 1
# Mach-O, thin in both sizes and byte orders, and universal (mach-o/loader.h, mach-o/fat.h).
_MACH_O = tuple(bytes.fromhex(magic) for magic in ("feedface", "cefaedfe", "feedfacf", "cffaedfe", "cafebabe"))
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True, kw_only=True)
class Change:
    """`file` holds `old` and gets the plan's prefix. `sign`: it is a Mach-O file of a bundle for macOS."""

    file: PrefixFile
    old: bytes
    sign: bool


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What relocation is going to do to the bundle in `root`. `unchanged`: files that hold `prefix` already.

    `skipped`: files that are not as they were shipped, each with the reason. They are left alone.
    """

    root: Path
    prefix: bytes
    changes: tuple[Change, ...]
    unchanged: int
    skipped: dict[str, str]

    def lines(self) -> Iterator[str]:
        """One for each file, for people."""
        for change in self.changes:
            yield f"rewrite {change.file.path}: {_shown(change.old)} -> {_shown(self.prefix)}"
            if change.sign:
                yield "sign    " + change.file.path
        for path, why in self.skipped.items():
            yield f"skip    {path}: {why}"

    def to_json(self) -> dict[str, Any]:
        changes = [{"path": c.file.path, "from": os.fsdecode(c.old), "sign": c.sign} for c in self.changes]
        return {
            "prefix": os.fsdecode(self.prefix),
            "changed": changes,
            "unchanged": self.unchanged,
            "skipped": self.skipped,
        }


@dataclass(kw_only=True)
class State:
    """portable/state/prefixes.json: `prefix` is what the files hold, unless a run to `under_way` was cut short.

    `signed`: sha256 of files as they are after signing, by path; a signature is not part of what was shipped. While a
    run is under way both that of the old file and that of the new one.
    """

    prefix: str | None = None
    under_way: str | None = None
    signed: dict[str, list[str]] = field(default_factory=dict)


def make_plan(root: Path, *, target: str, windows: bool = WINDOWS) -> Plan:
    """Compare each file of the table with where `root` lies. Writes nothing.

    Raises HelperError if there is no room for the path of `root`, or it cannot stand in a text file.
    """
    prefix = prefix_of(root, windows=windows)
    changes, skipped, unchanged = [], {}, 0
    for name, file in read_table(root).items():
        try:
            content = _content(root, name)
        except (OSError, ValueError) as error:
            skipped[name] = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
            continue
        old, sign = file.current(content), target.startswith("macos") and content.startswith(_MACH_O)
        # A signature, which is no part of the table, changes what is behind all places and nothing before them.
        if old is None or not (sign or file.is_as_shipped(content)):
            skipped[name] = "was changed since it was shipped"
        elif old == prefix:
            unchanged += 1
        else:
            changes.append(Change(file=file, old=old, sign=sign))
    _check_room(prefix, changes)
    return Plan(root=root, prefix=prefix, changes=tuple(changes), unchanged=unchanged, skipped=skipped)


def prefix_of(root: Path, *, windows: bool = WINDOWS) -> bytes:
    """What the files of the bundle in `root` should hold. On Windows with forward slashes, as conda writes it."""
    path = str(root / "python")
    if "\n" in path or "\r" in path:
        raise HelperError("The bundle's path holds a line break, which no file can hold: move the bundle elsewhere.")
    return path.replace("\\", "/").encode() if windows else os.fsencode(path)


def apply(plan: Plan) -> None:
    """Do what `plan` says. Raises HelperError, after which nothing is half-written and the bundle still works."""
    state = read_state(plan.root)
    if not plan.changes and state.under_way is None:
        return
    codesign = _find_codesign(plan)
    staging = plan.root / _STAGING
    try:
        shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
        staged = _stage(plan, staging)
        signed = _sign(plan, staged, codesign)
        state.signed.update({path: [*state.signed.get(path, []), digest] for path, digest in signed.items()})
        state.under_way = os.fsdecode(plan.prefix)
        _write_state(plan.root, state)
        for change, fresh in zip(plan.changes, staged, strict=True):
            path = plan.root / change.file.path
            shutil.copymode(path, fresh)  # not before: codesign writes to it
            fresh.replace(path)
        state.prefix, state.under_way = state.under_way, None
        state.signed = {path: digests[-1:] for path, digests in state.signed.items()}
        _write_state(plan.root, state)
    except OSError as error:
        raise _explained(error, plan.root) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def read_state(root: Path) -> State:
    """What the last run left. Without it `verify` takes signed files for damaged; each file tells what it holds."""
    try:
        value = json.loads((root / STATE).read_text(encoding="utf-8"))
        if value["format"] == _FORMAT:
            return State(prefix=value["prefix"], under_way=value["under_way"], signed=dict(value["signed"]))
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return State()


def _write_state(root: Path, state: State) -> None:
    path = root / STATE
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    _write(fresh, json.dumps({"format": _FORMAT, **vars(state)}, indent=2).encode())
    fresh.replace(path)


def _content(root: Path, name: str) -> bytes:
    path = root / name
    if path.is_symlink() or not path.resolve().is_relative_to(root.resolve()):
        raise ValueError("is a link")
    return path.read_bytes()


def _check_room(prefix: bytes, changes: list[Change]) -> None:
    limited = [(change.file.capacity, change.file.path) for change in changes if change.file.capacity is not None]
    room, path = min(limited, default=(len(prefix), ""))
    if room < len(prefix):
        raise HelperError(
            f"The bundle's path is too long to be written into its files: {os.fsdecode(prefix)} has {len(prefix)} "
            f"bytes, and {path} has room for {room}. Nothing was changed, and the bundle works as it is. "
            f"To relocate it, move it to a path that is {len(prefix) - room} bytes shorter."
        )


def _stage(plan: Plan, staging: Path) -> list[Path]:
    """The new files, complete and on disk, in a folder of the same file system; the names stay for the signature."""
    staged = []
    for number, change in enumerate(plan.changes):
        path = plan.root / change.file.path
        content = path.read_bytes()
        if change.file.current(content) != change.old:
            raise HelperError(f"{path} was changed at the same time. Stop what runs in the bundle, then try again.")
        fresh = staging / str(number) / path.name
        fresh.parent.mkdir(parents=True)
        _write(fresh, change.file.rewritten(content, change.old, plan.prefix))
        staged.append(fresh)
    return staged


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _find_codesign(plan: Plan) -> str | None:
    program = shutil.which("codesign") or shutil.which("codesign", path="/usr/bin")
    if program is None and any(change.sign for change in plan.changes):
        raise HelperError("codesign is missing, and macOS runs no program that was changed and not signed.")
    return program


def sign_command(codesign: str, path: Path) -> list[str]:
    """The words that sign `path` for this machine, keeping what it may do (`man codesign`)."""
    return [codesign, "--force", "--sign", "-", "--preserve-metadata=entitlements", str(path)]


def _sign(plan: Plan, staged: list[Path], codesign: str | None) -> dict[str, str]:
    """Sign what has to be; returns the sha256 of each such file, by its path in the bundle."""
    signed = {}
    for change, path in zip(plan.changes, staged, strict=True):
        if change.sign and codesign:
            done = subprocess.run(sign_command(codesign, path), capture_output=True, text=True, check=False)
            if done.returncode:
                said = done.stderr.strip()
                raise HelperError(f"{change.file.path} cannot be signed: {said}. Nothing was changed.")
            signed[change.file.path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return signed


def _explained(error: OSError, root: Path) -> HelperError:
    where = error.filename or root
    if error.errno in _READ_ONLY:
        busy = " Or is ComfyUI still running? Stop it then." if WINDOWS else ""
        return HelperError(
            f"{where} cannot be written ({error.strerror}): the bundle lies on read-only media or belongs to somebody "
            f"else.{busy} It needs no relocation to run: nothing has to be done."
        )
    with contextlib.suppress(OSError):
        (root / STATE).with_suffix(".tmp").unlink()
    return HelperError(f"{where} cannot be written: {error.strerror}. The bundle works as it is; run this once more.")


def _shown(prefix: bytes) -> str:
    text = os.fsdecode(prefix)
    return text if len(text) <= 60 else f"{text[:57]}..."
