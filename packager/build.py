"""The road of a build: the list of stages, in their order, each reused when nothing it depends on has changed.

    recipe -> lock -> python/ -> installed -> cleaned -> relocated -> assembled -> archive -> proved -> published

The archive is made before the proof, since it is the archive that is proved: unpacked elsewhere, as its user will.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager import cleanup, elf, helpers, release, resources, runtimes
from packager.archive.archive_tree import archive_tree, source_date_epoch
from packager.archive.extract import extract
from packager.bundle import APP_DIR, BundleTree
from packager.console import Console, format_bytes
from packager.errors import InputError, ProofError
from packager.filesystem import remove_tree, sha256_file, walk_files, write_json
from packager.install import install
from packager.journal import Journal, digest, exclusive
from packager.lock import Lock, load_lock
from packager.origins import Origins
from packager.proof.baseline import Baseline
from packager.proof.probing import take_baseline
from packager.proof.prove import BASELINE_NAME, prove_archive
from packager.recipe import Recipe
from packager.relocation.apply import apply_relocation
from packager.relocation.leaks import scan_leaks
from packager.relocation.plan import plan_relocation
from packager.report import write_report
from packager.resolve import check_source_names, resolve
from packager.targets import Target

# 2020-02-02 00:00:00 UTC: the time of every archive member unless SOURCE_DATE_EPOCH says otherwise (as hatchling does).
EPOCH = 1580601600
STAGES = ("provision", "install", "baseline", "clean", "relocate", "assemble", "archive", "prove", "publish")


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What the command line decides. `lock` is a lock file to build from; `output` gets the release files."""

    target: Target
    output: Path
    work: Path
    origins: Origins
    lock: Path | None = None
    prove: bool = True


def build(recipe: Recipe, options: BuildOptions, console: Console) -> dict[str, Any]:
    """Go the whole road. Returns the report. Raises PackagerError of many kinds; nothing is published
    unless the proof has passed."""
    with exclusive(options.work):
        road = Road(recipe, options, console)
        road.travel()
        result = road.report()
        as_json, _ = write_report(result, options.output, road.stem)
        return {**result, "report": str(as_json)}


def lock_recipe(recipe: Recipe, options: BuildOptions, console: Console, *, upgrade: bool) -> tuple[Lock, Path]:
    """Write the recipe's lock beside it unless a current one is there, or `upgrade` asks for a new one."""
    with exclusive(options.work):
        road = Road(recipe, options, console)
        path = road.lock_beside_recipe
        if upgrade or not path.is_file() or road.staleness(load_lock(path)):
            road.resolve_anew().save(path)
        return load_lock(path), path


def plan(recipe: Recipe, options: BuildOptions, console: Console) -> Lock:
    """What a build would install; nothing but the work folder's checkouts is written."""
    with exclusive(options.work):
        road = Road(recipe, options, console)
        road.run_resolve()
        return road.lock


