"""How the bundle is: facts for a bug report, and what is wrong with what to do about it. Looks, and changes nothing but
the note of where the bundle lies."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portable import graphics, info, inspection, pip, place, preflight, relocate, scripts, snapshots
from portable.bundle import Bundle
from portable.completeness import missing_parts
from portable.distributions import installed
from portable.errors import HelperError
from portable.layers import environment_of
from portable.node_state import read_nodes

_ASK_TORCH = """\
import json, torch
names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
mps = getattr(torch.backends, "mps", None)
xpu = getattr(torch, "xpu", None)
print(json.dumps({"cards torch can use": ", ".join(names) or ("mps" if mps and mps.is_available() else
    "xpu" if xpu and xpu.is_available() else "none: it runs on the processor")}))
"""


@functools.cache
def rules() -> dict[str, Any]:
    """What doctor.json says: names to look for, seconds, and how many lines are told."""
    loaded: dict[str, Any] = json.loads(Path(__file__).absolute().with_name("doctor.json").read_text(encoding="utf-8"))
    return loaded


@dataclass(kw_only=True)
class Examination:
    """`facts` by heading and name, in the order in which they are shown. `problems` need something done, `notes` do
    not; both are sentences. `inspected` is what `verify` found; None if there is no manifest."""

    facts: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inspected: inspection.Inspection | None = None

    def to_json(self) -> dict[str, Any]:
        inspected = self.inspected.to_json() if self.inspected else None
        return {"facts": self.facts, "problems": self.problems, "notes": self.notes, "files": inspected}


def examine(bundle: Bundle, environ: Mapping[str, str], *, full: bool, say: Callable[[str], None]) -> Examination:
    """Look at everything. With `full` every file is read, pip asked whether all fits, and torch loaded."""
    found = Examination()
    _look_at_place(bundle, found)
    _look_at_machine(bundle, environ, found)
    _look_at_packages(bundle, found)
    found.facts["nodes"] = read_nodes(bundle.app_dir / "custom_nodes")
    found.facts["changes"] = {
        f"#{record.id}": f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(record.created))} {record.kind}: "
        f"{record.summary}"
        for record in snapshots.history(bundle.root)[-rules()["changes"] :]
    }
    _look_at_files(bundle, found, full=full, say=say)
    if full:
        _ask_programs(bundle, environ, found, say)
    return found


def _look_at_place(bundle: Bundle, found: Examination) -> None:
    before = place.note(bundle.root)
    facts = {**info.describe(bundle)}
    if before:
        facts["moved from"] = before
    try:
        facts["free disk"] = f"{shutil.disk_usage(bundle.root).free / 1e9:.1f} GB"
    except OSError as error:
        found.problems.append(f"The disk of {bundle.root} does not answer: {error.strerror}.")
    if not os.access(bundle.root, os.W_OK):
        found.notes.append(f"{bundle.root} cannot be written: it runs, and nothing can be installed.")
    found.facts["bundle"] = facts
    if absolute := [path.name for path in scripts.find_absolute(bundle.root)]:
        found.notes.append(
            f"{len(absolute)} programs hold the path of this folder and fail after a move ({', '.join(absolute[:5])}): "
            "something other than the helpers installed them. The next `manage install` mends that."
        )
    try:
        stale = len(relocate.make_plan(bundle.root, target=bundle.target).changes)
    except HelperError as error:
        found.notes.append(str(error))
    else:
        if stale:
            found.notes.append(
                f"{stale} files hold another place than this one. Nothing needs them to start; `manage relocate` "
                "rewrites them for building software."
            )


def _look_at_machine(bundle: Bundle, environ: Mapping[str, str], found: Examination) -> None:
    needs = graphics.read_needs(bundle)
    facts = {}
    if needs:
        limits = f", driver {needs.driver} or newer" if needs.driver else ""
        facts["torch is for"] = f"{'CUDA' if needs.kind == 'nvidia' else 'ROCm'} {needs.platform}{limits}"
    cards = graphics.Question(environ).answer(rules()["patience"])
    for number, card in enumerate(cards or (), 1):
        capability = f", compute capability {card.capability}" if card.capability else ""
        facts[f"card {number}"] = f"{card.name}{capability}, driver {card.driver}"
    if not cards:
        facts["cards"] = "none told by nvidia-smi"
    found.facts["graphics"] = facts
    found.facts["environment"] = {
        name: value for name in rules()["variables"] if (value := environ.get(name) or environ.get(name.lower()))
    }
    found.problems += preflight.look(bundle, [], environ, patience=rules()["patience"])
    if sys.platform == "darwin":
        marked = subprocess.run(
            ["xattr", "-p", "com.apple.quarantine", bundle.python], capture_output=True, check=False
        )
        if marked.returncode == 0:
            found.notes.append("macOS has marked this download as quarantined: run_comfyui.sh takes the mark away.")


def _look_at_packages(bundle: Bundle, found: Examination) -> None:
    try:
        there = installed(bundle.root)
    except HelperError as error:
        found.problems.append(str(error))
        return
    found.facts["packages"] = {name: there[name].version for name in rules()["packages"] if name in there}
    found.facts["packages"]["in all"] = str(len(there))


def _look_at_files(bundle: Bundle, found: Examination, *, full: bool, say: Callable[[str], None]) -> None:
    parts = missing_parts(bundle.root)
    if parts:
        found.problems.append(f"Nothing of {', '.join(parts)} is here: unzip it into {bundle.root.parent}.")
    if full:
        say("reading every file")
    try:
        found.inspected = seen = inspection.inspect(bundle, contents=full)
    except HelperError as error:
        found.problems.append(str(error))
        return
    found.facts["files"] = {"compared": seen.summary, "by": "content" if full else "size (--full reads them)"}
    if seen.damage and not parts:
        first = (
            f"{seen.damage[0].path} and {len(seen.damage) - 1} more" if len(seen.damage) > 1 else seen.damage[0].path
        )
        found.problems.append(f"{first}: missing or damaged. `manage repair` puts back what was shipped.")


def _ask_programs(bundle: Bundle, environ: Mapping[str, str], found: Examination, say: Callable[[str], None]) -> None:
    say("asking pip and torch")
    try:
        found.notes += [f"pip says: {line}" for line in pip.complaints(bundle)]
    except HelperError as error:
        found.problems.append(str(error))
    if "torch" not in found.facts.get("packages", {}):
        return
    asked = subprocess.run(
        [bundle.python, "-s", "-B", "-c", _ASK_TORCH],
        env=environment_of(bundle, environ),
        cwd=bundle.portable,  # `-c` imports from where it is called, before anything else
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    try:
        found.facts["graphics"].update(json.loads(asked.stdout.splitlines()[-1]))
    except (ValueError, IndexError):
        last = (asked.stderr.strip().splitlines() or ["it ends without a word"])[-1]
        found.problems.append(f"torch cannot be loaded: {last}")
