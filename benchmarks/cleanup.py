"""Planning a clean-up against `find`, on one tree, in one run: seconds, and the ratio.

    python benchmarks/cleanup.py [TREE] [--files 60000] [--turns 5]

Without TREE one is generated with as many files, shaped like site-packages: packages with sources, tests, bytecode and
libraries. The peers: `find TREE`, which reads every name once, and `find TREE -printf %s`, which reads every status
too. A plan reads the names, and the status of what goes. The best of the turns counts, since the first fills the cache
of the file system.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from packager.cleanup import detect_layout, load_rules, plan_cleanup, tree_bytes
from packager.cleanup.plan import CleanupPlan

_SITE = "python/lib/python3.11/site-packages"
_PER_FOLDER = 20  # files in one folder, as in real wheels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path, nargs="?", help="a Python tree (default: one that is generated)")
    parser.add_argument("--files", type=int, default=60_000, help="how many to generate")
    parser.add_argument("--turns", type=int, default=5, help="the best of so many counts")
    parser.add_argument("--tier", choices=("safe", "aggressive"), default="safe")
    arguments = parser.parse_args()
    if arguments.tree:
        measure(arguments.tree, arguments.tier, arguments.turns)
        return
    with tempfile.TemporaryDirectory(prefix="cleanup-benchmark-") as folder:
        generate(Path(folder), arguments.files)
        measure(Path(folder), arguments.tier, arguments.turns)


def generate(root: Path, files: int) -> None:
    """A tree of `files` files below `root`."""
    (root / "python/lib/python3.11").mkdir(parents=True)
    (root / "python/lib/python3.11/os.py").touch()
    kinds = ("", "sub", "sub/deep", "tests", "tests/data", "__pycache__", "include")
    suffixes = (".py", ".py", ".pyi", ".h", ".txt", ".cpython-311-x86_64-linux-gnu.so", ".pyx", ".json")
    made = 1
    for number in range(files // _PER_FOLDER + 1):
        kind = kinds[number % len(kinds)]
        folder = root / _SITE / f"package{number // len(kinds)}" / kind
        folder.mkdir(parents=True, exist_ok=True)
        for position in range(_PER_FOLDER):
            if made >= files:
                return
            suffix = ".cpython-311.pyc" if kind == "__pycache__" else suffixes[position % len(suffixes)]
            (folder / f"module{position}{suffix}").write_bytes(b"x" * (position + 1))
            made += 1


def measure(tree: Path, tier: str, turns: int) -> None:
    """Print the times, the ratios, and the plan's table."""
    rules = load_rules()
    plans: list[CleanupPlan] = []
    peers = {}
    for name, words in (("find", []), ("find -printf %s", ["-printf", "%s\n"])):
        find = ["find", str(tree), *words]
        peers[name] = best(turns, functools.partial(subprocess.run, find, check=True, stdout=subprocess.DEVNULL))
    ours = best(turns, lambda: plans.append(plan_cleanup(detect_layout(tree), rules, tier=tier)))
    print(f"{plans[0].tree_files} files, rules of the tier {tier}")
    for name, peer in peers.items():
        print(f"{name:<16} {peer:6.2f} s   the plan takes {ours / peer:.2f} times as long")
    print(f"{'plan':<16} {ours:6.2f} s")
    print(f"the same plan {len(plans)} times: {all(plan.removals == plans[0].removals for plan in plans)}\n")
    print(plans[0].table(tree_bytes=tree_bytes(tree)))


def best(turns: int, action: Callable[[], object]) -> float:
    """Seconds of the quickest turn."""
    times = []
    for _ in range(turns):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    main()
