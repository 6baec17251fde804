"""Runtime `host`: the CPython that runs this program, made self-contained. Linux with glibc only."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import certifi

from packager import targets
from packager.bundle import BundleTree
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import remove_tree, sha256_file
from packager.journal import digest
from packager.runtimes.apply import apply_copy
from packager.runtimes.copy_plan import CERTIFICATES, CopyPlan, plan_copy
from packager.runtimes.interpreter import Interpreter, check_portable, describe
from packager.runtimes.protocol import RuntimeFacts, RuntimeRequest, check_version
from packager.runtimes.shared_libraries import machine_loader
from packager.runtimes.verify import verify_copy


@dataclass(frozen=True, kw_only=True)
class HostRuntime:
    """`executable` is the Python to copy, that of a virtual environment standing for the one it was made from."""

    executable: Path = Path(sys.executable)
    name: ClassVar[str] = "host"

    def inspect(self, request: RuntimeRequest) -> RuntimeFacts:
        """See Runtime. Refuses another target than this machine, another version, and what cannot be made portable."""
        _check_system(request.target)
        _check_machine(request.target)
        python = self._wanted(request)
        return self._facts(python, self._plan(python), request.target)

    def identify(self, request: RuntimeRequest) -> dict[str, str]:
        """See Runtime. Refuses what `inspect` does, but for what is found in the single files.

        For a Linux of another kind it is that of this machine too: a build there must have the same version.
        """
        _check_system(request.target)
        return {"name": self.name, "python": self._wanted(request).version}

    def _wanted(self, request: RuntimeRequest) -> Interpreter:
        """The Python of this machine, if it will do."""
        if request.conda_packages:
            raise InputError(
                f"runtime host cannot bring conda packages ({', '.join(request.conda_packages)})",
                where="conda_packages",
                remedy="use runtime miniforge, or take them out of the recipe",
            )
        python = describe(self.executable)
        check_version(request.python, python.version)
        check_portable(python, arch=targets.current().arch)
        return python

    def provision(self, tree: BundleTree, facts: RuntimeFacts, *, console: Console) -> RuntimeFacts:
        """See Runtime. Raises InputError also if the Python is no longer the one of `facts`."""
        prefix = tree.prefix
        if prefix.exists() and any(prefix.iterdir()):
            raise InputError("is not empty", where=str(prefix), remedy="remove it, or give another folder")
        python = describe(self.executable)
        check_portable(python, arch=tree.target.arch)
        plan = self._plan(python)
        now = self._facts(python, plan, tree.target)
        if now.identity != facts.identity:
            raise InputError(
                f"it is no longer the Python that was locked ({facts.python_version}, or one of its libraries changed)",
                where=str(python.executable),
                remedy="run `packager lock --upgrade` again",
            )
        for line in plan.describe():
            console.detail(line)
        for item in plan.left_out:
            if item.notable:
                console.warn(f"left out of the bundle's Python: {item.source.name}: {item.reason}")
        if plan.unlicensed:
            console.warn(f"no licence text is found for {', '.join(plan.unlicensed)}: add it to the bundle yourself")
        partial = prefix.with_name(f"{prefix.name}.partial")
        remove_tree(partial)
        apply_copy(plan, partial, console=console)
        verify_copy(partial, python)
        if prefix.exists():
            prefix.rmdir()
        partial.rename(prefix)
        return now

    def plan(self) -> CopyPlan:
        """What `provision` would do."""
        python = describe(self.executable)
        check_portable(python, arch=targets.current().arch)
        return self._plan(python)

    @staticmethod
    def _plan(python: Interpreter) -> CopyPlan:
        return plan_copy(python, machine_loader(os.environ), certificates=Path(certifi.where()))

    def _facts(self, python: Interpreter, plan: CopyPlan, target: targets.Target) -> RuntimeFacts:
        copied = [(str(copy.destination), sha256_file(copy.source)) for copy in plan.copies]
        made = [*map(str, plan.links), *map(str, plan.writes), *map(str, plan.relinks)]
        return RuntimeFacts(
            python_version=python.version,
            build_paths=plan.build_paths,
            glibc_floor=plan.glibc_floor,
            identity={
                "name": self.name,
                "python": python.version,
                "target": target.name,
                "build": python.build,
                "content": digest(copied, made),
            },
            certificates=CERTIFICATES,
        )


def _check_system(target: targets.Target) -> None:
    remedy = "use runtime miniforge (`runtime: miniforge` in the recipe, or --runtime), which covers every target"
    if sys.platform != "linux":
        raise InputError("runtime host works on Linux only", where="runtime", remedy=remedy)
    if target.os != "linux":
        raise InputError(
            f"runtime host brings the Python of a Linux machine, and the target is {target.name}",
            where="runtime",
            remedy=remedy,
        )


def _check_machine(target: targets.Target) -> None:
    here = targets.current()
    if target.name != here.name:
        raise InputError(
            f"runtime host copies the Python of this machine, {here.name}, and the target is {target.name}",
            where="runtime",
            remedy=f"use runtime miniforge, or build on a {target.name} machine",
        )
