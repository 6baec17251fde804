"""Nothing the user does can lose a working setup: helpers killed at random points, and everything else that goes wrong.

FAULT_POINTS=200 (`make faults`) tries so many points in all, spread over the operations.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "helper_scripts"))
sys.path.insert(0, str(Path(__file__).parent))

from fake_bundles import make_wheel
from fault_points import Operation, prepare, start_app, try_point

pytestmark = pytest.mark.e2e

_POINTS = int(os.environ.get("FAULT_POINTS", "24"))
_QUICK = ("--no-smoke",)


def operations(wheels: Path) -> list[Operation]:
    """What is killed. `wheels` is a folder that gets the wheels they need."""
    many = {f"extra/part_{number}.py": f"VALUE = {number}\n" for number in range(12)}
    make_wheel(wheels, "thing", "1.0", files={**many, "extra/__init__.py": ""})
    make_wheel(wheels, "thing", "2.0", files={**many, "extra/__init__.py": "NEW = 1\n", "extra/more.py": ""})
    make_wheel(wheels, "wanted", requires=("thing>=1",))
    source = ("--wheels-dir", str(wheels), *_QUICK)
    first, second = ("install", *source, "thing==1.0"), ("install", *source, "thing==2.0")
    return [
        Operation(name="install", command=("install", *source, "wanted")),
        Operation(name="upgrade", setup=(first,), command=second),
        Operation(name="rollback", setup=(first, second), command=("rollback",)),
        Operation(name="uninstall", setup=(first,), command=("uninstall", *_QUICK, "thing")),
    ]


_NAMES = ("install", "upgrade", "rollback", "uninstall")


@pytest.fixture(scope="session")
def bundle(built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The quickstart bundle, unzipped where it has run once."""
    folder = tmp_path_factory.mktemp("faults")
    subprocess.run(["unzip", "-q", built.zip, "-d", folder], check=True)
    root = folder / built.result["root"]
    start_app(root, "unzipped")
    return root


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
@pytest.mark.parametrize("name", _NAMES)
def test_a_killed_helper_leaves_the_state_before_or_after(bundle: Path, tmp_path: Path, name: str) -> None:
    operation = next(item for item in operations(tmp_path / "wheels") if item.name == name)
    prepared = prepare(bundle, operation, tmp_path)
    assert prepared.touches > 50
    ended = [try_point(prepared, seed, tmp_path) for seed in range(-(-_POINTS // len(_NAMES)))]
    assert len(ended) * len(_NAMES) >= _POINTS
    if len(ended) > 20:
        assert set(ended) == {"before", "after"}


def test_every_operation_is_listed(tmp_path: Path) -> None:
    assert tuple(item.name for item in operations(tmp_path)) == _NAMES
