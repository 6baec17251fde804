"""Our archiver and its peers, in one run: seconds, MB/s, size, peak memory, each as a ratio to ours.

    python benchmarks/archive.py FOLDER [--only NAME]... [--quick] [--reuse] [--small-files] [--large]
                                 [--conda-env PREFIX] [--work DIR]

One table for FOLDER, and one for each tree made on the spot that is asked for. Peers that are not installed are left
out and named. Peak memory is that of the largest process of each; CPU is user and system time of all of them. A folder
is read whole before the first turn, so that all find it in the cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from made_trees import change, many_small_files, over_four_gib

from packager.filesystem import sha256_file, tree_digest

_MB = 1_000_000

_OURS = """
import os, sys
from pathlib import Path
from packager.archive.archive_tree import archive_tree
from packager.console import Console
root, archive, level, threads, reuse = sys.argv[1:]
if threads == "1" and hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
archive_tree(Path(root), Path(archive), console=Console(quiet=True), epoch=1700000000, level=level,
             threads=int(threads) or None, max_part_size=2**63, reuse=Path(reuse) if reuse else None)
"""

_ZIPFILE = """
import os, sys, zipfile
root, archive, level = sys.argv[1:]
with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=int(level)) as out:
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            if not os.path.islink(path):
                out.write(path, os.path.relpath(path, root))
"""

_TAR_ZSTD = 'set -o pipefail; tar -C "$1" -cf - . | zstd -q -{level} -T0 -o "$2"'

# what a run that reuses does as well: bring the copy to the disk, and say its checksum
_COPY_PROVED = 'cp "$1" "$2" && sync "$2" && sha256sum "$2"'


@dataclass(frozen=True, kw_only=True)
class Contender:
    """`command` with {root} and {archive}; `rival` names our own row that its ratios are taken against.

    `long`: it takes minutes for a gigabyte.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    suffix: str = ".zip"
    rival: str = ""
    long: bool = False


@dataclass(frozen=True, kw_only=True)
class Figures:
    seconds: float
    cpu: float  # seconds
    size: int  # bytes
    memory: int  # bytes


def _ours(
    name: str, level: str, threads: int = 0, *, suffix: str = ".zip", rival: str = "", long: bool = False
) -> Contender:
    command = (sys.executable, "-c", _OURS, "{root}", "{archive}", level, str(threads), "")
    return Contender(name=name, suffix=suffix, command=command, rival=rival, long=long)


def _tar_zstd(level: int, rival: str, *, long: bool = False) -> Contender:
    return Contender(
        name=f"tar, zstd -{level} -T0",
        needs=("bash", "tar", "zstd"),
        suffix=".tar.zst",
        command=("bash", "-c", _TAR_ZSTD.format(level=level), "bash", "{root}", "{archive}"),
        rival=rival,
        long=long,
    )


_7Z = ("7z", "a", "-bd", "-tzip", "-mx=9", "-mmt", "-snl", "{archive}", ".")
_DEFAULT, _MAX, _TAR, _TAR_MAX = "ours zip default", "ours zip max", "ours tar.zst default", "ours tar.zst max"
_ONE_CORE = "ours zip default, one core"

CONTENDERS = (
    _ours(_DEFAULT, "default"),
    _ours(_ONE_CORE, "default", 1, rival=_DEFAULT),
    _ours("ours zip fast", "fast", rival=_DEFAULT),
    Contender(
        name="zip -9 -r", command=("zip", "-q", "-9", "-y", "-r", "{archive}", "."), needs=("zip",), rival=_DEFAULT
    ),
    Contender(
        name="Python zipfile, level 4 (conda-pack's)",
        command=(sys.executable, "-c", _ZIPFILE, "{root}", "{archive}", "4"),
        rival=_DEFAULT,
    ),
    _ours(_MAX, "max", long=True),
    Contender(name="7z -tzip -mx=9 -mmt", command=_7Z, needs=("7z",), rival=_MAX, long=True),
    _ours(_TAR, "default", suffix=".tar.zst"),
    _tar_zstd(12, _TAR),
    _ours(_TAR_MAX, "max", suffix=".tar.zst", long=True),
    _tar_zstd(19, _TAR_MAX, long=True),
)


def conda_pack(prefix: Path, suffix: str, rival: str) -> Contender:
    """conda-pack on an environment, which the other rows must be given as the folder as well."""
    command = (sys.executable, "-m", "conda_pack.cli", "-q", "-f", "-p", str(prefix), "-o", "{archive}")
    return Contender(name=f"conda-pack {suffix}", command=command, suffix=suffix, rival=rival)


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


