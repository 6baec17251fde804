"""The layouts of the five targets, as CPython's installers make them and as the bundle's helpers know them."""

from __future__ import annotations

import json
import ntpath
import posixpath
import sysconfig
from pathlib import PurePosixPath

import pytest

from packager import resources, targets
from packager.targets import Target


@pytest.fixture(params=sorted(targets.TARGETS))
def target(request: pytest.FixtureRequest) -> Target:
    return targets.get(request.param)


def test_layout_is_that_of_cpythons_install_scheme(target: Target) -> None:
    """`sysconfig` of any Python knows the schemes of all systems."""
    places = {"base": "/p", "platbase": "/p", "installed_base": "/p", "py_version_short": "3.12", "abiflags": ""}
    places |= {"platlibdir": "lib", "py_version_nodot_plat": "312", "implementation_lower": "python"}
    scheme = sysconfig.get_paths("nt" if target.is_windows else "posix_prefix", vars=places, expand=True)

    def place(name: str) -> PurePosixPath:
        return PurePosixPath(scheme[name].replace("\\", "/")).relative_to("/p")

    assert target.stdlib("3.12.4") == place("stdlib")
    assert target.site_packages("3.12.4") == place("purelib")
    assert target.scripts() == place("scripts")


def test_the_helpers_put_the_same_folders_on_path(target: Target) -> None:
    rules = json.loads((resources.helper_scripts() / "portable" / "environment.json").read_text(encoding="utf-8"))
    found = rules["path"]["windows" if target.is_windows else "posix"]
    assert found == [posixpath.normpath(f"python/{folder}") for folder in target.path_folders()]


def test_only_windows_limits_paths_and_linux_alone_tells_names_apart_by_case(target: Target) -> None:
    assert (target.max_path == 259) is target.is_windows
    assert target.case_insensitive is (target.os != "linux")
    assert target.script_suffix == (".bat" if target.is_windows else ".sh")
    assert ntpath.splitext(target.python_executable())[1] == (".exe" if target.is_windows else "")


def test_conda_and_uv_names_say_the_same_system(target: Target) -> None:
    system, _, arch = target.conda_subdir.partition("-")
    assert {"linux": "linux", "osx": "macos", "win": "windows"}[system] == target.os
    assert {"64": "x86_64"}.get(arch, arch) == target.arch
    assert target.uv_platform.startswith({"arm64": "aarch64"}.get(target.arch, target.arch))
    assert {"linux": "manylinux", "macos": "apple", "windows": "windows"}[target.os] in target.uv_platform
