"""The first start of an unzipped bundle against its second, in one run: seconds, and the ratio (goal: at most 1.1).

    python benchmarks/first_start.py BUNDLE.zip [--turns 3] [--without-bytecode]

Each turn unzips anew and starts the quick test twice. `--without-bytecode` deletes what was shipped before the first
start, to show what it is worth. The files were just written, so that both starts find them in the cache.
"""

from __future__ import annotations

import argparse
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
    times: list[tuple[float, float]] = []
    for _ in range(arguments.turns):
        with tempfile.TemporaryDirectory(prefix="first-start-") as folder:
            extract(arguments.bundle, Path(folder) / "it", console=Console(quiet=True))
            root = next((Path(folder) / "it").iterdir())
            if arguments.without_bytecode:
                for cache in [*root.rglob("__pycache__")]:
                    shutil.rmtree(cache)
            times.append((start(root), start(root)))
    first, second = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"first start {first:6.2f} s, second {second:6.2f} s, ratio {first / second:.2f} (median of {len(times)})")


def start(root: Path) -> float:
    """Seconds of one quick test."""
    helper = root / ("run_comfyui.bat" if sys.platform == "win32" else "run_comfyui.sh")
    began = time.perf_counter()
    subprocess.run([helper, "--quick-test-for-ci", "--cpu"], check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
