"""What the helpers of a bundle cost, against the bundle's own Python called directly and against plain pip, in one run.

    python benchmarks/helpers.py BUNDLE.zip [--turns 7]

Every turn does each thing once, so that a busy machine is busy for all of them; the median counts. The installs are of
a wheel with 500 files and one that wants it, each into a fresh copy of the bundle, without a network.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from packager.archive.extract import extract
from packager.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit" / "helper_scripts"))
from fake_bundles import make_wheel

WINDOWS = sys.platform == "win32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, help="a zip, or a part of one with the others beside it")
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="helpers-") as folder:
        extract(arguments.bundle, Path(folder) / "it", console=Console(quiet=True))
        root = next((Path(folder) / "it").iterdir())
        wheels = Path(folder) / "wheels"
        wheels.mkdir()
        make_wheel(wheels, "large", files={f"large_data/file_{number}.py": "X = 1\n" * 50 for number in range(500)})
        make_wheel(wheels, "wanted", requires=("large",))
        compare_starts(root, arguments.turns)
        compare_installs(root, wheels, arguments.turns)


def compare_starts(root: Path, turns: int) -> None:
    """Until Python runs a program of the user's, and until the app has loaded."""
    python, main = python_of(root), root / "ComfyUI" / "main.py"
    quick = ["--quick-test-for-ci", "--cpu"]
    table(
        f"starting (median of {turns})",
        {
            "python -c pass, directly": lambda: timed([python, "-s", "-c", "pass"]),
            "... by manage exec": lambda: timed([front(root, "manage"), "exec", "--", "python", "-c", "pass"]),
            "main.py, directly": lambda: timed([python, "-s", main, *quick]),
            "... by run_comfyui": lambda: timed([front(root, "run_comfyui"), *quick]),
        },
        turns,
    )


def compare_installs(root: Path, wheels: Path, turns: int) -> None:
    """pip as it is, and the transaction around it: resolving, snapshot, checks, and with the app's start besides."""
    source = ["--no-index", "--find-links", wheels]

    def fresh(command: Callable[[Path], Sequence[str | Path]]) -> Callable[[], float]:
        def one() -> float:
            place = root.with_name("fresh copy")
            shutil.copytree(root, place, symlinks=True)
            try:
                return timed(command(place))
            finally:
                shutil.rmtree(place)

        return one

    table(
        f"installing 2 wheels, 500 files (median of {turns})",
        {
            "pip install, directly": fresh(lambda at: [python_of(at), "-s", "-m", "pip", "install", *source, "wanted"]),
            "install_package --no-smoke": fresh(
                lambda at: [front(at, "install_package"), "--no-smoke", "--wheels-dir", wheels, "wanted"]
            ),
            "install_package": fresh(lambda at: [front(at, "install_package"), "--wheels-dir", wheels, "wanted"]),
        },
        turns,
    )


def table(title: str, ways: dict[str, Callable[[], float]], turns: int) -> None:
    """Print seconds and the ratio to the last way that is a direct call."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            times[name].append(way())
    print(title)
    peer = 1.0
    for name, seconds in times.items():
        middle = statistics.median(seconds)
        if name.endswith("directly"):
            peer = middle
        print(f"  {name:32} {middle:7.3f} s   ratio {middle / peer:5.2f}   +{1000 * (middle - peer):5.0f} ms")


def timed(command: Sequence[str | Path]) -> float:
    """Seconds until it ends; it must end well."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def python_of(root: Path) -> Path:
    return root / "python" / ("python.exe" if WINDOWS else "bin/python")


def front(root: Path, name: str) -> Path:
    return root / f"{name}.{'bat' if WINDOWS else 'sh'}"


if __name__ == "__main__":
    main()
