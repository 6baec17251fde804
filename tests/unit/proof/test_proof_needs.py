"""The table of system needs: fits its schema, knows the errors of real packages, lets in what every machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from packager.proof.needs import system_needs


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        ("ImportError: libGL.so.1: cannot open shared object file", "opencv-python-headless"),
        ("ImportError: libxcb.so.1: cannot open shared object file", "opencv-python-headless"),
        ("ImportError: libgthread-2.0.so.0: cannot open shared object file", "opencv-python-headless"),
        ("ImportError: Bad git executable.", "GIT_PYTHON_REFRESH"),
        ("RuntimeError: operator torchvision::nms does not exist", "one index"),
        ("OSError: libcudart.so.13: cannot open shared object file", "CPU build of torch"),
        ("OSError: PortAudio library not found", "libportaudio2"),
        ("ModuleNotFoundError: No module named 'httpx2.core'", "holds httpx2.core"),
        ("PackageNotFoundError: No package metadata was found for accelerate", ".dist-info"),
        ("/lib/libc.so.6: version `GLIBC_2.38' not found (required by x)", "glibc 2.38"),
        ("OSError: libstrange-2.so.7: cannot open shared object file", "brings libstrange-2.so.7 along"),
    ],
)
def test_known_errors_have_a_remedy(error: str, remedy: str) -> None:
    assert remedy in (system_needs().remedy(error) or "")


def test_an_unknown_error_has_none() -> None:
    assert system_needs().remedy("ValueError: seven is not even") is None


@pytest.mark.parametrize(
    "name",
    [
        "libc.so.6",
        "ld-linux-x86-64.so.2",
        "libstdc++.so.6",
        "libcuda.so.1",
        "libnss_files.so.2",
        "/usr/lib/gconv/UTF-16.so",
    ],
)
def test_every_machine_has_these(name: str) -> None:
    assert system_needs().allows(name)


@pytest.mark.parametrize(
    "name", ["libGL.so.1", "libxcb.so.1", "libssl.so.3", "libpython3.11.so.1.0", "libcudart.so.13", "libcz.so.6"]
)
def test_no_machine_must_have_these(name: str) -> None:
    assert not system_needs().allows(name)


def test_a_file_is_known_by_its_soname_too(tmp_path: Path) -> None:
    mapped = {
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "libc.so" in line or "libc-" in line
    }
    (libc,) = mapped
    renamed = tmp_path / "libc-2.31.so"
    renamed.write_bytes(Path(libc).read_bytes())
    assert system_needs().allows(str(renamed))
