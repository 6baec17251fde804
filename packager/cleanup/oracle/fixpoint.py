"""The oracle: clean, ask again, and put back what was missed, until nothing differs from the tree before.

1. The static gate takes out of the plan what the files that stay name.
2. Every probe is asked while the tree is whole; what it used leaves the plan too.
3. The plan is applied and every probe is asked again.
4. What differs is laid to removed files, or found by bisection; the tree is made whole, planned anew without them and
   cleaned. Only probes that differed are asked again, and at the end all of them.

Whatever moves is in the quarantine, so that a kill at any moment can be undone.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packager.cleanup.oracle.asking import Asker
from packager.cleanup.oracle.attribution import blamed, traced
from packager.cleanup.oracle.bisection import bisect_removals
from packager.cleanup.oracle.gate import static_gate
from packager.cleanup.oracle.gone import Finding, Gone
from packager.cleanup.oracle.lessons import exceptions_yaml
from packager.cleanup.oracle.memory import Memory
from packager.cleanup.oracle.observation import Difference, Observation, differences
from packager.cleanup.oracle.resolver import Resolver
from packager.cleanup.oracle.strace import strace_words
from packager.cleanup.oracle.subject import Ownership, Subject, read_ownership
from packager.cleanup.oracle.unsteady import Unsteady
from packager.cleanup.plan import CleanupPlan, Removal, plan_cleanup
from packager.cleanup.quarantine import apply, holds_clean_up, quarantined_files, restore
from packager.cleanup.rules import RuleSet
from packager.console import Console
from packager.errors import ProofError
from packager.filesystem import remove_tree

_MOST_TOLD = 20  # paths; more of them are in the report alone
_FEW = 3  # of the probes that failed before
_ROUNDS = 20  # each puts something back, so that there is an end; real trees need one or two


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """`plan` is what was done. `report`, None where no oracle was asked, has format 1: runs (whether the tree's Python
    could be asked), strace, probes, asked, cached, rounds, seconds, kept (path, rule, how, probe, evidence),
    failed_before and unstable (probe -> what it said), exceptions (YAML).
    """

    plan: CleanupPlan
    report: Mapping[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class OracleMeans:
    """`scratch` is a folder of ours that is emptied; `cache` where results are remembered (None: nowhere).

    `env` is added to the environment of what is asked, `skip` are top-level modules that are not. `use_strace` False
    does without it even where it is there; `gate` and `trace` False leave a step out.
    """

    scratch: Path
    cache: Path | None
    console: Console
    env: Mapping[str, str] = field(default_factory=dict)
    skip: frozenset[str] = frozenset()
    use_strace: bool = True
    gate: bool = True
    trace: bool = True


def clean_with_oracle(
    subject: Subject,
    rules: RuleSet,
    *,
    tier: str,
    opt_in: Iterable[str],
    quarantine: Path,
    means: OracleMeans,
) -> Judgement:
    """Clean the tree into `quarantine`, a folder that is new or empty, so that all probes answer as before.

    Raises ProofError if the tree's interpreter does not run, or if a difference remains; the tree is whole then.
    """
    remove_tree(means.scratch)
    try:
        return _Oracle(subject, rules, tier, tuple(opt_in), quarantine, means).run()
    finally:
        remove_tree(means.scratch)


@dataclass
class _Oracle:
    subject: Subject
    rules: RuleSet
    tier: str
    opt_in: tuple[str, ...]
    quarantine: Path
    means: OracleMeans
    findings: dict[str, Finding] = field(default_factory=dict)
    unsteady: dict[str, Unsteady] = field(default_factory=dict)
    rounds: int = 0

    def run(self) -> Judgement:
        start = time.monotonic()
        plan = self._plan()
        self.memory = Memory(self.means.cache)
        self.ownership = read_ownership(self.subject) if plan.removals else Ownership.nothing()
        self.asker = Asker(
            subject=self.subject,
            ownership=self.ownership,
            memory=self.memory,
            scratch=self.means.scratch,
            console=self.means.console,
            strace=strace_words() if self.means.use_strace else (),
        )
        before: dict[str, Observation] = {}
        if plan.removals:
            plan, before = self._judge(plan)
        report = self._report(before, time.monotonic() - start)
        if plan.removals or self.findings:  # of a tree that nothing goes from there was nothing to ask
            self._tell(report)
        return Judgement(plan=plan, report=report)

    def _tell(self, report: Mapping[str, Any]) -> None:
        self.means.console.info(
            f"oracle: {report['probes']} probes, {report['cached']} answers from the cache, "
            f"{len(report['kept'])} paths kept, {report['seconds']:.0f} s"
        )
        if failed := sorted(report["failed_before"]):
            first = ", ".join(f"`{name}`" for name in failed[:_FEW]) + (", ..." if len(failed) > _FEW else "")
            many = f"{len(failed)} probe{'s' if len(failed) > 1 else ''} failed before and could not be compared"
            self.means.console.warn(f"oracle: {many}: {first}")
        if len(report["kept"]) > _MOST_TOLD:
            self.means.console.info("the exceptions it found are in the report")
        elif report["exceptions"]:
            self.means.console.info(f"exceptions it found:\n{report['exceptions']}")

    def _judge(self, plan: CleanupPlan) -> tuple[CleanupPlan, dict[str, Observation]]:
        console = self.means.console
        whole = Gone(plan, self.subject.root)
        if self.means.gate:
            self._learn(static_gate(self.subject, whole, self.ownership, self.memory, console))
        if self.subject.python is None:
            plan = self._plan()
            apply(plan, self.quarantine)
            return plan, {}
        before = self.asker.ask(self.asker.all_probes(), "asking the whole tree", traced=True)
        if self.means.trace:
            self._learn(traced(before, whole))
        self.plan = self._plan()
        apply(self.plan, self.quarantine)
        try:
            self._settle(before)
        except BaseException:
            self._undo()
            raise
        return self.plan, before

    def _settle(self, before: Mapping[str, Observation]) -> None:
        """Put back until no probe differs."""
        suspects: Collection[str] = list(before)
        while True:
            self.rounds += 1
            what = "asking the cleaned tree" if self.rounds == 1 else "asking again"
            after = self.asker.ask(suspects, what, gone=self._gone())
            found = {name: self._different(name, before[name], after[name]) for name in suspects}
            found = {name: different for name, different in found.items() if different}
            if not found and len(suspects) == len(before):
                return
            if self.rounds > _ROUNDS:
                raise _never_the_same(found)
            if found:
                self._mend(before, found)
                suspects = list(found)
            else:
                suspects = list(before)  # what went back may have changed what others find

    def _mend(self, before: Mapping[str, Observation], found: Mapping[str, Sequence[Difference]]) -> None:
        """Ask once more and closely; then put back what accounts for the differences."""
        gone = self._gone()
        resolver = Resolver(self.subject, gone)
        close = self.asker.ask(list(found), "looking closely", gone=gone, anew=True, traced=True)
        fresh: list[Finding] = []
        unexplained = []
        for name in found:
            different = self._different(name, before[name], close[name])
            if not different:
                continue  # it is asked again in the next round
            causes = blamed(name, close[name], different, gone, resolver, self.ownership.files)
            fresh += causes
            if not causes:
                unexplained.append((name, different))
        self._learn(fresh)
        if not fresh and unexplained:
            self._bisect(before[unexplained[0][0]], *unexplained[0])
        self._reapply()
        for one in fresh:
            self.means.console.info(f"put back {one.path} ({one.rule}): {one.evidence}")

    def _bisect(self, before: Observation, name: str, different: Sequence[Difference]) -> None:
        """Put back half, a quarter, ... of the removals; what differs with all of them back is noted and left aside."""
        gone = self._gone()
        units = sorted(
            (removal for removal in self.plan.removals if not removal.emptied),
            key=lambda removal: (gone.is_rebuilt(removal), removal.rule, removal.path),
        )

        def differs(kept: Sequence[Removal]) -> list[Difference]:
            self._reapply({removal.path: "bisection" for removal in kept})
            after = self.asker.ask([name], f"bisecting {name}", gone=self._gone(), anew=True)[name]
            return self._different(name, before, after)

        noise = [*differs(units), *differs(units)]  # twice: what differs by chance may agree by chance
        if noise:
            self._note(name, noise)
            different = [one for one in different if not self.unsteady[name].covers(one)]
        if not different:
            return
        needed = bisect_removals(units, lambda kept: not differs(kept))
        if needed is None:
            self._note(name, different)
        evidence = f"`{name}` without it: {different[0]}"
        self._learn(
            Finding(path=removal.path, rule=removal.rule, how="bisection", probe=name, evidence=evidence)
            for removal in needed or ()
        )

    def _note(self, name: str, noise: Sequence[Difference]) -> None:
        self.unsteady.setdefault(name, Unsteady()).note(noise)
        told = "; ".join(sorted({str(one) for one in noise}))
        self.means.console.warn(f"oracle: `{name}` answers otherwise, also with everything back: {told}")

    def _different(self, name: str, before: Observation, after: Observation) -> list[Difference]:
        unsteady = self.unsteady.get(name)
        return [one for one in differences(before, after) if unsteady is None or not unsteady.covers(one)]

    def _learn(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.findings.setdefault(finding.path, finding)

    def _plan(self, more: Mapping[str, str] | None = None) -> CleanupPlan:
        needed = {finding.path: finding.evidence for finding in self.findings.values()} | dict(more or {})
        return plan_cleanup(self.subject.layout, self.rules, tier=self.tier, opt_in=self.opt_in, needed=needed)

    def _reapply(self, more: Mapping[str, str] | None = None) -> None:
        self._undo()
        self.plan = self._plan(more)
        apply(self.plan, self.quarantine)

    def _undo(self) -> None:
        if holds_clean_up(self.quarantine):
            restore(self.subject.root, self.quarantine)

    def _gone(self) -> Gone:
        return Gone(self.plan, quarantined_files(self.quarantine))

    def _report(self, before: Mapping[str, Observation], seconds: float) -> dict[str, Any]:
        findings = [self.findings[path] for path in sorted(self.findings)]
        return {
            "format": 1,
            "runs": self.subject.python is not None,
            "strace": bool(self.asker.strace),
            "probes": len(before),
            "asked": self.asker.asked,
            "cached": self.memory.hits,
            "rounds": self.rounds,
            "seconds": round(seconds, 1),
            "kept": [vars(finding) for finding in findings],
            "failed_before": {name: one.facts["outcome"] for name, one in before.items() if not one.is_ok},
            "unstable": {name: "; ".join(sorted(one.said)) for name, one in self.unsteady.items()},
            "exceptions": exceptions_yaml(findings, self.subject.layout),
        }


def _never_the_same(found: Mapping[str, Sequence[Difference]]) -> ProofError:
    name, different = next(iter(found.items())) if found else ("", [])
    return ProofError(
        f"after {_ROUNDS} rounds the cleaned tree still differs: {name}: {different[0] if different else ''}",
        where="clean-up oracle",
        remedy="add an exception to cleanup.keep of the recipe, or choose the tier none",
    )
