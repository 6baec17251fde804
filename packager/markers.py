"""PEP 508 environment markers of a target, which need not be the machine this runs on."""

from __future__ import annotations

from packaging.markers import Marker

from packager.targets import Target, minor_version

_SYSTEMS = {  # sys_platform, platform_system, os_name
    "linux": ("linux", "Linux", "posix"),
    "macos": ("darwin", "Darwin", "posix"),
    "windows": ("win32", "Windows", "nt"),
}
_MACHINES = {("windows", "x86_64"): "AMD64"}


def marker_environment(target: Target, python: str) -> dict[str, str]:
    """Every variable of PEP 508 for CPython `python` (such as 3.12.4) on `target`.

    `platform_release` and `platform_version` are empty: they are the user's kernel, which nobody knows.
    """
    sys_platform, platform_system, os_name = _SYSTEMS[target.os]
    return {
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": os_name,
        "platform_machine": _MACHINES.get((target.os, target.arch), target.arch),
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": platform_system,
        "platform_version": "",
        "python_full_version": python,
        "python_version": minor_version(python),
        "sys_platform": sys_platform,
    }


def holds(marker: str | None, target: Target, python: str) -> bool:
    """Whether `marker` is true of the target; no marker always is. Raises packaging's InvalidMarker."""
    return marker is None or Marker(marker).evaluate({**marker_environment(target, python), "extra": ""})
