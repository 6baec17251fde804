"""The packages that the helpers of a bundle change only when told to with --force: portable/protected.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from packaging.utils import canonicalize_name

from packager.resolution.special_packages import special_packages

_FORMAT = 1
_NATIVE = "a wheel made for this bundle's torch, Python and accelerator"


def protected_packages(native: Iterable[Mapping[str, Any]], *, target: str, accelerator: str | None) -> dict[str, Any]:
    """What portable/protected.json holds: families that the core alone chooses, and what the native packages brought;
    packages that are never installed, and those of which one stands for all.

    `native` is how install_native told of each (NativeInstalled as JSON).
    """
    table = special_packages()
    reasons = {name: family.why for family in table.core_only for name in family.packages}
    for package in native:
        reasons.update(dict.fromkeys(map(canonicalize_name, package["changes"]), _NATIVE))
    families = [
        {
            "why": group.why,
            "members": [
                {"name": member.package, "offers": sorted(member.offers)}
                for member in group.members
                if member.usable(target, accelerator)
            ],
        }
        for group in table.one_of
    ]
    return {
        "format": _FORMAT,
        "packages": [{"name": name, "why": why} for name, why in sorted(reasons.items())],
        "never": [{"name": item.package, "why": item.why} for item in table.drop],
        "one_of": families,
    }
