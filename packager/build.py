"""The road of a build: which stages there are, in which order, and which may be left out because nothing has changed.

    recipe -> lock -> python/ -> installed -> cleaned -> relocated -> assembled -> archive -> proved -> published

The archive is made before the proof, since it is the archive that is proved: unpacked elsewhere, as its user will.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from packager import cleanup, release, resources, runtimes, slim
from packager.build_options import BuildOptions, locking_for, runtime_request, told_at_once
from packager.console import Console
from packager.gathering import offline
from packager.gathering.offline import Stock
from packager.journal import Journal, digest, exclusive
from packager.lock import Lock, load_lock
from packager.models import folder_warnings
from packager.proof import restore_hidden
from packager.recipe import Recipe
from packager.report import write_report
from packager.stages import BUNDLE_FOLDER, ORIGINALS, QUARANTINE, Stages

_INSTALLED = ("torch", "patches", "native", "changes", "scripts", "pip_check", "drift", "needs")
STAGES = (
    "provision",
    "install",
    "baseline",
    "clean",
    "strip",
    "relocate",
    "bytecode",
    "assemble",
    "archive",
    "prove",
    "publish",
)

# Rooms that one stage alone works with: a change there leaves what the stages before have made as it is.
_ROOMS = {
    "clean": ("cleanup",),
    "strip": ("slim",),
    "bytecode": ("slim",),
    "relocate": ("relocation",),
    "assemble": ("helpers.py", "bundle_facts.py", "helper_scripts", "papers"),
    "archive": ("archive",),
    "prove": ("proof",),
    "publish": ("report.py", "report.html", "cli.py", "commands.py", "command_options.py"),
}


def build(recipe: Recipe, options: BuildOptions, console: Console) -> dict[str, Any]:
    """Go the whole road and return the report. Nothing is published unless the proof has passed, or was declined.

    Raises PackagerError of every kind. Run again after any end, it goes on from where it stopped.
    """
    with exclusive(options.work):
        journal = Journal(options.work.resolve())
        stages = _prepare(recipe, options, journal, console)
        travel(stages, journal, keep_quarantine=options.keep_quarantine)
        report = _report(stages, journal)
        as_json, _ = write_report(report, options.output, stages.stem)
        return {**report, "report": str(as_json)}


def plan_build(recipe: Recipe, options: BuildOptions, console: Console) -> Lock:
    """What a build would install. Only the lock and the checkouts in the work folder are written."""
    with exclusive(options.work):
        _check(recipe, console)
        request = runtime_request(recipe, options, console, refresh=options.refresh_lock)
        with told_at_once(recipe, options, request, anew=options.refresh_lock):
            locking = locking_for(recipe, options, runtimes.get(recipe.runtime).identify(request), console)
            return locking.obtain(Journal(options.work.resolve()), options.lock, refresh=options.refresh_lock)


def lock_recipe(
    recipe: Recipe, options: BuildOptions, console: Console, *, upgrade: Collection[str] | None
) -> tuple[Lock, Path]:
    """Write the recipe's lock beside it, unless a current one is there. `upgrade`: see Locking.refresh."""
    with exclusive(options.work):
        request = runtime_request(recipe, options, console, refresh=True, renew=upgrade == ())
        with told_at_once(recipe, options, request, anew=True):
            locking = locking_for(recipe, options, runtimes.get(recipe.runtime).identify(request), console)
            path = locking.beside_recipe
            locking.refresh(path, upgrade=upgrade)
            return load_lock(path), path


def build_tree(recipe: Recipe, options: BuildOptions, console: Console) -> Stages:
    """Go the road up to the finished bundle tree; there is no archive and no proof."""
    with exclusive(options.work):
        journal = Journal(options.work.resolve())
        stages = _prepare(recipe, options, journal, console)
        travel(stages, journal, until="assemble")
        return stages


def work_of(root: Path) -> Path | None:
    """The work folder of the build whose bundle tree `root` is; None if it is none."""
    work = root.resolve().parent.parent
    return work if root.resolve().parent.name == BUNDLE_FOLDER and (work / "journal.json").is_file() else None


def undo_clean_up(root: Path) -> cleanup.Restored | None:
    """Put back what the clean-up took from `root`, the bundle tree in a work folder whose build kept its quarantine.

    None if `root` is no such tree. The next build installs anew. Raises InputError if there is nothing to put back.
    """
    root = root.resolve()
    work = work_of(root)
    if work is None:
        return None
    with exclusive(work):
        slim.restore_originals(root, work / ORIGINALS)
        restored = cleanup.restore(root, work / QUARANTINE)
        Journal(work).forget(*STAGES)  # relocated files stay, so that the next build starts from a new tree
        return restored


def travel(stages: Stages, journal: Journal, *, until: str = STAGES[-1], keep_quarantine: bool = False) -> None:
    """Run every stage that has to run, up to and with `until`."""
    restore_hidden(stages.tree.root.parent)  # a proof that was killed may have left it under another name
    inputs = stage_inputs(stages)
    _settle(stages, journal, inputs)
    if not journal.is_current("install", inputs["install"]):
        offline.check(
            Stock(recipe=stages.recipe, target=stages.target, origins=stages.origins, work=stages.work), stages.lock
        )
    for name in STAGES[: STAGES.index(until) + 1]:
        action = _announced(name, getattr(stages, name), stages.console)
        stages.results[name] = journal.run(name, inputs[name], action, intact=_intact(name, stages))
    if not keep_quarantine:
        cleanup.purge(stages.quarantine)
        slim.purge_originals(stages.originals)


