"""The proof: what must hold of a bundle before it ships, tried the way its user will meet it.

The archive is unpacked into a folder with a space and a letter beyond ASCII, the build tree is hidden, the environment
is bare. Everything is tried there, then the folder is moved and everything is tried again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packager import targets
from packager.bundle import PORTABLE_DIR, BundleTree
from packager.console import Console
from packager.errors import ProofError
from packager.filesystem import remove_tree
from packager.probes.environment import bare_environment, can_mask
from packager.proof import app, checks, contents, programs
from packager.proof.baseline import Baseline, load_baseline
from packager.proof.contents import Differences, LeakScan
from packager.proof.limits import Limits
from packager.proof.needs import system_needs
from packager.proof.probing import probe_tree
from packager.proof.sandbox import Sandbox, hidden, link_programs
from packager.proof.site import Site, Verdict, failed
from packager.proof.unpack import Reader, copy_bundle, unpack

BASELINE_NAME = "baseline.json"  # in portable/: lets a bundle be proved without its build
FOLDER = "proof \u00e9 space"
_MOVED_TO = Path("moved \u00fc", "deeper still")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing tried. `detail` names file and cause; a remedy with a pass is a note. `seconds` is wall time."""

    name: str
    passed: bool
    detail: str
    remedy: str | None
    seconds: float

    def __str__(self) -> str:
        return f"{self.detail}\nremedy: {self.remedy}" if self.remedy else self.detail


@dataclass(frozen=True, kw_only=True)
class Proof:
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    def failures(self) -> str:
        """Every failed check with its detail and remedy; empty if none failed."""
        return "\n".join(f"{check.name}: {check}" for check in self.checks if not check.passed)

    def to_json(self) -> dict[str, Any]:
        """The value of "proof" in `build --json`; a check's detail ends with its remedy."""
        return {
            "passed": self.passed,
            "checks": [{"name": check.name, "passed": check.passed, "detail": str(check)} for check in self.checks],
        }


def prove_archive(
    archive: Path,
    *,
    baseline: Baseline | None,
    scratch: Path,
    hide: Sequence[Path],
    needles: Sequence[str],
    console: Console,
    reader: Reader,
    scan: LeakScan | None = None,
    limits: Limits | None = None,
    mask: bool | None = None,
) -> Proof:
    """Prove the bundle in `archive`. What is unpacked below `scratch` is removed again.

    `baseline`: what must still work (None: what the bundle's own portable/baseline.json says, if there is one). `hide`:
    folders of the build, hidden meanwhile; see sandbox.hidden for `mask`. `needles`: absolute paths that no file may
    name, looked for by `scan`. `reader` says whether the archive may be unpacked at all, and whether what came out is
    what the manifest in it lists. Raises InputError for what is no bundle of this machine's target; a promise that does
    not hold is a failed check, and no exception.
    """
    bounds, scratch = limits or Limits(), scratch.resolve()
    with _scratch_folder(scratch) as folder, hidden(hide, scratch=scratch, mask=mask) as starter:
        root = unpack(archive, folder, reader=reader, timeout=bounds.unpack)
        prover = Prover(console=console, limits=bounds)
        site = prover.open(root, starter=starter, scratch=scratch, baseline=baseline)
        return prover.prove(site, scan=scan, needles=needles, differences=reader.differences)


def prove_folder(
    root: Path,
    *,
    baseline: Baseline | None,
    scratch: Path,
    needles: Sequence[str],
    console: Console,
    hide: Sequence[Path] = (),
    scan: LeakScan | None = None,
    limits: Limits | None = None,
    mask: bool | None = None,
) -> Proof:
    """Prove a copy of the unpacked bundle at `root`, which is not changed: a proof installs, moves and leaves bytecode.

    Models, inputs, outputs and caches are not copied. With bwrap the original is out of sight meanwhile. The rest is as
    for prove_archive.
    """
    bounds, scratch = limits or Limits(), scratch.resolve()
    with _scratch_folder(scratch) as folder:
        copy = copy_bundle(root, folder)
        may_mask = mask if mask is not None else can_mask()
        with hidden([*hide, *([root] if may_mask else [])], scratch=scratch, mask=may_mask) as starter:
            prover = Prover(console=console, limits=bounds)
            site = prover.open(copy, starter=starter, scratch=scratch, baseline=baseline)
            return prover.prove(site, scan=scan, needles=needles)


@contextlib.contextmanager
def _scratch_folder(scratch: Path) -> Iterator[Path]:
    """The place to unpack at, which does not exist yet; gone afterwards, as is what a killed proof left."""
    folders = [scratch / FOLDER, scratch / "sandbox"]
    for folder in folders:
        remove_tree(folder)
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        yield folders[0]
    finally:
        for folder in folders:
            remove_tree(folder)


