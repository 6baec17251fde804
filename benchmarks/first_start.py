"""The first start of an unzipped bundle against its second, in one run: seconds, and the ratio (goal: at most 1.1).

    python benchmarks/first_start.py BUNDLE.zip [--turns 3] [--without-bytecode]

Each turn unzips anew and starts the quick test twice. `--without-bytecode` deletes what was shipped before the first
start, to show what it is worth. The files were just written, so that both starts find them in the cache. The seconds of
the processor tell the same on a machine that has other work.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from packager.archive.extract import extract
from packager.console import Console


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a zip, or a part of one with the others beside it")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--without-bytecode", action="store_true")
    arguments = parser.parse_args()
    turns: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for _ in range(arguments.turns):
        with tempfile.TemporaryDirectory(prefix="first-start-") as folder:
            extract(arguments.bundle, Path(folder) / "it", console=Console(quiet=True))
            root = next((Path(folder) / "it").iterdir())
            if arguments.without_bytecode:
                for cache in [*root.rglob("__pycache__")]:
                    shutil.rmtree(cache)
            turns.append((start(root), start(root)))
    for kind, name in enumerate(("by the clock", "of the processor")):
        first, second = (statistics.median(turn[which][kind] for turn in turns) for which in (0, 1))
        print(f"first start {first:6.2f} s, second {second:6.2f} s, ratio {first / second:.2f}, {name}")
    print(f"(median of {len(turns)})")


def start(root: Path) -> tuple[float, float]:
    """Seconds of one quick test: by the clock, and of the processor."""
    helper = root / ("run_comfyui.bat" if sys.platform == "win32" else "run_comfyui.sh")
    before, began = os.times(), time.perf_counter()
    subprocess.run([helper, "--quick-test-for-ci", "--cpu"], check=True, capture_output=True)
    after, seconds = os.times(), time.perf_counter() - began
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, used


if __name__ == "__main__":
    main()
