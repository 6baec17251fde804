"""Which installer, from where, and how it is run: data for every target, and a real Windows command line under Wine."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from packager import targets
from packager.console import Console
from packager.errors import FetchError
from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors
from packager.process import CommandError
from packager.runtimes.installation import Tools, silent_command
from packager.runtimes.miniforge_table import miniforge_table

BASE = "https://github.com/conda-forge/miniforge/releases"

# conda-forge/miniforge, README, "Install": Miniforge3-$(uname)-$(uname -m).
INSTALLERS = {
    "linux-x86_64": "Miniforge3-Linux-x86_64.sh",
    "linux-aarch64": "Miniforge3-Linux-aarch64.sh",
    "macos-x86_64": "Miniforge3-MacOSX-x86_64.sh",
    "macos-arm64": "Miniforge3-MacOSX-arm64.sh",
    "windows-x86_64": "Miniforge3-Windows-x86_64.exe",
}

# Tells what a GUI installer made by NSIS is given: its whole command line as one text.
TELL = "import ctypes; f = ctypes.windll.kernel32.GetCommandLineW; f.restype = ctypes.c_wchar_p; print(f())"


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    mirrors = Mirrors.parse([f"https://github.com/={tmp_path / 'github'}/"])
    (tmp_path / "tools").mkdir()
    return Tools(
        folder=tmp_path / "tools",
        cache=Cache(tmp_path / "cache"),
        mirrors=mirrors,
        console=Console(quiet=True),
        offline=False,
    )


def publish(tmp_path: Path, release: str, name: str, text: str) -> Path:
    """An installer and its `.sha256`, as a release holds them."""
    folder = tmp_path / "github" / "conda-forge" / "miniforge" / "releases" / release
    folder.mkdir(parents=True)
    (folder / name).write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / f"{name}.sha256").write_text(f"{digest}  ./{name}\n")
    return folder / name


def test_each_target_has_its_installer_latest_or_pinned() -> None:
    assert {target.name: target.miniforge_installer for target in targets.TARGETS.values()} == INSTALLERS
    for name, file in INSTALLERS.items():
        target = targets.get(name)
        assert miniforge_table().installer_url(target, None) == f"{BASE}/latest/download/{file}"
        assert miniforge_table().installer_url(target, "25.3.1-0") == f"{BASE}/download/25.3.1-0/{file}"
        assert file.endswith(".exe") is target.is_windows
    assert miniforge_table().checksum_suffix == ".sha256"


def test_posix_installers_ask_nothing_and_initialise_no_shell() -> None:
    for name in ("linux-x86_64", "linux-aarch64", "macos-x86_64", "macos-arm64"):
        command = silent_command(targets.get(name), installer=Path("/c/i.sh"), prefix="/c/base/1")
        assert command == ["/bin/sh", "/c/i.sh", "-b", "-u", "-p", "/c/base/1"]


def test_windows_gets_one_command_line_that_ends_with_the_folder_unquoted() -> None:
    command = silent_command(
        targets.get("windows-x86_64"), installer=Path("C:/My Cache/i.exe"), prefix="C:\\cache\\miniforge\\base\\1"
    )
    line = subprocess.list2cmdline(command)
    assert line.endswith(" /S /D=C:\\cache\\miniforge\\base\\1"), "NSIS takes all that follows /D=, quotes included"
    words = line.partition("i.exe")[2].strip('" ').split()
    assert {"/InstallationType=JustMe", "/RegisterPython=0", "/AddToPath=0"} < set(words)
    assert {"/NoRegistry=1", "/NoShortcuts=1"} < set(words), "neither uninstall entry nor start menu"
    assert len(words) == len(command) - 1


@pytest.mark.wine
@pytest.mark.xdist_group("wine")
def test_a_windows_program_sees_that_command_line(wine, windows_cpython: Path) -> None:
    python = "Z:" + str(windows_cpython / "python.exe").replace("/", "\\")
    command = silent_command(targets.get("windows-x86_64"), installer=Path("i.exe"), prefix="C:\\cache\\base\\1")
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {TELL!r}, *{command[1:]!r}])"
    told = wine.run([python, "-c", start], env={"PYTHONUTF8": "1"}).stdout.strip()
    assert told.endswith(" /CheckPathLength=0 /S /D=C:\\cache\\base\\1"), told


@pytest.mark.parametrize("release", [None, "25.3.1-0"])
def test_the_installer_is_fetched_checked_and_given_a_home_of_its_own(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str | None
) -> None:
    home = tmp_path / "home of the user"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CONDA_EXE", "/somewhere/conda")
    target = targets.get("linux-x86_64")
    script = (
        '#!/bin/sh\nmkdir -p "$4/bin"; env >"$4/environment"; touch "$HOME/.conda-was-here"\ntouch "$4/bin/mamba"\n'
    )
    publish(tmp_path, f"download/{release}" if release else "latest/download", target.miniforge_installer, script)
    solver = tools.solver(target, release)
    assert solver.name == "mamba"
    assert solver.is_relative_to(tools.folder / "base")
    assert list(home.iterdir()) == []
    seen = dict(line.split("=", 1) for line in (solver.parents[1] / "environment").read_text().splitlines())
    assert seen["HOME"] == str(tools.folder / "home")
    assert "CONDA_EXE" not in seen
    (solver.parents[1] / "environment").unlink()
    assert tools.solver(target, release) == solver
    assert not (solver.parents[1] / "environment").exists(), "an installation that is there is not made again"
    solver.unlink()
    assert tools.solver(target, release).is_file(), "a spoilt one is"


def test_an_installation_cut_short_is_made_anew(tools: Tools, tmp_path: Path) -> None:
    target = targets.get("linux-x86_64")
    script = f'#!/bin/sh\nmkdir -p "$4/bin"; touch "$4/bin/mamba"\n[ -e "{tmp_path}/second" ] || exit 1\n'
    publish(tmp_path, "latest/download", target.miniforge_installer, script)
    with pytest.raises(CommandError):
        tools.solver(target, None)
    (tmp_path / "second").touch()
    assert tools.solver(target, None).is_file()


@pytest.mark.parametrize(("name", "offered"), [("linux-x86_64", True), ("macos-arm64", False)])
def test_where_no_installer_can_be_had_the_ways_out_are_told(tools: Tools, name: str, offered: bool) -> None:
    for means in (tools, replace(tools, offline=True, mirrors=Mirrors())):
        with pytest.raises(FetchError) as raised:
            means.solver(targets.get(name), None)
        assert raised.value.exit_code == 3
        remedy = raised.value.remedy or ""
        assert ("--runtime host" in remedy) is offered
        assert "`miniforge:`" in remedy
        assert "--mirror" in remedy
