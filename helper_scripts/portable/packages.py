"""Installing and removing packages: resolved and shown first, then all of it or nothing.

What changes are the files of the packages that pip's report names, and no other. Wheels are downloaded and unpacked
beside the bundle's Python before anything of it is touched, so that neither a lost network nor a package that cannot be
built changes anything.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portable import staging, transaction
from portable.bundle import Bundle
from portable.changes import Change, Plan, Record
from portable.distributions import Distribution, installed, needed_by
from portable.errors import HelperError, UsageError
from portable.requirement_lines import Asked, Judge, LeftOut, gather, names_of
from portable.resolution import Holds, Resolution, Step, read_holds, removal, resolve
from portable.special import read_special
from portable.watch import Watch

Confirm = Callable[[], bool]
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to install. `requirements` are specifiers or wheel files, `files` requirement files.

    With `wheels_dir` only wheels of that folder are used, all of them if nothing else is named. `force` ignores the
    lock and what is protected; `smoke` is whether the app must start afterwards. A request that `is_part` of a wider
    change may name nothing.
    """

    requirements: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    wheels_dir: str | None = None
    force: bool = False
    smoke: bool = True
    is_part: bool = False


@dataclass(kw_only=True)
class Outcome:
    """What was planned and done. `record` is None if nothing was changed."""

    resolution: Resolution = field(default_factory=lambda: Resolution(steps=()))
    left_out: tuple[LeftOut, ...] = ()
    warnings: list[str] = field(default_factory=list)
    record: Record | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "changes": self.resolution.to_json(),
            "left_out": [vars(item) for item in self.left_out],
            "warnings": self.warnings,
            "applied": self.record is not None,
            "id": self.record.id if self.record else None,
        }


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """What belongs to a wider change: further requirement files, and changes besides those of packages."""

    files: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Along:
    """A wider change of which an installation is a part, such as adding a node: one transaction for all of it.

    `fetch` prepares it in an empty folder, first of all; `checks` are called once all is in place, before the others.
    """

    kind: str
    summary: str
    fetch: Callable[[Path], Fetched]
    checks: tuple[transaction.Check, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


class _Stop(Exception):  # noqa: N818 - no error: the plan was all that was wanted
    pass


def install(
    bundle: Bundle,
    request: Request,
    *,
    command: Sequence[str] = ("install",),
    along: Along | None = None,
    show: Callable[[Outcome], None] = lambda _: None,
    confirm: Confirm = lambda: True,
    say: Say = lambda _: None,
) -> Outcome:
    """Install what `request` names, as one transaction; the caller holds the lock.

    With `along` it is part of a wider change. `show` is called with the plan, then `confirm`; False ends it with
    nothing changed. Raises HelperError if it cannot be had or does not work: the bundle is then as it was.
    """
    outcome = Outcome()
    if along is None:
        _asked(request)  # what is wrong with the words is told before anything is begun

    def prepare(work: Path) -> Plan:
        fetched = Fetched()
        if along is not None:
            (work / "along").mkdir()
            fetched = along.fetch(work / "along")
        there = installed(bundle.root)
        shared = installed(bundle.base) if bundle.base and not bundle.isolated else {}
        names, special = {*there, *shared}, read_special(bundle)
        asked, sources = _asked(request, *fetched.files, judge=lambda line: special.judge(line, names))
        outcome.left_out = asked.left_out
        say("resolving")
        outcome.resolution = _resolve(bundle, request, asked, sources, work, there)
        steps = outcome.resolution.steps
        show(outcome)
        _refuse_held(outcome.resolution, request.force)
        if not (steps or fetched.changes) or not confirm():
            raise _Stop
        if steps:
            say("downloading")
        changes = (*_stage(bundle, outcome, sources, work, there), *fetched.changes)
        details = {**_details(outcome.resolution), **(along.details if along else {})}
        return Plan(summary=along.summary if along else _summary(steps), changes=changes, details=details)

    kind, first = (along.kind, along.checks) if along else ("install", ())
    return _run(bundle, outcome, prepare, kind, command, request.force, request.smoke, say, first)


def _stage(
    bundle: Bundle, outcome: Outcome, sources: Sequence[str], work: Path, there: Mapping[str, Distribution]
) -> tuple[Change, ...]:
    """Download and unpack what was resolved; the changes that put it into the bundle."""
    steps = outcome.resolution.steps
    if not steps:
        return ()
    wheels = staging.fetch_wheels(bundle, outcome.resolution.downloads, sources, work)
    prefix = staging.unpack(bundle, wheels, work, requested={step.name for step in steps if step.requested})
    shutil.rmtree(work / "wheels")
    going = [there[step.name] for step in steps if step.name in there]
    changes = staging.plan_changes(bundle.root, going, prefix)
    for name, files in staging.overwritten(bundle.root, changes, going, there.values()).items():
        outcome.warnings.append(f"{len(files)} files of {name} are replaced, such as {files[0]}")
    return changes


def uninstall(
    bundle: Bundle,
    names: Sequence[str],
    *,
    force: bool = False,
    smoke: bool = True,
    command: Sequence[str] = ("uninstall",),
    show: Callable[[Outcome], None] = lambda _: None,
    confirm: Confirm = lambda: True,
    say: Say = lambda _: None,
) -> Outcome:
    """Remove packages, as one transaction; otherwise as `install`. What others need stays unless `force`."""
    outcome = Outcome()
    wanted = names_of(names)
    if not wanted:
        raise UsageError("name the packages to remove.")

    def prepare(_: Path) -> Plan:
        there = installed(bundle.root)
        outcome.resolution = removal(wanted, there, _holds(bundle, force))
        show(outcome)
        _refuse_held(outcome.resolution, force)
        users = {
            name: by for name, by in needed_by((step.name for step in outcome.resolution.steps), there).items() if by
        }
        if users and not force:
            told = "; ".join(f"{name} is needed by {', '.join(by)}" for name, by in users.items())
            raise HelperError(f"{told}. Nothing was changed; --force removes it all the same.")
        if not confirm():
            raise _Stop
        going = [there[step.name] for step in outcome.resolution.steps]
        changes = staging.plan_changes(bundle.root, going, None)
        return Plan(summary=_summary(outcome.resolution.steps), changes=changes, details=_details(outcome.resolution))

    return _run(bundle, outcome, prepare, "uninstall", command, force, smoke, say)


def _run(
    bundle: Bundle,
    outcome: Outcome,
    prepare: Callable[[Path], Plan],
    kind: str,
    command: Sequence[str],
    force: bool,
    smoke: bool,
    say: Say,
    first: Sequence[transaction.Check] = (),
) -> Outcome:
    watch = Watch(bundle, force=force, smoke=smoke, warn=outcome.warnings.append, say=say)

    def prepare_and_look(work: Path) -> Plan:
        plan = prepare(work)
        if outcome.resolution.steps:
            watch.look_before(_module_names(bundle, outcome.resolution))
        return plan

    def look_after() -> Sequence[str]:
        found = (check() for check in (watch.checks() if outcome.resolution.steps else ()))
        return next(filter(None, found), [])

    with contextlib.suppress(_Stop):
        outcome.record = transaction.run(
            bundle, kind=kind, command=command, prepare=prepare_and_look, checks=[*first, look_after], say=say
        )
        watch.remember()
    return outcome


def _asked(request: Request, *more: str, judge: Judge = lambda line: (line, "")) -> tuple[Asked, list[str]]:
    """What goes to pip, and where it may look. `more` are further requirement files; `judge` as for `gather`."""
    words, sources = list(request.requirements), []
    files = (*request.files, *more)
    if request.wheels_dir is not None:
        folder = Path(request.wheels_dir).absolute()
        wheels = sorted(str(path) for path in folder.glob("*.whl"))
        if not wheels:
            raise HelperError(f"{folder} holds no wheels (*.whl).")
        sources = ["--no-index", "--find-links", str(folder)]
        if not words and not files:
            words = wheels
        words = [str(folder / word) if _is_in(folder, word) else word for word in words]
    if not words and not files and not request.is_part:
        raise UsageError("name a package, a wheel, -r FILE or --wheels-dir DIR.")
    return gather(words, files, judge), sources


def _is_in(folder: Path, word: str) -> bool:
    return word.endswith(".whl") and not Path(word).exists() and Path(word).name == word and (folder / word).is_file()


def _resolve(
    bundle: Bundle,
    request: Request,
    asked: Asked,
    sources: Sequence[str],
    work: Path,
    there: Mapping[str, Distribution],
) -> Resolution:
    """The resolution that goes with the lock; else one that does not, whose steps say so."""
    holds = _holds(bundle, request.force)
    if not (asked.requirements or asked.wheels):
        return Resolution(steps=())
    found = None if request.force else resolve(bundle, asked, sources, work, lock=True, there=there, holds=holds)
    if found is None:
        found = resolve(bundle, asked, sources, work, lock=False, there=there, holds=holds)
        if found is not None and not request.force and not found.held:
            raise HelperError(
                "It does not go with the packages this bundle was tested with (portable/lock.txt). Nothing was changed."
            )
    return found or Resolution(steps=())


def _holds(bundle: Bundle, force: bool) -> Holds:
    try:
        return read_holds(bundle)
    except HelperError:
        if not force:
            raise
        return Holds(lock={}, protected={})


def _refuse_held(resolution: Resolution, force: bool) -> None:
    if force or not resolution.held:
        return
    lines = "\n".join(f"  {step}" for step in resolution.held)
    raise HelperError(
        f"This changes what the bundle was tested with:\n{lines}\nNothing was changed. Ask for another version, or add "
        "--force: ComfyUI or a node may stop working then, and `manage rollback` brings it back."
    )


def _module_names(bundle: Bundle, resolution: Resolution) -> dict[str, list[str]]:
    """By package that is there after the change, the modules it has now."""
    there = installed(bundle.root)
    return {
        step.name: there[step.name].modules() if step.name in there else []
        for step in resolution.steps
        if step.after is not None
    }


def _summary(steps: Sequence[Step]) -> str:
    shown = [" ".join(filter(None, [step.action, step.name, step.after])) for step in steps if step.requested] or ["-"]
    return ", ".join(shown[:4]) + (f" and {len(steps) - len(shown[:4])} more" if len(steps) > len(shown[:4]) else "")


def _details(resolution: Resolution) -> dict[str, Any]:
    return {"packages": [{"name": step.name, "before": step.before, "after": step.after} for step in resolution.steps]}


def warn(outcome: Outcome) -> None:
    """Print the warnings of an outcome."""
    for line in outcome.warnings:
        print(f"warning: {line}", file=sys.stderr)
