"""Nothing is written outside the bundle, whatever its helpers do: the rest of the machine is read-only, home and the
folder for temporary files are watched."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "helper_scripts"))

from fake_bundles import make_wheel

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is absent"),
]

# Every line must end well. The bundle is in the working directory.
EVERYTHING = """\
./install_package.sh --wheels-dir /opt/wheels thing
./manage.sh exec -- thing
./manage.sh rollback
rm README.txt ComfyUI/nodes.py
./manage.sh repair /opt/archives
./manage.sh doctor --full --report
./run_comfyui.sh --quick-test-for-ci --cpu
"""


@pytest.fixture
def archive(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue("built").zip
    return path


def test_helpers_and_app_write_into_the_bundle_alone(archive: Path, tmp_path: Path) -> None:
    subprocess.run(["unzip", "-q", archive, "-d", tmp_path / "site"], check=True)
    root = next((tmp_path / "site").iterdir())
    for name in ("home", "tmp", "wheels"):
        (tmp_path / name).mkdir()
    make_wheel(tmp_path / "wheels", "thing")
    (root / "everything.sh").write_text(f"set -ex\n{EVERYTHING}", encoding="utf-8")
    inside = [
        "bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/opt",
        "--bind", root, "/opt/my bündle", "--ro-bind", tmp_path / "wheels", "/opt/wheels",
        "--ro-bind", archive.parent, "/opt/archives", "--bind", tmp_path / "home", "/opt/home",
        "--bind", tmp_path / "tmp", "/tmp", "--unshare-net", "--die-with-parent",
        "--clearenv", "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "HOME", "/opt/home",
        "--chdir", "/opt/my bündle", "--",
    ]  # fmt: skip
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no namespaces here")
    assert subprocess.run([*inside, "touch", "/usr/x"], capture_output=True, check=False).returncode, (
        "it is not read-only"
    )
    done = subprocess.run(
        [*inside, "sh", "./everything.sh"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "thing 1.0 on /opt/my bündle/python/bin/python" in done.stdout
    assert [str(path) for name in ("home", "tmp") for path in (tmp_path / name).rglob("*")] == []
    told = subprocess.run(
        [*inside, "./manage.sh", "doctor", "--footprint", "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(told.stdout) == {"outside": []}
