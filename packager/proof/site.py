"""The folder under proof and what a check says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.bundle import BundleTree
from packager.console import Console
from packager.probes.pool import run_one
from packager.process import Finished
from packager.proof.baseline import Baseline
from packager.proof.limits import Limits
from packager.proof.needs import system_needs
from packager.proof.sandbox import Sandbox


@dataclass(frozen=True, kw_only=True)
class Site:
    """An unpacked bundle. `facts` is its bundle.json; `system_libraries` are sonames its author takes for granted."""

    tree: BundleTree
    facts: dict[str, Any]
    sandbox: Sandbox
    baseline: Baseline | None
    limits: Limits
    console: Console
    system_libraries: frozenset[str]

    def helper(self, name: str) -> Path:
        """The helper script a person calls: run_comfyui, install_package or manage."""
        return self.tree.root / f"{name}{self.tree.target.script_suffix}"

    def run(self, command: Sequence[str | Path], *, timeout: float) -> Finished:
        """`command` in the sandbox. How it ended, whatever that was."""
        return run_one(self.sandbox.job(str(command[0]), command, timeout=timeout))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a check found: `detail` names file and cause. A remedy with a pass is a note: good to know, no fault."""

    passed: bool
    detail: str
    remedy: str | None = None


def passed(detail: str, *, remedy: str | None = None) -> Verdict:
    return Verdict(passed=True, detail=detail, remedy=remedy)


def failed(detail: str, *, remedy: str | None = None) -> Verdict:
    """Without a remedy of the check's own, that of the table for an error text such as `detail`."""
    return Verdict(passed=False, detail=detail, remedy=remedy or remedies(detail.splitlines()))


def remedies(texts: Sequence[str]) -> str | None:
    """What the table knows to do about `texts`, each remedy once."""
    found = dict.fromkeys(filter(None, map(system_needs().remedy, texts)))
    return "; ".join(found) or None
