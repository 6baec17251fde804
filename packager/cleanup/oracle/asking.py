"""Putting questions to a tree, each to a fresh process with a home and caches of its own, many at a time."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packager import probes
from packager.cleanup.oracle.app_copy import AppCopy, copy_app, is_copied
from packager.cleanup.oracle.gone import Gone
from packager.cleanup.oracle.memory import Memory
from packager.cleanup.oracle.observation import Observation, Places, observe
from packager.cleanup.oracle.strace import seen_by_strace
from packager.cleanup.oracle.subject import LOOSE, PYTHON, Ownership, Subject
from packager.console import Console
from packager.errors import ProofError
from packager.filesystem import remove_tree, sha256_file
from packager.probes.app_log import parse
from packager.probes.environment import bare_environment, can_mask, read_only
from packager.probes.machine import machine_facts
from packager.probes.pool import Job, run_all
from packager.process import Finished

_WATCH = Path(__file__).with_name("watch.py")
_INVENTORY = Path(probes.__file__).with_name("probe.py")
_PROGRAMS = (
    _WATCH,
    _INVENTORY,
    *(Path(__file__).with_name(f"{name}.py") for name in ("asking", "observation", "strace")),
)
_CACHES: tuple[str, ...] = (
    "HF_HOME",
    "TORCH_HOME",
    "TRITON_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_EXTENSIONS_DIR",
    "MPLCONFIGDIR",
)
_CACHES += ("NUMBA_CACHE_DIR", "CUDA_CACHE_PATH", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
_LIMITS = {"app": 1200.0}  # seconds
_LIMIT = 300.0
INVENTORY, APP_START, PIP = "inventory", "app", ("pip check", "pip list")


@dataclass(kw_only=True)
class Asker:
    """`scratch` is a folder of ours; `strace` the words before a command, or none. `asked` counts processes."""

    subject: Subject
    ownership: Ownership
    memory: Memory
    scratch: Path
    console: Console
    strace: Sequence[str] = ()
    asked: int = 0
    _runs: int = field(default=0, init=False)
    _told: bool = field(default=False, init=False)

    def all_probes(self) -> list[str]:
        """What can be asked of the tree. Raises ProofError if its interpreter does not run."""
        inventory = self._inventory()
        points = (entry.partition(" = ")[2].partition(":")[0].partition("[")[0] for entry in inventory["entry_points"])
        modules = {*inventory["modules"], *(point.strip() for point in points)}
        wanted = sorted(name for name in modules if name and name.split(".")[0] not in self.subject.skip)
        pip = PIP if "pip" in self.ownership.identities else ()
        app = [APP_START] if self.subject.app else []
        return [*app, INVENTORY, *pip, *(f"import {name}" for name in wanted)]

    def ask(
        self, names: Collection[str], what: str, *, gone: Gone | None = None, anew: bool = False, traced: bool = False
    ) -> dict[str, Observation]:
        """The observation of each probe, in the order of `names`; those that are known from memory are not run.

        `gone` is what has been removed by now, `anew` leaves memory aside, `traced` uses strace where it is there.
        """
        removed = gone.digests(self.ownership) if gone else {}
        known = {} if anew else self._recall(names, removed)
        waiting = [name for name in names if name not in known]
        self._runs += 1
        folder = self.scratch / f"run-{self._runs}"
        folder.mkdir(parents=True)
        try:
            found = self._run(waiting, folder, what, traced) if waiting else {}
        finally:
            remove_tree(folder)
        for name, observation in found.items():
            if observation.lasts:
                self._remember(name, observation, removed)
        self.asked += len(waiting)
        return {name: known[name] if name in known else found[name] for name in names}

    def _run(self, names: Sequence[str], folder: Path, what: str, traced: bool) -> dict[str, Observation]:
        for program in (_WATCH, _INVENTORY):
            shutil.copyfile(program, folder / program.name)
        copies: dict[Path, str] = {}
        copy = None
        if APP_START in names and self.subject.app:
            copy = self._copy_app(self.subject.app, folder)
            copies[copy.place] = self.subject.app.relative_to(self.subject.root).as_posix()
        places = Places(self.subject.root, bytecode=self._bytecode, copies=copies)
        jobs = [self._job(name, folder, number, copy, traced) for number, name in enumerate(names)]
        with self.console.bar(what, len(jobs), unit="probes") as advance:
            finished = run_all(jobs, advance=advance)
        return {
            name: self._observation(name, finished[name], folder / str(number), places)
            for number, name in enumerate(names)
        }

    def _copy_app(self, app: Path, folder: Path) -> AppCopy:
        copy = copy_app(app, folder, can_bind=can_mask())
        if copy.left_out and not self._told:
            self._told = True
            names = ", ".join(copy.left_out)
            self.console.warn(
                f"oracle: the app is started without {names}: links to folders too large to copy, or unreadable"
            )
        return copy

    def _job(self, name: str, folder: Path, number: int, copy: AppCopy | None, traced: bool) -> Job:
        own = folder / str(number)
        own.mkdir()
        python, root = str(self.subject.python), str(self.subject.root)
        words = [python, "-I", "-X", "utf8", "-X", f"pycache_prefix={self._bytecode}"]
        environment = bare_environment(own, path=os.environ.get("PATH", os.defpath), extra=self.subject.env)
        environment |= {variable: str(own / variable.lower()) for variable in _CACHES}
        environment |= {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
        cwd, before = own, []
        if name == APP_START and copy:
            cwd = copy.place
            environment |= {"PYTHONPYCACHEPREFIX": str(self._bytecode), "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1"}
            environment |= {"WATCH_ROOTS": str(cwd), "GIT_PYTHON_REFRESH": "quiet"}
            before = read_only([self.subject.root, *copy.bound], scratch=self.scratch)
            main = [str(cwd / "main.py"), "--quick-test-for-ci", "--cpu"]
            words = [python, "-s", str(folder / _WATCH.name), "app", str(own / "answer"), root, *main]
        elif name == INVENTORY:
            words += [str(folder / _INVENTORY.name), "inventory", str(own / "answer")]
        elif name in PIP:
            words += ["-m", "pip", "--disable-pip-version-check", name.split()[1]]
        else:
            words += [str(folder / _WATCH.name), "import", str(own / "answer"), root, name.partition(" ")[2]]
        if traced and self.strace:
            words = [*self.strace, "-o", str(own / "strace"), *words]
        command = (*before, *words)
        return Job(name=name, command=command, cwd=cwd, env=environment, timeout=_LIMITS.get(name, _LIMIT))

    def _observation(self, name: str, finished: Finished, own: Path, places: Places) -> Observation:
        if name in PIP:
            if finished.timed_out or finished.returncode < 0:
                return Observation(facts={"outcome": places.neutral(_why_it_ended(finished))})
            lines = sorted(line for line in finished.stdout.splitlines() if line.strip())
            return Observation(
                facts={"exit code": str(finished.returncode), **{f"line {line}": "there" for line in lines}}
            )
        try:
            answer: dict[str, Any] = json.loads((own / "answer").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            answer = {}
        if not answer:
            return Observation(facts={"outcome": places.neutral(_why_it_ended(finished))})
        if name == INVENTORY:
            facts = {f"distribution {one}": version for one, version in answer["distributions"].items()}
            facts |= {f"files of {one}": "no RECORD" for one in answer["unlisted"]}
            return Observation(facts=facts | {f"entry point {point}": "there" for point in answer["entry_points"]})
        straced = seen_by_strace(own / "strace", next(iter(places.copies), own) if name == APP_START else own)
        observation = observe(answer, places, straced=straced)
        if name != APP_START:
            return observation
        log = parse(f"{finished.stdout}\n{finished.stderr}")
        nodes = {f"custom node {node.name}": "IMPORT FAILED" if node.failed else "loaded" for node in log.imports}
        nodes |= {f"custom node {failure.name}": "IMPORT FAILED" for failure in log.failures}
        return replace(
            observation,
            facts={**observation.facts, **nodes},
            touched=frozenset(filter(is_copied, observation.touched)),
            seen=frozenset(filter(is_copied, observation.seen)),
        )

    def _inventory(self) -> dict[str, Any]:
        folder = self.scratch / "inventory"
        folder.mkdir(parents=True)
        shutil.copyfile(_INVENTORY, folder / _INVENTORY.name)
        try:
            job = self._job(INVENTORY, folder, 0, None, traced=False)
            finished = run_all([job])[INVENTORY]
            answer: dict[str, Any] = json.loads((folder / "0" / "answer").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ProofError(
                f"the interpreter does not run: {_why_it_ended(finished)}",
                where=str(self.subject.python),
                remedy="build the runtime again, or clean without the oracle",
            ) from error
        finally:
            remove_tree(folder)
        return answer

    @property
    def _bytecode(self) -> Path:
        """Shared by all probes: bytecode is only read where its source is there and unchanged (PEP 3147)."""
        return self.scratch / "bytecode"

    # -- memory --------------------------------------------------------------------------------------------------------

    def _key(self, name: str, removed: Mapping[str, str]) -> list[object]:
        return ["probe", name, bool(removed), *self._situation]

    @functools.cached_property
    def _situation(self) -> list[object]:
        """What an answer depends on besides the question and what it touched."""
        env = self.subject.env
        machine = machine_facts(self.subject.python, env=env)
        programs = [sha256_file(path) for path in _PROGRAMS]
        return [bool(self.strace), programs, machine, self.ownership.names, sorted(env.items())]

    def _recall(self, names: Iterable[str], removed: Mapping[str, str]) -> dict[str, Observation]:
        """A result holds while all that the probe touched is the same, and as much of it is gone."""
        known = {}
        for name in names:
            key = self._key(name, removed)
            entry = self.memory.recall(*key)
            if entry and all(self._state(owner, removed) == state for owner, state in entry["states"].items()):
                self.memory.count(*key)
                known[name] = Observation.from_json(entry["observation"])
        return known

    def _remember(self, name: str, observation: Observation, removed: Mapping[str, str]) -> None:
        if name in (INVENTORY, *PIP):
            owners = set(self.ownership.identities)
        else:
            owners = {self.ownership.owner(path) for path in observation.touched | observation.seen} | {PYTHON, LOOSE}
        states = {owner: self._state(owner, removed) for owner in sorted(owners)}
        self.memory.remember({"states": states, "observation": observation.to_json()}, *self._key(name, removed))

    def _state(self, owner: str, removed: Mapping[str, str]) -> list[str]:
        return [self.ownership.identities.get(owner, ""), removed.get(owner, "")]


def _why_it_ended(finished: Finished) -> str:
    if finished.timed_out:
        return "took too long and was stopped"
    how = f"killed by signal {-finished.returncode}" if finished.returncode < 0 else f"exit code {finished.returncode}"
    return f"{how}: {finished.output_tail}" if finished.output_tail else how
