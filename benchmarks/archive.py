"""Our archiver and its peers on one folder, in one run: seconds, MB/s, size, peak memory, and each as a ratio to ours.

    python benchmarks/archive.py FOLDER [--only NAME]... [--work DIR]

Peers that are not installed are left out and named. Peak memory is that of the largest process of each; CPU is user and
system time of all of them. The folder is read whole before the first turn, so that all find it in the cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from packager.filesystem import tree_digest

_MB = 1_000_000

_OURS = """
import sys
from pathlib import Path
from packager.archive.archive_tree import archive_tree
from packager.console import Console
root, archive, level, threads = sys.argv[1:]
archive_tree(Path(root), Path(archive), console=Console(quiet=True), epoch=1700000000, level=level,
             threads=int(threads) or None, max_part_size=2**63)
"""

_ZIPFILE = """
import os, sys, zipfile
root, archive = sys.argv[1:]
with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                out.write(path, os.path.relpath(path, root))
"""

_TAR_ZSTD = 'set -o pipefail; tar -C "$1" -cf - . | zstd -q -{level} -T0 -o "$2"'


@dataclass(frozen=True, kw_only=True)
class Contender:
    """`command` with {root} and {archive}; `rival` names our own row that its ratios are taken against."""

    name: str
    needs: tuple[str, ...]
    suffix: str
    command: tuple[str, ...]
    rival: str


@dataclass(frozen=True, kw_only=True)
class Figures:
    seconds: float
    cpu: float  # seconds
    size: int  # bytes
    memory: int  # bytes


def _ours(name: str, suffix: str, level: str, threads: int = 0, rival: str | None = None) -> Contender:
    command = (sys.executable, "-c", _OURS, "{root}", "{archive}", level, str(threads))
    return Contender(name=name, needs=(), suffix=suffix, command=command, rival=rival or name)


def _peer(name: str, suffix: str, rival: str, *command: str, needs: tuple[str, ...] = ()) -> Contender:
    return Contender(name=name, needs=needs, suffix=suffix, command=command, rival=rival)


CONTENDERS = (
    _ours("ours zip fast", ".zip", "fast"),
    _ours("ours zip default", ".zip", "default"),
    _ours("ours zip default, 1 thread", ".zip", "default", 1, "ours zip default"),
    _peer("zip -9 -r", ".zip", "ours zip default", "zip", "-q", "-9", "-y", "-r", "{archive}", ".", needs=("zip",)),
    _peer("Python zipfile 9", ".zip", "ours zip default", sys.executable, "-c", _ZIPFILE, "{root}", "{archive}"),
    _ours("ours zip max", ".zip", "max"),
    _peer(
        "7z -tzip -mx=9",
        ".zip",
        "ours zip max",
        "7z",
        "a",
        "-bd",
        "-tzip",
        "-mx=9",
        "-mmt",
        "-snl",
        "{archive}",
        ".",
        needs=("7z",),
    ),
    _ours("ours tar.zst default", ".tar.zst", "default"),
    _peer(
        "tar | zstd -12 -T0",
        ".tar.zst",
        "ours tar.zst default",
        "bash",
        "-c",
        _TAR_ZSTD.format(level=12),
        "bash",
        "{root}",
        "{archive}",
        needs=("bash", "tar", "zstd"),
    ),
    _ours("ours tar.zst max", ".tar.zst", "max"),
    _peer(
        "tar | zstd -19 -T0",
        ".tar.zst",
        "ours tar.zst max",
        "bash",
        "-c",
        _TAR_ZSTD.format(level=19),
        "bash",
        "{root}",
        "{archive}",
        needs=("bash", "tar", "zstd"),
    ),
)


def measure(contender: Contender, root: Path, archive: Path) -> Figures:
    """Run it once. Raises RuntimeError if it fails."""
    words = [word.replace("{root}", str(root)).replace("{archive}", str(archive)) for word in contender.command]
    start = time.monotonic()
    process = subprocess.Popen(words, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    if status:
        raise RuntimeError(f"{contender.name} failed with status {status}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Figures(
        seconds=time.monotonic() - start,
        cpu=usage.ru_utime + usage.ru_stime,
        size=archive.stat().st_size,
        memory=usage.ru_maxrss * unit,
    )


def table(figures: dict[str, Figures], total: int) -> str:
    """A Markdown table. A peer's ratios say how many times our figure its own is."""
    lines = [
        "| archiver | seconds | CPU s | MB/s | size MB | peak MB | time / ours | size / ours | memory / ours |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for contender in CONTENDERS:
        mine = figures.get(contender.name)
        if mine is None:
            continue
        cells = [f"{mine.seconds:.1f}", f"{mine.cpu:.1f}", f"{total / _MB / mine.seconds:.0f}"]
        cells += [f"{mine.size / _MB:.1f}", f"{mine.memory / _MB:.0f}"]
        ours = figures.get(contender.rival)
        if ours is not None and contender.rival != contender.name:
            ratios = (mine.seconds / ours.seconds, mine.size / ours.size, mine.memory / ours.memory)
            cells += [f"{ratio:.3f}" for ratio in ratios]
        else:
            cells += ["", "", ""]
        lines.append(f"| {contender.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure and print; 2 for a folder that is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", action="append", choices=[contender.name for contender in CONTENDERS], default=[])
    parser.add_argument("--work", type=Path, help="where the archives are written for a moment")
    arguments = parser.parse_args()
    root = arguments.folder.resolve()
    if not root.is_dir():
        parser.error(f"{root} is not a folder")
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    total = sum(path.stat().st_size for path in files)
    tree_digest(root)  # reads everything once
    print(f"{len(files)} files, {total / _MB:.0f} MB, {os.cpu_count()} cores\n", flush=True)
    figures = {}
    for contender in CONTENDERS:
        if arguments.only and contender.name not in arguments.only:
            continue
        missing = [program for program in contender.needs if not shutil.which(program)]
        if missing:
            print(f"left out: {contender.name} ({', '.join(missing)} not installed)", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            figures[contender.name] = measure(contender, root, Path(folder) / f"archive{contender.suffix}")
        print(f"{contender.name}: {figures[contender.name].seconds:.1f} s", file=sys.stderr, flush=True)
    print(table(figures, total))
    return 0


if __name__ == "__main__":
    sys.exit(main())
