"""`auto`, with programs on PATH that print what the real ones print."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from packager import targets
from packager.accelerators import detect
from packager.accelerators.intel import intel_cards
from packager.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fake programs are POSIX scripts; macOS asks none")
HERE = targets.current() if sys.platform == "linux" else targets.get("linux-x86_64")
NOTHING = Path("/nonexistent")

OLD_NVIDIA_SMI = """\
case "$1" in *compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;; esac
echo '535.54.03, NVIDIA GeForce GTX 1080 Ti'"""
NO_DRIVER = """\
echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA \
driver is installed and running."
exit 9"""
ROCM_SMI = """\
echo 'WARNING: AMD GPU device(s) is/are in a low-power state. Check power control/runtime_status'
echo
echo '{"card0": {"Card Series": "AMD Radeon RX 7900 XTX", "Card Model": "0x744c", "GFX Version": "gfx1100"}, \
"system": {"Driver version": "6.12.12"}}'"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Put a shell script on a PATH that holds nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(name: str, script: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    return write


@pytest.mark.parametrize(
    ("script", "accelerator", "saw"),
    [
        ("echo '581.29, 8.9, NVIDIA GeForce RTX 4090'", "cu130", "driver 581.29 and NVIDIA GeForce RTX 4090"),
        ("echo '580.65.06, 12.0, NVIDIA GeForce RTX 5090'", "cu130", "compute capability 12.0"),
        ("echo '570.124.06, 12.0, NVIDIA GeForce RTX 5090'", "cu128", "driver 570.124.06"),
        ("echo '581.29, 6.1, NVIDIA GeForce GTX 1080'", "cu126", "compute capability 6.1"),
        ("echo '560.35.03, 8.6, NVIDIA RTX A6000, 48 GB'", "cu126", "NVIDIA RTX A6000, 48 GB"),
        ("echo '581.29, 8.9, NVIDIA L4'; echo '581.29, 6.1, Tesla P4'", "cu126", "NVIDIA L4"),
        ("echo '581.29, [N/A], NVIDIA GeForce RTX 4090'", "cu130", "RTX 4090"),
        (OLD_NVIDIA_SMI, "cu126", "GTX 1080 Ti"),
        ("echo '470.82.01, 3.7, Tesla K80'", "cpu", "no CUDA build of torch supports"),
        (NO_DRIVER, "cpu", "neither nvidia-smi nor rocm-smi"),
        ("echo 'No devices were found'", "cpu", "neither nvidia-smi nor rocm-smi"),
        ("printf '\\377\\000'; exit 0", "cpu", "neither nvidia-smi nor rocm-smi"),
    ],
)
@pytest.mark.skipif(HERE.name != "linux-x86_64", reason="cu126 has no wheels for aarch64")
def test_driver_and_capability_decide(
    program: Callable[[str, str], None], script: str, accelerator: str, saw: str
) -> None:
    program("nvidia-smi", script)
    found = detect(HERE, sysfs=NOTHING)
    assert found.accelerator == accelerator
    assert saw in found.saw


@pytest.mark.skipif(HERE.name != "linux-x86_64", reason="rocm7.2 has no wheels for aarch64")
def test_amd_card_behind_a_warning(program: Callable[[str, str], None]) -> None:
    program("rocm-smi", ROCM_SMI)
    found = detect(HERE, sysfs=NOTHING)
    assert (found.accelerator, found.saw) == ("rocm7.2", "rocm-smi shows AMD Radeon RX 7900 XTX")


@pytest.mark.parametrize("said", ["{", "[]", '{"card0": 7}', "ERROR: no devices"])
def test_rocm_smi_that_shows_nothing(program: Callable[[str, str], None], said: str) -> None:
    program("rocm-smi", f"echo '{said}'")
    assert detect(HERE, sysfs=NOTHING).accelerator == "cpu"


def test_program_that_cannot_start(program: Callable[[str, str], None], tmp_path: Path) -> None:
    program("nvidia-smi", "")
    (tmp_path / "bin" / "nvidia-smi").write_bytes(b"\x7fELF" + os.urandom(16))
    assert detect(HERE, sysfs=NOTHING).accelerator == "cpu"