class Road:
    """One build. Each public method named after a stage does it and returns what the journal keeps of it (JSON)."""

    def __init__(self, recipe: Recipe, options: BuildOptions, console: Console) -> None:
        check_source_names(recipe, options.origins.settings)
        self.recipe = recipe
        self.options = options
        self.console = console
        self.work = options.work.resolve()
        self.runtime = runtimes.get(recipe.runtime)
        self.facts = self.runtime.inspect(runtimes.RuntimeRequest(python=recipe.python, target=options.target))
        keeps = [(keep.pattern, keep.reason) for keep in recipe.cleanup.keep]
        self.rules = cleanup.load_rules().with_keeps(keeps, source=str(recipe.path))
        self.rules.select(recipe.cleanup.tier, recipe.cleanup.opt_in)  # a wrong id shows now, not after the install
        self.journal = Journal(self.work)
        self.results: dict[str, Any] = {}
        self.tree = BundleTree(
            root=self.work / "bundle" / recipe.root, target=options.target, python_version=self.facts.python_version
        )
        self.quarantine = self.work / "quarantine"
        self.archives = self.work / "archives"

    @property
    def stem(self) -> str:
        """The release files' name without suffix."""
        parts = [self.recipe.name, self.recipe.version, self.options.target.name]
        return "-".join([*parts, self.recipe.accelerator] if self.recipe.accelerator else parts)

    @functools.cached_property
    def lock(self) -> Lock:
        return load_lock(self.work / "lock.json")

    def travel(self) -> None:
        """Run every stage that has to run."""
        self.run_resolve()
        inputs = self._inputs()
        self._settle(inputs)
        for name in STAGES:
            self.results[name] = self.journal.run(name, inputs[name], self._announced(name), intact=self._intact(name))
        cleanup.purge(self.quarantine)

    def _announced(self, name: str) -> Callable[[], Any]:
        stage = getattr(self, name)

        def run() -> Any:
            self.console.step(name)
            return stage()

        return run

    def _intact(self, name: str) -> Callable[[Any], bool]:
        """What must still be there for the stage's recorded result to be worth anything."""
        match name:
            case "archive":
                return lambda result: all((self.archives / item["name"]).exists() for item in result)
            case "publish":
                return lambda result: release.is_published(self.archives, self.options.output, result)
            case _:
                return lambda _: self.tree.python.exists()

    def _inputs(self) -> dict[str, str]:
        """What each stage depends on; each includes the one before."""
        recipe = self.recipe
        own: dict[str, list[Any]] = {
            "provision": [release.program_digest(), self.lock.digest, recipe.models],
            "clean": [cleanup.rules_json(self.rules), recipe.cleanup.tier, recipe.cleanup.opt_in],
            "relocate": [self.build_paths],
            "assemble": [recipe.name, recipe.root, recipe.version, recipe.description, recipe.env, recipe.launch_args],
            "archive": [self.stem, recipe.archive, self.epoch],
            "prove": [self.options.prove, recipe.system_libraries],
            "publish": [str(self.options.output.resolve())],
        }
        chain, inputs = "", {}
        for name in STAGES:
            chain = digest(chain, *own.get(name, []))
            inputs[name] = chain
        return inputs

    def _settle(self, inputs: dict[str, str]) -> None:
        """Undo what can't be built upon: a half-done install, or a clean-up that other rules must redo."""
        if not self.journal.is_current("install", inputs["install"]):
            if self.journal.started("install"):
                self.journal.forget(*STAGES)
        elif not all(self.journal.is_current(name, inputs[name]) for name in ("baseline", "clean")):
            if cleanup.holds_clean_up(self.quarantine):
                cleanup.restore(self.tree.root, self.quarantine)
            elif self.journal.started("clean"):  # and what it removed is gone for good
                self.journal.forget(*STAGES)

    # -- the stages -------------------------------------------------------------------------------------------------

    def run_resolve(self) -> None:
        """Put the lock to build from into the work folder: the one given, the one beside the recipe, or a new one."""
        given = self.options.lock or (self.lock_beside_recipe if self.lock_beside_recipe.is_file() else None)
        origins = self.options.origins
        inputs = digest(
            self.recipe.digest, self.facts.identity, self.options.target.name, origins.settings,
            origins.wheels, sha256_file(given) if given else None,
        )  # fmt: skip
        if not self.journal.is_current("resolve", inputs):
            self.console.step("resolve")
        path = self.work / "lock.json"

        def action() -> str:
            lock = self._given_lock(given) if given else self.resolve_anew()
            lock.save(path)
            return lock.digest

        self.journal.run(
            "resolve", inputs, action, intact=lambda result: path.is_file() and load_lock(path).digest == result
        )

    def resolve_anew(self) -> Lock:
        return resolve(
            self.recipe,
            target=self.options.target,
            runtime=self.facts.identity,
            origins=self.options.origins,
            work=self.work / "resolve",
            console=self.console,
        )

    def _given_lock(self, path: Path) -> Lock:
        lock = load_lock(path)
        if why := self.staleness(lock):
            raise InputError(
                f"does not fit this build: {why}", where=str(path), remedy="make it anew: packager lock --upgrade"
            )
        return lock

    def staleness(self, lock: Lock) -> str | None:
        """Why `lock` is not one for this build; None if it is."""
        for what, locked, wanted in (
            ("the recipe", lock.recipe_digest, self.recipe.digest),
            ("the target", lock.target, self.options.target.name),
            ("the Python", lock.runtime, self.facts.identity),
        ):
            if locked != wanted:
                return f"{what} has changed since it was made"
        return None

    @property
    def lock_beside_recipe(self) -> Path:
        return self.recipe.path.with_name(f"{self.recipe.path.stem}.{self.options.target.name}.lock.json")

    def provision(self) -> dict[str, Any]:
        remove_tree(self.tree.root.parent)
        remove_tree(self.quarantine)
        self.tree.root.mkdir(parents=True)
        return {"glibc_floor": self.runtime.provision(self.tree, self.facts, console=self.console).glibc_floor}

    def install(self) -> dict[str, Any]:
        installed = install(
            self.lock,
            self.recipe,
            tree=self.tree,
            origins=self.options.origins,
            work=self.work,
            console=self.console,
        )
        return {**installed.to_json(), "tree": release.measure(self.tree.root)}

    def baseline(self) -> Any:
        """What the tree can do before anything is removed from it."""
        return take_baseline(
            self.tree, work=self.work / "baseline", console=self.console, env=self.recipe.env
        ).to_json()

    def clean(self) -> dict[str, Any]:
        """Move what the rules allow into the quarantine, from where it is deleted after the proof."""
        wanted = self.recipe.cleanup
        plan = cleanup.plan_cleanup(self.tree, self.rules, tier=wanted.tier, opt_in=wanted.opt_in)
        cleanup.apply(plan, self.quarantine)
        self.console.info(f"{plan.files} of {plan.tree_files} files removed, {format_bytes(plan.bytes)}")
        return {"rules": plan.to_json()["rules"], "record": cleanup.removed_record(plan)}

    def relocate(self) -> dict[str, Any]:
        plan = plan_relocation(self.tree, build_paths=self.build_paths)
        apply_relocation(plan)
        self.console.info(f"{len(plan.edits)} files made to find their own place")
        return {"edits": len(plan.edits), "glibc_floor": elf.glibc_floor(walk_files(self.tree.root))}

    def assemble(self) -> dict[str, Any]:
        """The helper scripts, README.txt and what they read in portable/."""
        helpers.install_helpers(self.tree, self.bundle_facts)
        portable = self.tree.portable
        write_json(portable / "bundle.json", self.bundle_facts)
        (portable / "lock.txt").write_text(self.lock.constraints(), encoding="utf-8")
        write_json(portable / "removed.json", self.results["clean"]["record"])
        write_json(portable / BASELINE_NAME, self.results["baseline"])
        return release.measure(self.tree.root)

    def archive(self) -> list[dict[str, Any]]:
        remove_tree(self.archives)
        self.archives.mkdir(parents=True)
        archived = []
        for kind in self.recipe.archive.formats:
            name = self.stem if kind == "dir" else f"{self.stem}.{kind}"
            done = archive_tree(
                self.tree.root,
                self.archives / name,
                format=kind,
                root_name=self.recipe.root,
                target=self.options.target,
                bundle=self.bundle_facts,
                manifest_member=f"{self.tree.portable.name}/manifest.json",
                level=self.recipe.archive.level,
                epoch=self.epoch,
                console=self.console,
            )
            archived.append({"name": name, "size": done.archive.size, "sha256": done.archive.sha256})
        release.check_path_budget(
            done.manifest, self.recipe.root, self.options.target, self.recipe.archive.max_path, self.console
        )
        return archived

    def prove(self) -> dict[str, Any]:
        if not self.options.prove:
            self.console.warn("shipped without proof, as asked")
            return {"passed": False, "checks": []}
        proof = prove_archive(
            self.archives / self.results["archive"][0]["name"],
            baseline=Baseline.from_json(self.results["baseline"]),
            scratch=self.work / "proof",
            hide=[self.tree.root.parent],
            needles=self.build_paths,
            scan=scan_leaks,
            extract=self._extract,
            system_libraries=self.recipe.system_libraries,
            console=self.console,
        )
        if not proof.passed:
            raise ProofError(
                proof.failures(), where=self.stem, remedy="nothing was published; mend the recipe and build again"
            )
        return proof.to_json()

    def _extract(self, archive: Path, folder: Path) -> None:
        extract(archive, folder, console=self.console)

    def publish(self) -> list[str]:
        return release.publish(self.archives, self.options.output)

    # -- values several stages share --------------------------------------------------------------------------------

    @property
    def build_paths(self) -> list[str]:
        """Absolute paths of this machine that must not be found in the bundle."""
        return [str(self.work), *self.facts.build_paths]

    @functools.cached_property
    def epoch(self) -> int:
        return source_date_epoch(os.environ, default=EPOCH)

    @functools.cached_property
    def bundle_facts(self) -> dict[str, Any]:
        """What portable/bundle.json holds."""
        recipe = self.recipe
        return {
            "format": 1,
            "name": recipe.name,
            "version": recipe.version,
            "description": recipe.description,
            "target": self.options.target.name,
            "accelerator": recipe.accelerator,
            "root": recipe.root,
            "python_version": self.facts.python_version,
            "app": APP_DIR,
            "env": recipe.env,
            "glibc_floor": self.results["relocate"]["glibc_floor"],
            "launch": {"args": list(recipe.launch_args)},
            "created_from": {"recipe_digest": recipe.digest, "lock_digest": self.lock.digest},
        }

    def report(self) -> dict[str, Any]:
        """All that is worth knowing of this build."""
        results, lock = self.results, dataclasses.asdict(self.lock)
        before, after = results["install"]["tree"], results["assemble"]
        return {
            "bundle": self.bundle_facts,
            "archives": [str(self.options.output / archive["name"]) for archive in results["archive"]],
            "root": self.recipe.root,
            "stages": [
                {"name": record.name, "seconds": record.seconds, "reused": record.reused} for record in self.journal.ran
            ],
            "size": {
                "before": before["bytes"],
                "after": after["bytes"],
                "archive": sum(archive["size"] for archive in results["archive"]),
            },
            "files": {"before": before["files"], "after": after["files"]},
            "proof": results["prove"],
            "cleanup": results["clean"]["rules"],
            "repositories": lock["repositories"],
            "packages": lock["packages"],
            "removed": lock["removed"],
            "install": {key: results["install"][key] for key in ("scripts", "pip_check", "drift")},
            "warnings": self.console.warnings,
        }
