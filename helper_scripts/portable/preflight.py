"""What will go wrong at a start, told in a plain sentence before ComfyUI says it in fifty lines. Never stops a start.

Limits are in preflight.json: `patience` in seconds, `free_disk` in bytes, `longest_path` in UTF-16 units (Windows,
"Maximum Path Length Limitation"), `no_graphics` the arguments with which no card is used.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from portable import graphics
from portable.bundle import WINDOWS, Bundle
from portable.completeness import read_head

_LIMITS = Path(__file__).absolute().with_name("preflight.json")


def look(
    bundle: Bundle, arguments: Sequence[str], environ: Mapping[str, str], *, patience: float | None = None
) -> list[str]:
    """Sentences about what will not work, each with a way out; none if all is well.

    Waits `patience` seconds for the graphics driver to answer, a fraction of a second if None.
    """
    limits: Any = json.loads(_LIMITS.read_text(encoding="utf-8"))
    uses_card = environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1") and not set(arguments) & set(
        limits["no_graphics"]
    )
    needs = graphics.read_needs(bundle) if uses_card else None
    question = graphics.Question(environ) if needs and needs.kind == "nvidia" else None
    found = [
        *_disk(bundle.root, limits["free_disk"]),
        *_glibc(bundle.home),
        *_paths(bundle.home, limits["longest_path"]),
    ]
    if needs:
        front = f"run_comfyui_cpu.{'bat' if WINDOWS else 'sh'}"
        cards = question.answer(patience or limits["patience"]) if question else None
        if cards:
            found += graphics.concerns(needs, cards, cpu_front=front)
        elif not (question and question.was_asked) and not graphics.has_sign(needs.kind):
            found.append(graphics.without_driver(needs, cpu_front=front))
    return found


def _disk(root: Path, wanted: int) -> list[str]:
    try:
        free = shutil.disk_usage(root).free
    except OSError:
        return []
    if free >= wanted:
        return []
    return [f"The disk of {root} has {free / 1e6:.0f} MB free: pictures may not be saved. Free some space."]


def _glibc(root: Path) -> list[str]:
    """The programs of the bundle were made for this glibc or newer; Python itself may be content with less."""
    if not sys.platform.startswith("linux"):
        return []
    try:
        floor = json.loads((root / "portable" / "bundle.json").read_text(encoding="utf-8")).get("glibc_floor")
        here = (os.confstr("CS_GNU_LIBC_VERSION") or "").rpartition(" ")[2]
    except (OSError, ValueError):
        return []
    if not floor or not here or _numbers(here) >= _numbers(str(floor)):
        return []
    return [
        f"This system has glibc {here}, and the bundle needs {floor}: parts of it will not load. Update the system."
    ]


def _paths(root: Path, limit: int) -> list[str]:
    if not WINDOWS or has_long_paths():
        return []
    return long_path(str(root), str(read_head(root).get("longest_path") or ""), limit)


def long_path(root: str, longest: str, limit: int) -> list[str]:
    """A sentence if `longest`, the longest path in the bundle, is over Windows' `limit` with the bundle at `root`."""
    units = len(f"{root}/{longest}".encode("utf-16-le", "surrogatepass")) // 2
    if not longest or units <= limit:
        return []
    over = f"The path of this folder is {units - limit} characters too long for Windows"
    return [f"{over}: files deep in it cannot be read. Move it to a shorter one, such as C:\\ComfyUI."]


def has_long_paths() -> bool:
    """Whether Windows was told to allow long paths (registry value LongPathsEnabled)."""
    if sys.platform != "win32":
        return True
    import winreg  # noqa: PLC0415 - exists there alone

    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SYSTEM\CurrentControlSet\Control\FileSystem") as key:
            return bool(winreg.QueryValueEx(key, "LongPathsEnabled")[0])
    except OSError:
        return False


def screen(arguments: Sequence[str], environ: Mapping[str, str], *, system: str = sys.platform) -> list[str]:
    """The argument that opens the browser, where there is a screen and the user has not said otherwise.

    On Windows `--windows-standalone-build` does it.
    """
    words = {"--auto-launch", "--disable-auto-launch", "--quick-test-for-ci", "--help", "-h"}
    if system == "win32" or words & set(arguments) or "SSH_CONNECTION" in environ:
        return []
    has_screen = system == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
    return ["--auto-launch"] if has_screen and not environ.get("CI") else []


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
