"""`accelerator: auto`: what this machine has, as its own programs tell it.

Formats: `nvidia-smi --help-query-gpu`, CSV output; `rocm-smi --showproductname --json`; for Intel see intel.py.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from packager import process
from packager.accelerators.intel import SYSFS, IntelCard, intel_cards
from packager.accelerators.table import Accelerator, accelerators, facts
from packager.errors import InputError, PackagerError
from packager.targets import Target, current

AUTO = "auto"
_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Detected:
    """The accelerator that fits this machine, and in a sentence what was found."""

    accelerator: str
    saw: str


@dataclass(frozen=True, kw_only=True)
class _Card:
    driver: str  # as it is written: 580.65.06
    capability: Version | None  # older drivers do not tell
    name: str


def detect(target: Target, *, sysfs: Path = SYSFS) -> Detected:
    """Look at this machine, whose kernel shows its devices in `sysfs`.

    Raises InputError if the bundle is for another kind of machine.
    """
    here = current()
    if here.name != target.name:
        raise InputError(
            f"'auto' looks at this machine ({here.name}), but the bundle is for {target.name}",
            where="accelerator",
            remedy="name the accelerator",
        )
    if target.os == "macos":
        return Detected(accelerator="mps", saw=f"a Mac ({target.arch})")
    cards = _nvidia_cards()
    if cards:
        return _for_nvidia(cards, target)
    if names := _amd_cards():
        saw = f"rocm-smi shows {', '.join(names)}"
        for name in facts()["preference"]["amd"]:
            if target.name in accelerators()[name].targets:
                return Detected(accelerator=name, saw=saw)
        return Detected(accelerator="cpu", saw=f"{saw}, for which there is no build of torch on {target.name}")
    where, intel = intel_cards(target, _ask, sysfs=sysfs)
    if intel:
        return _for_intel(where, intel, target)
    return Detected(accelerator="cpu", saw=f"neither nvidia-smi nor rocm-smi nor {where} shows a GPU")


def _for_intel(where: str, cards: list[IntelCard], target: Target) -> Detected:
    saw = f"{where} shows {', '.join(map(str, cards))}"
    for name in facts()["preference"]["intel"]:
        if target.name in accelerators()[name].targets and any(card.usable for card in cards):
            return Detected(accelerator=name, saw=saw)
    return Detected(accelerator="cpu", saw=f"{saw}, for which there is no build of torch on {target.name}")


def _for_nvidia(cards: list[_Card], target: Target) -> Detected:
    driver = min((card.driver for card in cards), key=Version)
    saw = f"nvidia-smi shows driver {driver} and {', '.join(_described(card) for card in cards)}"
    for name in facts()["preference"]["nvidia"]:
        row = accelerators()[name]
        if target.name in row.targets and Version(driver) >= Version(row.driver[target.os]) and _runs(row, cards):
            return Detected(accelerator=name, saw=saw)
    return Detected(accelerator="cpu", saw=f"{saw}, which no CUDA build of torch supports; a newer driver may help")


def _runs(row: Accelerator, cards: list[_Card]) -> bool:
    if row.capability is None:
        return True
    low, high = map(Version, row.capability)
    return all(card.capability is None or low <= card.capability <= high for card in cards)


def _described(card: _Card) -> str:
    return f"{card.name} (compute capability {card.capability})" if card.capability else card.name


def _nvidia_cards() -> list[_Card]:
    """One a line: `driver, capability, name`. The name comes last, because it may hold commas."""
    said = _ask("nvidia-smi", "--query-gpu=driver_version,compute_cap,name", "--format=csv,noheader")
    if said is None:  # drivers before 510 do not know compute_cap
        said = _ask("nvidia-smi", "--query-gpu=driver_version,name", "--format=csv,noheader")
        lines = [line.partition(",")[::2] for line in (said or "").splitlines()]
        rows = [(driver, "", name) for driver, name in lines]
    else:
        parts = [line.split(",", 2) for line in said.splitlines()]
        rows = [(part[0], part[1], part[2]) for part in parts if len(part) == 3]
    cards = []
    for driver, capability, name in rows:
        if _version(driver):
            cards.append(_Card(driver=driver.strip(), capability=_version(capability), name=name.strip()))
    return cards


def _amd_cards() -> list[str]:
    """Names of the cards; warnings may stand before the JSON."""
    said = _ask("rocm-smi", "--showproductname", "--json")
    start = (said or "").find("{")
    if said is None or start < 0:
        return []
    try:
        found = json.loads(said[start:])
    except ValueError:
        return []
    cards = [card for key, card in sorted(found.items()) if key.startswith("card") and isinstance(card, dict)]
    names = [str(card.get("Card Series") or card.get("Card series") or "an AMD GPU") for card in cards]
    return [name.strip() for name in names]


def _version(text: str) -> Version | None:
    try:
        return Version(text.strip())
    except InvalidVersion:  # [N/A], [Not Supported], a sentence
        return None


def _ask(program: str, *words: str) -> str | None:
    """What `program` says, None if it isn't there or fails: no driver, no device."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        finished = process.run([path, *words], timeout=_SECONDS, check=False)
    except PackagerError:  # a broken link or a program for another machine
        return None
    return finished.stdout if finished.returncode == 0 else None
