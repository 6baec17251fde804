"""Asking a tree's interpreter what it can do: the probe in fresh processes, many at a time, and pip."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packager import probes
from packager.bundle import BundleTree
from packager.console import Console
from packager.errors import ProofError
from packager.probes.environment import bare_environment
from packager.probes.pool import Job, run_all
from packager.process import Finished
from packager.proof.baseline import OK, Baseline
from packager.proof.limits import Limits
from packager.proof.needs import system_needs
from packager.proof.sandbox import Sandbox

_PROBE = Path(probes.__file__).with_name("probe.py")


def take_baseline(
    tree: BundleTree,
    *,
    work: Path,
    console: Console,
    env: Mapping[str, str] | None = None,
    limits: Limits | None = None,
) -> Baseline:
    """What the installed `tree` can do on this machine, with the programs of its PATH. Nothing is written in the tree.

    `work` is a scratch folder that may exist; `env` the recipe's environment. Raises ProofError if the interpreter
    does not run at all.
    """
    with tempfile.TemporaryDirectory(dir=_made(work), prefix="baseline-") as name:
        folder = Path(name)
        path = os.environ.get("PATH", os.defpath)
        sandbox = Sandbox(starter=(), environment=bare_environment(folder, path=path, extra=env or {}), folder=folder)
        return probe_tree(
            tree, sandbox=sandbox, console=console, limits=limits or Limits(), bytecode=folder / "bytecode"
        )


def probe_tree(
    tree: BundleTree, *, sandbox: Sandbox, console: Console, limits: Limits, bytecode: Path | None = None
) -> Baseline:
    """The Baseline of `tree` as seen in `sandbox`. Each module is imported in a fresh process with caches of its own.

    `bytecode` is a folder to read and write bytecode in; None: the tree's own, as its user's Python does. Raises
    ProofError if the interpreter does not run.
    """
    probing = Probing(tree, sandbox, limits, bytecode)
    first = run_all([probing.inventory(), *probing.pip_jobs()])
    found = probing.answer("inventory", first["inventory"])
    if "failure" in found:
        raise ProofError(
            f"the interpreter does not run: {found['failure']}",
            where=str(tree.python),
            remedy=system_needs().remedy(found["failure"]) or "build the runtime again",
        )
    accidental = system_needs().accidental_modules
    names = [name for name in found["modules"] if name.split(".")[0] not in accidental]
    with console.bar("importing modules", len(names), unit="modules") as advance:
        finished = run_all([probing.importing(name) for name in names], advance=advance)
    answers = {name: probing.answer(_module(name), finished[_module(name)]) for name in names}
    outside = {name: _unexpected(answer.get("mapped", ())) for name, answer in answers.items()}
    scripts = {name: value for name, value in found["scripts"].items() if _script_file(tree, name).exists()}
    return Baseline(
        python=found["python"],
        pip=probing.pip_version(first["pip version"]),
        modules={name: probing.outcome(answer) for name, answer in answers.items()},
        distributions=found["distributions"],
        listed=probing.pip_list(first["pip list"]),
        scripts=scripts,
        entry_points=tuple(found["entry_points"]),
        pip_check=probing.lines(first["pip check"]),
        host_libraries={name: paths for name, paths in outside.items() if paths},
    )


def import_modules(tree: BundleTree, names: Sequence[str], *, sandbox: Sandbox, limits: Limits) -> dict[str, str]:
    """How importing each of `names` ends in `sandbox`: "ok" or the error, by name."""
    probing = Probing(tree, sandbox, limits, None)
    finished = run_all([probing.importing(name) for name in names])
    return {name: probing.outcome(probing.answer(_module(name), finished[_module(name)])) for name in names}


class Probing:
    """The commands that ask a tree's interpreter, and how to read what they answer."""

    def __init__(self, tree: BundleTree, sandbox: Sandbox, limits: Limits, bytecode: Path | None) -> None:
        self._tree = tree
        self._sandbox = sandbox
        self._limits = limits
        self._flags = ["-I", "-X", "utf8", *(["-X", f"pycache_prefix={bytecode}"] if bytecode else [])]
        self._root = os.path.realpath(tree.root)
        self._answers = Path(tempfile.mkdtemp(dir=sandbox.folder, prefix="probe-"))
        self._script = shutil.copyfile(_PROBE, self._answers / "probe.py")  # ours may be among what is hidden

    def inventory(self) -> Job:
        return self._job("inventory", [self._script, "inventory", self._result("inventory")], self._limits.pip)

    def importing(self, name: str) -> Job:
        caches = self._answers / "caches" / name
        variables = {
            variable: str(caches / variable.lower())
            for variable in ("HF_HOME", "TORCH_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR")
        }
        words: list[str | Path] = [self._script, "import", self._result(_module(name)), self._root, name]
        return self._job(_module(name), words, self._limits.module, **variables)

    def pip_jobs(self) -> list[Job]:
        pip = ["-m", "pip", "--disable-pip-version-check"]
        config = {"PIP_CONFIG_FILE": os.devnull}
        return [
            self._job("pip version", [*pip, "--version"], self._limits.pip, **config),
            self._job("pip check", [*pip, "check"], self._limits.pip, **config),
            self._job("pip list", [*pip, "list", "--format", "json"], self._limits.pip, **config),
        ]

    def answer(self, name: str, finished: Finished) -> dict[str, Any]:
        """What the probe wrote; {"failure": why} if it wrote nothing."""
        try:
            answer: dict[str, Any] = json.loads(self._result(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {"failure": self._neutral(why_it_ended(finished, self._limits.module))}
        return answer

    def outcome(self, answer: Mapping[str, Any]) -> str:
        error = answer.get("failure") or answer.get("error")
        return OK if error is None else self._neutral(str(error))

    def lines(self, finished: Finished) -> tuple[str, ...]:
        """The lines of `pip check`, sorted, of which there is always one; else why there is none."""
        if finished.timed_out or finished.returncode not in {0, 1} or not finished.stdout.strip():
            return (f"pip check does not run: {self._neutral(why_it_ended(finished, self._limits.pip))}",)
        return tuple(sorted(self._neutral(line) for line in finished.stdout.splitlines() if line.strip()))

    def pip_version(self, finished: Finished) -> str:
        words = finished.stdout.split()
        return words[1] if finished.returncode == 0 and len(words) > 1 else "does not run"

    def pip_list(self, finished: Finished) -> dict[str, str]:
        try:
            return {item["name"]: item["version"] for item in json.loads(finished.stdout)}
        except ValueError:
            return {}

    def _job(self, name: str, words: Sequence[str | Path], timeout: float, **variables: str) -> Job:
        return self._sandbox.job(name, [self._tree.python, *self._flags, *words], timeout=timeout, **variables)

    def _result(self, name: str) -> Path:
        return self._answers / f"{name}.json"

    def _neutral(self, text: str) -> str:
        """`text` without what differs between two trees or two runs: their places, and addresses of objects."""
        for path, word in (
            (self._sandbox.folder, "<scratch>"),
            (self._root, "<bundle>"),
            (self._tree.root, "<bundle>"),
        ):
            text = text.replace(str(path), word)
        return re.sub(r"\b0x[0-9a-fA-F]{6,}\b", "0x...", text)


def why_it_ended(finished: Finished, limit: float) -> str:
    """The end of a program that gave no answer, in words."""
    if finished.timed_out:
        how = f"took longer than {limit:.0f} s and was stopped"
    elif finished.returncode < 0:
        how = f"was killed by signal {-finished.returncode}"
    else:
        how = f"ended with exit code {finished.returncode}"
    return f"{how}: {finished.output_tail}" if finished.output_tail else how


def _unexpected(mapped: Sequence[str]) -> tuple[str, ...]:
    needs = system_needs()
    return tuple(path for path in mapped if ".so" in Path(path).name and not needs.allows(path))


def _script_file(tree: BundleTree, name: str) -> Path:
    return tree.scripts / (f"{name}.exe" if tree.target.is_windows else name)


def _module(name: str) -> str:
    """The job's name, apart from those that ask for something else."""
    return f"module {name}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
