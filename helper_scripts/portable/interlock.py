"""Who may change the bundle now: one helper at a time, and none while ComfyUI runs from it.

Two locks of the system, which end with their process, also when it is killed: `change.lock` is held by a helper that
changes the bundle, `run.lock` shared by every running ComfyUI. The files in `holders/` only say who it is; the
locks alone decide.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from portable.disk import explain
from portable.errors import HelperError

_SLOTS = 64  # Windows has no shared locks in the standard library: each running app takes one byte of so many
_LOCKS = "locks"


class BusyError(HelperError):
    """Something else holds the bundle; the text says what and how to go on."""


def _folder(state: Path) -> Path:
    return state / _LOCKS


@contextlib.contextmanager
def changing(state: Path, command: Sequence[str], *, force: bool = False) -> Iterator[None]:
    """Hold the bundle for a change. `state` is portable/state, `command` what to name to others.

    Raises BusyError if another helper is changing it, or ComfyUI runs and not `force`; HelperError if the folder cannot
    be written.
    """
    with contextlib.ExitStack() as held:
        change = held.enter_context(_open(state, "change.lock"))
        if not _try_lock(change, shared=False):
            raise BusyError(
                f"Another helper is changing this bundle{_who(state, 'change')}: let it finish, then retry."
            )
        run = held.enter_context(_open(state, "run.lock"))
        if not _try_lock(run, shared=False) and not force:
            raise BusyError(
                f"ComfyUI is running from this bundle{_who(state, 'run')}: stop it first. With --force it is done "
                "while ComfyUI runs; what it has loaded stays as it was until it is started again."
            )
        held.enter_context(_announced(state, "change", command))
        yield


def hold_for_run(state: Path, command: Sequence[str]) -> None:
    """Hold the bundle as a running ComfyUI, until this process and what it becomes has ended.

    Raises BusyError while a helper is changing the bundle. On media that cannot be written nothing can change, and
    nothing is held.
    """
    try:
        change = _open(state, "change.lock")
        run = _open(state, "run.lock")
    except HelperError:
        return
    with change:
        if not _try_lock(change, shared=True) or not _try_lock(run, shared=True):
            run.close()
            raise BusyError(f"This bundle is being changed{_who(state, 'change')}: start again when that is done.")
    os.set_inheritable(run.fileno(), True)  # survives exec, and ends with the app
    _HELD.append(run)
    with contextlib.suppress(OSError):
        _write_holder(state, "run", command)


_HELD: list[IO[bytes]] = []  # open files whose locks last as long as the process


def _open(state: Path, name: str) -> IO[bytes]:
    path = _folder(state) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab+")
    except OSError as error:
        raise HelperError(f"Nothing was changed: {explain(error)}") from error


if sys.platform == "win32":
    import msvcrt

    def _try_lock(stream: IO[bytes], *, shared: bool) -> bool:
        """Lock one free byte of the file (shared) or all of them; the bytes need not exist."""
        for start, count in [(slot, 1) for slot in range(_SLOTS)] if shared else [(0, _SLOTS)]:
            stream.seek(start)
            try:
                msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, count)
            except OSError:
                continue
            return True
        return False

else:
    import fcntl

    def _try_lock(stream: IO[bytes], *, shared: bool) -> bool:
        try:
            fcntl.flock(stream.fileno(), (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a network drive without locks
            return True
        return True


@contextlib.contextmanager
def _announced(state: Path, role: str, command: Sequence[str]) -> Iterator[None]:
    path = None
    with contextlib.suppress(OSError):  # a full disk must not stop a rollback
        path = _write_holder(state, role, command)
    try:
        yield
    finally:
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()


def _write_holder(state: Path, role: str, command: Sequence[str]) -> Path:
    folder = _folder(state)
    for old in folder.glob("*.json"):
        if not _is_alive(old):
            old.unlink(missing_ok=True)
    path = folder / f"{role}-{os.getpid()}.json"
    holder = {"pid": os.getpid(), "command": list(command), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    path.write_text(json.dumps(holder), encoding="utf-8")
    return path


def _who(state: Path, role: str) -> str:
    """` (process 123: manage install x, since ...)` of the holders that are known and alive."""
    known = []
    for path in sorted(_folder(state).glob(f"{role}-*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads(path.read_text(encoding="utf-8"))
            if _is_alive(path):
                known.append(f"process {holder['pid']}: {' '.join(holder['command'])}, since {holder['since']}")
    return f" ({'; '.join(known)})" if known else ""


def _is_alive(path: Path) -> bool:
    """Whether the process in the name of a holder's file is there. On Windows there is no harmless way to ask."""
    if sys.platform == "win32":
        return time.time() - path.stat().st_mtime < 24 * 3600
    try:
        os.kill(int(path.stem.rpartition("-")[2]), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True