class _Stop(Exception):  # noqa: N818 - no error: a failed check after which no other can be tried
    pass


class Prover:
    """Runs the checks in their order and keeps what each said."""

    def __init__(self, *, console: Console, limits: Limits) -> None:
        self._console = console
        self._limits = limits
        self._checks: list[Check] = []

    def open(
        self,
        root: Path,
        *,
        starter: tuple[str, ...],
        scratch: Path,
        baseline: Baseline | None,
    ) -> Site:
        """The unpacked bundle at `root` as the checks see it. Raises InputError if it is no bundle for this machine."""
        target = targets.current()
        facts = checks.read_facts(root, target)
        known = root / PORTABLE_DIR / BASELINE_NAME
        if baseline is None and known.is_file():
            baseline = load_baseline(known)
        folder = scratch / "sandbox"
        path = link_programs(folder / "bin", system_needs().programs)
        return Site(
            tree=BundleTree(root=root, target=target, python_version=facts["python_version"]),
            facts=facts,
            sandbox=Sandbox(starter=starter, environment=bare_environment(folder, path=path, extra={}), folder=folder),
            baseline=baseline,
            limits=self._limits,
            console=self._console,
            system_libraries=frozenset(facts.get("system_libraries", ())),
        )

    def prove(
        self,
        site: Site,
        *,
        scan: LeakScan | None,
        needles: Sequence[str],
        differences: Differences | None = None,
    ) -> Proof:
        """Every check at the first place, and, if all passed, again at another."""
        with contextlib.suppress(_Stop):
            self._try("layout", lambda: checks.check_layout(site.tree), gate=True)
            if differences:
                self._try("files", lambda: contents.check_files(site, differences))
            if scan and needles:
                self._try("build paths", lambda: contents.check_leaks(site, scan, needles))
            self._try("needed libraries", lambda: contents.check_needed_libraries(site))
            self._try_running(site, "")
            if all(check.passed for check in self._checks):
                moved = _move(site)
                self._try("installed package, moved", lambda: programs.check_installed_after_move(moved))
                self._try_running(moved, ", moved")
        return Proof(checks=tuple(self._checks))

    def _try_running(self, bare: Site, where: str) -> None:
        """What needs the bundle to run, in the environment that its own helper makes."""
        site = bare

        def take_environment() -> Verdict:
            nonlocal site
            verdict, environment = checks.bundle_environment(bare)
            site = replace(bare, sandbox=replace(bare.sandbox, environment=environment))
            return verdict

        self._try(f"environment{where}", take_environment)
        measured: list[Baseline] = []

        def measure() -> Verdict:
            try:
                measured.append(probe_tree(site.tree, sandbox=site.sandbox, console=self._console, limits=self._limits))
            except ProofError as error:
                return failed(str(error.what), remedy=error.remedy)
            return checks.check_versions(site, measured[0])

        self._try(f"python and pip{where}", measure)
        if not measured:
            raise _Stop
        now = measured[0]
        self._try(f"distributions{where}", lambda: checks.check_distributions(site, now))
        self._try(f"pip check{where}", lambda: checks.check_pip(site, now))
        self._try(f"imports{where}", lambda: checks.check_imports(site, now))
        self._try(f"libraries of the machine{where}", lambda: checks.check_host_libraries(site, now))
        self._try(f"console scripts{where}", lambda: programs.check_scripts(site, now.scripts))
        self._try(f"app{where}", lambda: app.check_quick_test(bare))
        self._try(f"server{where}", lambda: app.check_server(bare))
        self._try(f"install a package{where}", lambda: programs.check_install(bare))

    def _try(self, name: str, check: Callable[[], Verdict], *, gate: bool = False) -> None:
        start = time.monotonic()
        verdict = check()
        seconds = time.monotonic() - start
        self._checks.append(
            Check(name=name, passed=verdict.passed, detail=verdict.detail, remedy=verdict.remedy, seconds=seconds)
        )
        self._console.info(f"{'passed' if verdict.passed else 'FAILED'}: {name} ({seconds:.1f} s)")
        if gate and not verdict.passed:
            raise _Stop


def _move(site: Site) -> Site:
    """The same bundle deeper and under another name, as a person would move it."""
    root = site.tree.root
    place = root.parent / _MOVED_TO / f"{root.name} 2"
    place.parent.mkdir(parents=True)
    root.rename(place)
    return replace(site, tree=replace(site.tree, root=place))
