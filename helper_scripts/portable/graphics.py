"""Whether this machine's graphics driver and cards can run the torch of the bundle (portable/gpu.json).

Asked of the driver's own program, as `nvidia-smi --query-gpu` documents it. Without an answer in time there is no
opinion: a card that is asleep may take seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portable.bundle import WINDOWS, Bundle

_CUDA = re.compile(rb"^cuda(?:\s*:[^=]*)?\s*=\s*['\"]([\d.]+)['\"]", re.MULTILINE)
_ASK = ("--query-gpu=driver_version,compute_cap,name", "--format=csv,noheader")
# Signs of a driver whose program is not on PATH: the kernel's module, a container's device, WSL, Windows' own library.
_SIGNS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg", "C:/Windows/System32/nvcuda.dll")
_AMD_SIGNS = ("/dev/kfd", "/dev/dxg")


@dataclass(frozen=True, kw_only=True)
class Card:
    """`driver` and `capability` are numbers such as 580.65.06 and 8.9; `capability` "" if the driver is too old."""

    name: str
    driver: str
    capability: str


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the bundle's torch wants: `kind` "nvidia" or "amd"; the oldest driver, lowest and highest compute
    capability; "" and None where there is no limit. `platform` is CUDA's or ROCm's version."""

    kind: str
    platform: str
    driver: str
    capability: tuple[str, str] | None


def read_needs(bundle: Bundle) -> Needs | None:
    """What torch wants; None if it runs on the processor, nothing is known, or another torch was put in meanwhile."""
    try:
        facts: Any = json.loads((bundle.home / "portable/gpu.json").read_text(encoding="utf-8"))
        low_high = facts.get("capability")
        needs = Needs(
            kind=str(facts["kind"]),
            platform=str(facts["platform"]),
            driver=str(facts.get("driver") or ""),
            capability=(str(low_high[0]), str(low_high[1])) if low_high else None,
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    if needs.kind == "nvidia":
        said = _cuda_of_torch(bundle.home)
        if said is not None and not f"{said}.".startswith(f"{needs.platform}."):
            return None
    return needs


def _cuda_of_torch(root: Path) -> str | None:
    pattern = "python/Lib/site-packages" if WINDOWS else "python/lib/python3*/site-packages"
    for folder in root.glob(pattern):
        try:
            found = _CUDA.search((folder / "torch" / "version.py").read_bytes())
        except OSError:
            continue
        return found[1].decode() if found else ""
    return None


class Question:
    """nvidia-smi at work, while others look at other things. `answer` waits for it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        program = shutil.which("nvidia-smi", path=environ.get("PATH"))
        self._process = None
        if program:
            hidden = 0x08000000 if sys.platform == "win32" else 0  # CREATE_NO_WINDOW
            try:
                self._process = subprocess.Popen(
                    [program, *_ASK],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    creationflags=hidden,
                )
            except OSError:
                self._process = None

    def answer(self, timeout: float) -> list[Card] | None:
        """The cards; None if nvidia-smi is missing, fails, or needs longer than `timeout` seconds."""
        if self._process is None:
            return None
        try:
            said, _ = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that hangs in the driver cannot even be killed
                self._process.wait(timeout)
            return None
        return parse(said.decode("utf-8", "replace")) if self._process.returncode == 0 else None

    @property
    def was_asked(self) -> bool:
        return self._process is not None


def parse(said: str) -> list[Card]:
    """The cards in a `driver, capability, name` a line; the name comes last because it may hold commas."""
    cards = []
    for line in said.splitlines():
        words = [word.strip() for word in line.split(",", 2)]
        if len(words) == 3 and _numbers(words[0]):
            cards.append(Card(driver=words[0], capability=words[1] if _numbers(words[1]) else "", name=words[2]))
    return cards


def concerns(needs: Needs, cards: Sequence[Card], *, cpu_front: str) -> list[str]:
    """Why torch will not run on these cards, in sentences; none if it will. `cpu_front` is the way out."""
    if not cards:
        return []
    driver, wanted = min((card.driver for card in cards), key=_numbers), needs.driver
    if wanted and _numbers(driver) < _numbers(wanted):
        old = f"The NVIDIA driver is {driver}, and this bundle's torch (CUDA {needs.platform}) needs {wanted} or newer"
        return [f"{old}: update the driver, or start {cpu_front}."]
    found = []
    low, high = needs.capability or ("", "")
    for card in {card.name: card for card in cards if needs.capability and card.capability}.values():
        shown = f"{card.name} (compute capability {card.capability})"
        if _numbers(card.capability) < _numbers(low):
            found.append(
                f"{shown} is older than this bundle's torch (CUDA {needs.platform}) supports ({low} to {high}): use a "
                f"bundle for an older CUDA, or start {cpu_front}."
            )
        elif _numbers(card.capability) > _numbers(high):
            found.append(
                f"{shown} is newer than this bundle's torch (CUDA {needs.platform}) supports ({low} to {high}): look "
                f"for a newer bundle, or start {cpu_front}."
            )
    return found


def has_sign(kind: str, exists: Mapping[str, bool] | None = None) -> bool:
    """Whether anything tells that there is a driver. `exists` stands for the file system."""
    return any(
        exists.get(path, False) if exists is not None else os.path.exists(path)  # noqa: PTH110 - also of no such drive
        for path in (_AMD_SIGNS if kind == "amd" else _SIGNS)
    )


def without_driver(needs: Needs, *, cpu_front: str) -> str:
    """The sentence for a machine that shows no driver at all."""
    if needs.kind == "amd":
        return (
            f"No AMD graphics driver is here, and this bundle's torch is for ROCm {needs.platform}: start {cpu_front}, "
            "or install the driver."
        )
    version = f" {needs.driver} or newer" if needs.driver else ""
    return (
        f"No NVIDIA driver is here, and this bundle's torch is for CUDA {needs.platform}: start {cpu_front}, or "
        f"install driver{version}."
    )


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()