def stage_inputs(stages: Stages) -> dict[str, str]:
    """What each stage depends on, as a digest; each includes the one before."""
    recipe = stages.recipe
    own: dict[str, list[Any]] = {
        "provision": [stages.facts.identity, stages.lock.digest, recipe.models, recipe.model_mode],
        "clean": [cleanup.rules_json(stages.rules), recipe.cleanup.tier, recipe.cleanup.opt_in, recipe.cleanup.oracle],
        "strip": [stages.strip_rules],
        "relocate": [stages.build_paths],
        "bytecode": [recipe.cleanup.wants_bytecode, recipe.env],
        "assemble": [dataclasses.replace(recipe, path=Path()), os.environ.get("SOURCE_DATE_EPOCH")],
        "archive": [stages.stem, recipe.archive, os.environ.get("SOURCE_DATE_EPOCH")],
        "prove": [stages.wants_proof],
        "publish": [str(stages.output.resolve())],
    }
    program = resources.program_digests()
    elsewhere = {room for rooms in _ROOMS.values() for room in rooms}
    chain = digest({room: value for room, value in program.items() if room not in elsewhere})
    inputs = {}
    for name in STAGES:
        chain = digest(chain, *own.get(name, []), *(program[room] for room in _ROOMS.get(name, ())))
        inputs[name] = chain
    return inputs


def _settle(stages: Stages, journal: Journal, inputs: dict[str, str]) -> None:
    """Undo what can't be built upon: a half-done install, or a clean-up that must be done anew."""
    if not journal.is_current("install", inputs["install"]):
        if journal.started("install"):
            journal.forget(*STAGES)
    elif not all(journal.is_current(name, inputs[name]) for name in ("baseline", "clean")):
        slim.restore_originals(stages.tree.root, stages.originals)
        if cleanup.holds_clean_up(stages.quarantine):
            cleanup.restore(stages.tree.root, stages.quarantine)
        elif journal.started("clean"):  # and what it removed is gone for good
            journal.forget(*STAGES)
    elif not journal.is_current("strip", inputs["strip"]):
        if journal.started("relocate"):  # which strip must not come after: patched libraries come out damaged
            journal.forget(*STAGES)
        else:
            slim.restore_originals(stages.tree.root, stages.originals)


def _announced(name: str, stage: Callable[[], Any], console: Console) -> Callable[[], Any]:
    def run() -> Any:
        console.step(name)
        return stage()

    return run


def _intact(name: str, stages: Stages) -> Callable[[Any], bool]:
    """What must still be there for the stage's recorded result to be worth anything."""
    match name:
        case "archive":
            return lambda result: release.is_intact(stages.archives, {item["name"]: item["sha256"] for item in result})
        case "publish":
            return lambda result: release.is_intact(stages.output, result)
        case _:
            return lambda _: stages.tree.python.exists()


def _prepare(recipe: Recipe, options: BuildOptions, journal: Journal, console: Console) -> Stages:
    """All that can be wrong before anything is installed is found here."""
    rules = _check(recipe, console)
    request = runtime_request(recipe, options, console, refresh=options.refresh_lock)
    with told_at_once(recipe, options, request, anew=options.refresh_lock):
        facts = runtimes.get(recipe.runtime).inspect(request)
        locking = locking_for(recipe, options, runtimes.locked_identity(facts), console)
        lock = locking.obtain(journal, options.lock, refresh=options.refresh_lock)
    return Stages(
        recipe=recipe,
        lock=lock,
        target=options.target,
        runtime=runtimes.get(recipe.runtime),
        facts=facts,
        rules=rules,
        origins=options.origins,
        work=options.work.resolve(),
        output=options.output,
        wants_proof=options.prove,
        reuse=options.reuse,
        console=console,
    )


def _check(recipe: Recipe, console: Console) -> cleanup.RuleSet:
    """The clean-up rules with the recipe's own. Raises InputError where the recipe names what they don't know."""
    rules = cleanup.rules_of(recipe)
    for warning in folder_warnings(recipe.models):
        console.warn(warning)
    return rules


def _report(stages: Stages, journal: Journal) -> dict[str, Any]:
    """All that is worth knowing of this build."""
    results, lock = stages.results, dataclasses.asdict(stages.lock)
    before, after = results["install"]["tree"], results["assemble"]
    return {
        "bundle": stages.bundle_facts,
        "archives": [str(stages.output / archive["name"]) for archive in results["archive"]],
        "root": stages.recipe.root,
        "stages": [{"name": ran.name, "seconds": ran.seconds, "reused": ran.reused} for ran in journal.ran],
        "size": {
            "before": before["bytes"],
            "after": after["bytes"],
            "archive": sum(archive["size"] for archive in results["archive"]),
        },
        "files": {"before": before["files"], "after": after["files"]},
        "proof": results["prove"],
        "cleanup": results["clean"]["rules"],
        "oracle": results["clean"]["oracle"],
        "protected": results["clean"]["protected"],
        "places": {"before": results["clean"]["places"], "after": after["places"]},
        "repeated": results["archive"][0]["repeated"],
        "strip": results["strip"],
        "bytecode": results["bytecode"],
        "repositories": lock["repositories"],
        "packages": lock["packages"],
        "asked": lock["asked"],
        "conflicts": lock["decisions"],
        "removed": lock["removed"],
        "additions": lock["additions"],
        "install": {key: results["install"][key] for key in _INSTALLED},
        "warnings": stages.console.warnings,
    }
