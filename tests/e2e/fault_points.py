"""Killing helpers at random points: real bundles, real processes, real SIGKILL, each point repeatable by its seed.

An operation is a state to start from and a command. It is run once to the end, which tells the state after it and how
often it touches the disk. Then it is killed at one of these, or after part of its time with everything it has started;
the next helper must find its way to exactly the state before or exactly the state after.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_DRIVER = Path(__file__).with_name("kill_at.py")
_TIMEOUT = 300.0  # seconds
_STARTS = 5  # of so many points at one the app is started once more


@dataclass(frozen=True, kw_only=True)
class Operation:
    """`setup` are commands of portable that lead to the state before, `command` the one that is killed."""

    name: str
    setup: tuple[tuple[str, ...], ...] = ()
    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """An operation in its state before. `touches` is how often the command changes the disk, `seconds` how long it
    takes."""

    operation: Operation
    root: Path
    before: str
    after: str
    touches: int
    seconds: float


def tree_digest(root: Path) -> str:
    """One hash of every path, mode, link and content in the bundle but portable/state, the cache and bytecode that any
    start of Python writes: that of the standard library, pip and portable/."""
    digest = hashlib.sha256()
    for base, folders, files in os.walk(root):
        here = Path(base).relative_to(root)
        folders[:] = sorted(name for name in folders if not _is_left_out(here / name))
        for name in sorted([*files, *(name for name in folders if (Path(base) / name).is_symlink())]):
            path = Path(base, name)
            content = str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
            line = f"{here / name} {path.lstat().st_mode:o} {hashlib.sha256(content).hexdigest()}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _is_left_out(path: Path) -> bool:
    if str(path) in ("portable/state", "portable/cache"):
        return True
    is_package = "site-packages" in path.parts and "pip" not in path.parts
    return path.name == "__pycache__" and not is_package


def copy(root: Path, place: Path) -> Path:
    """A copy that shares its files: helpers replace files and never write into them, or the states would differ."""
    subprocess.run(["cp", "-al", root, place], check=True)
    return place


def call(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of portable to its end, in the bundle `root`."""
    command = [root / "manage.sh", *words]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )


def prepare(bundle: Path, operation: Operation, folder: Path) -> Prepared:
    """Bring a copy of `bundle` into the operation's state before, and run it once in another copy."""
    root = copy(bundle, folder / f"{operation.name} before")
    for words in operation.setup:
        done = call(root, *words)
        assert done.returncode == 0, (words, done.stderr)
    trial = copy(root, folder / f"{operation.name} trial")
    before = tree_digest(trial)
    count = folder / f"{operation.name}.count"
    start = time.monotonic()
    done = subprocess.run(_driven(trial, 0, count, operation.command), capture_output=True, text=True, check=False)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    after = tree_digest(trial)
    start_app(trial, "the state after")
    assert after != before, f"{operation.name} changes nothing"
    shutil.rmtree(trial)
    touches = int(count.read_text())
    return Prepared(operation=operation, root=root, before=before, after=after, touches=touches, seconds=seconds)


def try_point(prepared: Prepared, seed: int, folder: Path) -> str:
    """Kill the operation once, at the point that `seed` chooses; returns "before" or "after", the state it led to.

    Raises AssertionError if the next helper finds neither, or the app does not start.
    """
    chance = random.Random(f"{prepared.operation.name} {seed}")
    root = copy(prepared.root, folder / f"point {seed}")
    try:
        where = _kill_once(prepared, root, chance)
        if chance.random() < 0.25:  # the one that mends it may be killed as well
            target = chance.randrange(1, 30)
            subprocess.run(_driven(root, target, None, ("list",)), capture_output=True, timeout=_TIMEOUT, check=False)
            where += f", mending at {target}"
        mended = call(root, "list")
        assert mended.returncode == 0, (where, mended.stderr)
        assert not (root / "portable/state/active").exists(), where
        found = tree_digest(root)
        assert found in (prepared.before, prepared.after), (where, mended.stderr)
        if seed % _STARTS == 0:  # the app starts in both states (`prepare`), and this is one of them to the byte
            start_app(root, where)
        return "before" if found == prepared.before else "after"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def start_app(root: Path, where: str) -> None:
    """The app's quick test, without bytecode left behind. Raises AssertionError unless it starts with every node."""
    command = [root / "python/bin/python", "-s", "-B", root / "ComfyUI/main.py", "--quick-test-for-ci", "--cpu"]
    started = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    assert started.returncode == 0, (where, started.stderr)
    assert "IMPORT FAILED" not in started.stderr + started.stdout, where


def _kill_once(prepared: Prepared, root: Path, chance: random.Random) -> str:
    """Three times in four at a touch of the disk, else by the clock together with pip; returns which."""
    command = prepared.operation.command
    if chance.random() < 0.75:
        target = chance.randrange(1, prepared.touches + 1)
        done = subprocess.run(
            _driven(root, target, None, command), capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        return f"touch {target} of {prepared.touches}"
    delay = chance.uniform(0, prepared.seconds)
    process = subprocess.Popen(
        [root / "manage.sh", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return f"after {delay:.2f} s"


def _driven(root: Path, target: int, count: Path | None, command: Sequence[str]) -> list[str]:
    """The words that run a command of portable and kill it at its touch number `target`, never at 0."""
    python = str(root / "python/bin/python")
    return [python, "-I", "-X", "utf8", str(_DRIVER), str(root), str(target), str(count or os.devnull), *command]


def main() -> int:
    """`python fault_points.py BUNDLE ZIP POINTS FOLDER`, for trying by hand: every operation, POINTS in all."""
    from test_faults import operations

    bundle, archive, points, folder = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    listed = operations(folder / "wheels", archive)
    for operation in listed:
        prepared = prepare(bundle, operation, folder)
        print(f"{operation.name}: {prepared.touches} touches, {prepared.seconds:.1f} s", flush=True)
        ended = [try_point(prepared, seed, folder) for seed in range(points // len(listed))]
        print(f"  {ended.count('before')} before, {ended.count('after')} after", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
