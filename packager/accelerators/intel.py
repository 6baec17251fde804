"""Intel GPUs of this machine. On Linux sysfs names them without any tool; on Windows PowerShell does.

Formats: `xpu-smi discovery -j` (Intel XPU Manager, CLI user guide); /sys/class/drm and /sys/bus/pci in the Linux
kernel's Documentation/ABI; PNPDeviceID of Win32_VideoController (Microsoft, CIM Win32 providers).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from packager.accelerators.table import facts
from packager.targets import Target

SYSFS = Path("/sys")
Ask = Callable[..., "str | None"]


@dataclass(frozen=True, kw_only=True)
class IntelCard:
    """`device` is the PCI device id (0x56a0), "" where nothing tells; `usable`: whether there is a build of torch for
    it."""

    name: str
    device: str
    usable: bool

    def __str__(self) -> str:
        return f"{self.name} ({self.device})" if self.device else self.name


def intel_cards(target: Target, ask: Ask, *, sysfs: Path = SYSFS) -> tuple[str, list[IntelCard]]:
    """Who says so, and the cards. `ask` runs a program and returns what it says, None if it is not there or fails."""
    table = facts()["intel"]
    if target.is_windows:
        return table["windows"][0], _by_windows(ask(*table["windows"]))
    if cards := _by_tool(ask(*table["tool"])):
        return table["tool"][0], cards
    return str(sysfs / "class" / "drm"), _by_sysfs(sysfs)


def _by_tool(said: str | None) -> list[IntelCard]:
    try:
        listed = json.loads(said or "{}").get("device_list", [])
        names = [str(item["device_name"]) for item in listed if item.get("device_type", "GPU") == "GPU"]
    except (ValueError, AttributeError, TypeError, KeyError):
        return []
    return [IntelCard(name=name, device="", usable=True) for name in names]


def _by_windows(said: str | None) -> list[IntelCard]:
    """A JSON object, or a list of several."""
    try:
        value = json.loads(said or "[]")
        listed: list[dict[str, Any]] = value if isinstance(value, list) else [value]
        found = [(str(item["Name"]), str(item["PNPDeviceID"])) for item in listed]
    except (ValueError, TypeError, KeyError):
        return []
    cards = []
    for name, place in found:
        ids = re.search(r"VEN_([0-9A-F]{4})&DEV_([0-9A-F]{4})", place, re.IGNORECASE)
        if ids and f"0x{ids[1].lower()}" == facts()["intel"]["vendor"]:
            device = f"0x{ids[2].lower()}"
            cards.append(IntelCard(name=name, device=device, usable=_family(device) is not None))
    return cards


def _by_sysfs(sysfs: Path) -> list[IntelCard]:
    table, cards = facts()["intel"], []
    for card in sorted((sysfs / "class" / "drm").glob("card[0-9]*")):
        folder = card / "device"
        if "-" in card.name or _read(folder / "vendor") != table["vendor"]:  # card0-HDMI-A-1 is a connector
            continue
        device = _read(folder / "device")
        family = _family(device)
        discrete = _is_discrete(folder)
        name = family or f"an unknown {'discrete' if discrete else 'integrated'} Intel GPU"
        cards.append(IntelCard(name=name, device=device, usable=family is not None or discrete))
    return cards


def _family(device: str) -> str | None:
    for row in facts()["intel"]["families"]:
        if any(fnmatchcase(device, pattern) for pattern in row["devices"]):
            return str(row["name"])
    return None


def _is_discrete(folder: Path) -> bool:
    """The integrated GPU is a part of the processor, and so on PCI bus 0; a card is behind a bridge."""
    address = re.fullmatch(r"[0-9a-f]{4,}:([0-9a-f]{2}):[0-9a-f]{2}\.[0-7]", folder.resolve().name)
    return address is not None and address[1] != "00"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip().lower()
    except (OSError, ValueError):
        return ""
