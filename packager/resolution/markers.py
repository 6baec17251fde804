"""What environment markers say on a target (PEP 508), which is seldom the machine that locks."""

from __future__ import annotations

from collections.abc import Mapping

from packaging.markers import UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import Requirement

from packager.targets import Target, minor_version

_OS = {
    "linux": ("posix", "linux", "Linux"),
    "macos": ("posix", "darwin", "Darwin"),
    "windows": ("nt", "win32", "Windows"),
}


def marker_environment(target: Target, python: str) -> dict[str, str]:
    """The values of the markers for CPython `python` (a full version) on `target`."""
    os_name, sys_platform, platform_system = _OS[target.os]
    return {
        "implementation_name": "cpython",
        "implementation_version": python,
        "os_name": os_name,
        "platform_machine": "AMD64" if target.is_windows else target.arch,
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": platform_system,
        "platform_version": "",
        "python_full_version": python,
        "python_version": minor_version(python),
        "sys_platform": sys_platform,
        "extra": "",
    }


def applies(requirement: Requirement, environment: Mapping[str, str]) -> bool:
    """Whether `requirement` counts there. A marker that cannot be evaluated does not."""
    if requirement.marker is None:
        return True
    try:
        return requirement.marker.evaluate(dict(environment))
    except (UndefinedComparison, UndefinedEnvironmentName):
        return False