def table(rows: Sequence[tuple[Contender, Figures]], total: int) -> str:
    """A Markdown table. A ratio says how many times the figure of its rival, our own row, it is."""
    lines = [
        "| archiver | seconds | CPU s | MB/s | MB | peak MB | time / ours | CPU / ours | size / ours | memory / ours |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    figures = {contender.name: mine for contender, mine in rows}
    for contender, mine in rows:
        cells = [f"{mine.seconds:.1f}", f"{mine.cpu:.1f}", f"{total / _MB / mine.seconds:.0f}"]
        cells += [f"{mine.size / _MB:.1f}", f"{mine.memory / _MB:.0f}"]
        ours = figures.get(contender.rival)
        pairs = (
            [(mine.seconds, ours.seconds), (mine.cpu, ours.cpu), (mine.size, ours.size), (mine.memory, ours.memory)]
            if ours
            else []
        )
        cells += [f"{its / of_ours:.3f}" for its, of_ours in pairs] or [""] * 4
        lines.append(f"| {contender.name} | {' | '.join(cells)} |")
    if _DEFAULT in figures and _ONE_CORE in figures:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        share = figures[_ONE_CORE].seconds / figures[_DEFAULT].seconds / cores
        lines.append(f"\nparallel efficiency, {cores} cores against one: {share:.2f}")
    return "\n".join(lines)


def bench(root: Path, contenders: Sequence[Contender], work: Path | None) -> str:
    """Every contender once on `root`."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    total = sum(path.stat().st_size for path in files)
    tree_digest(root)  # reads everything once
    rows = []
    for contender in contenders:
        if missing := [program for program in contender.needs if not shutil.which(program)]:
            print(f"left out: {contender.name} ({', '.join(missing)} not installed)", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory(dir=work) as folder:
            rows.append((contender, measure(contender, root, Path(folder) / f"archive{contender.suffix}")))
        print(f"{contender.name}: {rows[-1][1].seconds:.1f} s", file=sys.stderr, flush=True)
    return f"\n{len(files)} files, {total / _MB:.0f} MB, {os.cpu_count()} cores\n\n{table(rows, total)}"


def bench_reuse(root: Path, work: Path | None, level: str) -> str:
    """A full run after 1 % of the bytes changed, one that reuses the zip before, and copies of that, plain and proved.

    What changes is a copy of `root`. Raises RuntimeError if the reusing run does not give the bytes of the full one.
    """
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        folder = Path(scratch)
        tree = folder / "tree"
        shutil.copytree(root, tree, symlinks=True)
        total = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
        old, full, again, copy = (folder / name / "archive.zip" for name in ("old", "full", "again", "copy"))
        copy.parent.mkdir()
        ours = (sys.executable, "-c", _OURS, "{root}", "{archive}", level, "0")
        measure(Contender(name="the zip before", command=(*ours, "")), tree, old)
        changed = change(tree)
        name = f"ours zip {level}, --reuse"
        reusing = Contender(name=name, command=(*ours, str(old)))
        fresh = Contender(name=f"ours zip {level}, full run", command=(*ours, ""), rival=name)
        plain = Contender(name="cp of the zip", command=("cp", str(old), "{archive}"), rival=name)
        proved = Contender(
            name="cp, sync, sha256sum of the zip",
            command=("sh", "-c", _COPY_PROVED, "sh", str(old), "{archive}"),
            rival=name,
        )
        places = ((fresh, full), (reusing, again), (plain, copy), (proved, copy))
        rows = [(contender, measure(contender, tree, place)) for contender, place in places]
        if sha256_file(full) != sha256_file(again):
            raise RuntimeError("--reuse gave other bytes than a full run")
    return f"\n--reuse, {changed / total:.1%} of {total / _MB:.0f} MB changed\n\n{table(rows, total)}"


def _made(make: Callable[[Path], Path], contenders: Sequence[Contender], work: Path | None) -> str:
    with tempfile.TemporaryDirectory(dir=work) as folder:
        return bench(make(Path(folder) / "tree"), contenders, work)


def main() -> int:
    """Measure and print; 2 for a folder that is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", action="append", choices=[contender.name for contender in CONTENDERS], default=[])
    parser.add_argument("--quick", action="store_true", help="without the rows that take minutes for a gigabyte")
    parser.add_argument("--reuse", action="store_true", help="also a run after 1%% of the bytes changed")
    parser.add_argument("--small-files", action="store_true", help="also a tree of 40,000 small files")
    parser.add_argument("--large", action="store_true", help="also a tree over 4 GiB, one file over 2 GiB; as --quick")
    parser.add_argument("--conda-env", type=Path, metavar="PREFIX", help="also conda-pack on this environment")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where trees and archives are written for a moment")
    arguments = parser.parse_args()
    root = arguments.folder.resolve()
    if not root.is_dir():
        parser.error(f"{root} is not a folder")
    chosen = [
        contender
        for contender in CONTENDERS
        if (contender.name in arguments.only or not arguments.only) and not (contender.long and arguments.quick)
    ]
    print(bench(root, chosen, arguments.work), flush=True)
    if arguments.reuse:
        for level in ("default",) if arguments.quick else ("default", "max"):
            print(bench_reuse(root, arguments.work, level), flush=True)
    if arguments.small_files:
        print(_made(many_small_files, chosen, arguments.work), flush=True)
    if arguments.large:
        print(_made(over_four_gib, [one for one in chosen if not one.long], arguments.work), flush=True)
    if arguments.conda_env:
        packs = [conda_pack(arguments.conda_env, ".zip", _DEFAULT), conda_pack(arguments.conda_env, ".tar.zst", _TAR)]
        ours = [contender for contender in chosen if contender.name in (_DEFAULT, _TAR)]
        print(bench(arguments.conda_env.resolve(), [*ours, *packs], arguments.work), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