def test_another_target_is_not_this_machine() -> None:
    with pytest.raises(InputError, match="windows-x86_64"):
        detect(targets.get("windows-x86_64"))


XPU_SMI = """\
echo '{"device_list": [{"device_id": 0, "device_name": "Intel(R) Arc(TM) B580 Graphics", "device_type": "GPU"}]}'"""


@pytest.fixture
def sysfs(tmp_path: Path) -> Callable[..., Path]:
    """Put a GPU into a folder that looks like /sys."""

    def add(number: int, address: str, vendor: str, device: str) -> Path:
        root = tmp_path / "sys"
        folder = root / "devices" / "pci0000:00" / address
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "device").write_text(f"{device}\n")
        card = root / "class" / "drm" / f"card{number}"
        (card.with_name(f"card{number}-HDMI-A-1")).mkdir(parents=True)
        card.mkdir()
        (card / "device").symlink_to(folder)
        return root

    return add


@pytest.mark.skipif(HERE.name != "linux-x86_64", reason="xpu has no wheels for aarch64")
@pytest.mark.parametrize(
    ("address", "vendor", "device", "accelerator", "saw"),
    [
        ("0000:03:00.0", "0x8086", "0x56A0", "xpu", "Intel Arc A-Series (0x56a0)"),
        ("0000:03:00.0", "0x8086", "0xe20b", "xpu", "Intel Arc B-Series (0xe20b)"),
        ("0000:00:02.0", "0x8086", "0x7d55", "xpu", "Intel Core Ultra with Arc Graphics (0x7d55)"),
        ("0000:00:02.0", "0x8086", "0x3e92", "cpu", "an unknown integrated Intel GPU (0x3e92), for which there is no"),
        ("0000:0a:00.0", "0x8086", "0xf00d", "xpu", "an unknown discrete Intel GPU (0xf00d)"),
        ("0000:03:00.0", "0x1a03", "0x2000", "cpu", "shows a GPU"),
    ],
)
def test_intel_card_is_found_without_any_tool(
    program: Callable[[str, str], None],
    sysfs: Callable[..., Path],
    address: str,
    vendor: str,
    device: str,
    accelerator: str,
    saw: str,
) -> None:
    found = detect(HERE, sysfs=sysfs(1, address, vendor, device))
    assert found.accelerator == accelerator
    assert saw in found.saw
    assert "/class/drm" in found.saw


@pytest.mark.skipif(HERE.name != "linux-x86_64", reason="xpu has no wheels for aarch64")
def test_intel_tool_is_asked_first_and_a_card_of_nvidia_wins(
    program: Callable[[str, str], None], sysfs: Callable[..., Path], tmp_path: Path
) -> None:
    root = sysfs(0, "0000:00:02.0", "0x8086", "0x3e92")
    program("xpu-smi", XPU_SMI)
    assert detect(HERE, sysfs=root).saw == "xpu-smi shows Intel(R) Arc(TM) B580 Graphics"
    program("xpu-smi", "echo no such device; exit 1")
    assert detect(HERE, sysfs=root).accelerator == "cpu"
    program("nvidia-smi", "echo '581.29, 8.9, NVIDIA L4'")
    assert detect(HERE, sysfs=root).accelerator == "cu130"


ARC = '{"Name": "Intel(R) Arc(TM) A770 Graphics", "PNPDeviceID": "PCI\\\\VEN_8086&DEV_56A0&SUBSYS_10208086&REV_08"}'
BASIC = '{"Name": "Microsoft Basic Display Adapter", "PNPDeviceID": "ROOT\\\\BASICDISPLAY\\\\0000"}'


@pytest.mark.parametrize(
    ("said", "usable"),
    [(ARC, [True]), (f"[{BASIC}, {ARC}]", [True]), (BASIC, []), ("", []), ("[1]", []), ("oops", [])],
)
def test_windows_is_asked_for_its_display_adapters(said: str, usable: list[bool]) -> None:
    """As PowerShell prints one object, or several."""
    asked = []

    def ask(*words: str) -> str:
        asked.append(words)
        return said

    where, cards = intel_cards(targets.get("windows-x86_64"), ask)
    assert where == "powershell"
    assert asked[0][-1].startswith("Get-CimInstance Win32_VideoController")
    assert [card.usable for card in cards] == usable
