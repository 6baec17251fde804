"""The stages of a build after its lock: each is a method that does it and returns what the journal keeps of it (JSON).

They work on one bundle tree in the work folder; build.py knows their order and when one may be left out.
"""

from __future__ import annotations

import functools
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packager import cleanup, helpers, prefix_files, release, slim
from packager.archive.admission import Limits as UnpackLimits
from packager.archive.archive_tree import archive_tree, source_date_epoch
from packager.archive.reading import ArchiveReader
from packager.baseline_memory import remembered_baseline
from packager.binaries import elf
from packager.bundle import MANIFEST_NAME, BundleTree
from packager.bundle_facts import bundle_facts, write_facts
from packager.cleanup import RuleSet
from packager.console import Console, format_bytes
from packager.errors import ProofError
from packager.fetch.cache import oracle_cache
from packager.filesystem import remove_tree, walk_files
from packager.install import install
from packager.lock import Lock
from packager.node_needs import unmet_needs
from packager.origins import Origins
from packager.papers import write_papers
from packager.places import measure_places
from packager.probes.environment import bare_environment
from packager.proof.baseline import Baseline
from packager.proof.limits import Limits
from packager.proof.needs import system_needs
from packager.proof.probing import take_baseline
from packager.proof.prove import BASELINE_NAME, Proof, prove_archive, prove_folder
from packager.recipe import Recipe
from packager.relocation.apply import apply_relocation
from packager.relocation.leaks import scan_leaks
from packager.relocation.plan import plan_relocation
from packager.relocation.prefix_table import plan_prefix_table
from packager.runtimes import Runtime, RuntimeFacts
from packager.targets import Target

# 2020-02-02 00:00:00 UTC: the time of every archive member unless SOURCE_DATE_EPOCH says otherwise (as hatchling does).
EPOCH = 1580601600

# Folders in the work folder.
BUNDLE_FOLDER, QUARANTINE, ORIGINALS = "bundle", "quarantine", "originals"


@dataclass(frozen=True, kw_only=True)
class Stages:
    """`work` is absolute. `results` holds what the stages done so far returned, by name; the caller fills it."""

    recipe: Recipe
    lock: Lock
    target: Target
    runtime: Runtime
    facts: RuntimeFacts
    rules: RuleSet
    origins: Origins
    work: Path
    output: Path
    wants_proof: bool
    reuse: Path | None
    console: Console
    results: dict[str, Any] = field(default_factory=dict)

    def provision(self) -> dict[str, Any]:
        """A new tree with nothing but its Python."""
        remove_tree(self.tree.root.parent)
        remove_tree(self.quarantine)
        slim.purge_originals(self.originals)
        self.tree.root.mkdir(parents=True)
        facts = self.runtime.provision(self.tree, self.facts, console=self.console)
        return {"glibc_floor": facts.glibc_floor, "prefixes": prefix_files.to_json(facts.prefixes)}

    def install(self) -> dict[str, Any]:
        """ComfyUI, nodes, packages and models."""
        installed = install(
            self.lock, self.recipe, tree=self.tree, origins=self.origins, work=self.work, console=self.console
        )
        needs = unmet_needs(self.tree)
        for node, lines in needs.items():
            for line in lines:
                self.console.warn(f"{node}: {line}")
        return {**installed.to_json(), "needs": needs, "tree": release.measure(self.tree.root)}

    def baseline(self) -> dict[str, Any]:
        """What the tree can do before anything is removed from it."""
        env = self.recipe.env

        def take() -> Baseline:
            return take_baseline(self.tree, work=self.work / "baseline", console=self.console, env=env)

        baseline, remembered = remembered_baseline(self.tree, take, cache=oracle_cache(), env=env)
        if remembered:
            self.console.info(f"{len(baseline.modules)} modules as in an earlier build of the same tree")
        return baseline.to_json()

    def clean(self) -> dict[str, Any]:
        """Move what the rules allow into the quarantine, from where it is deleted after the proof."""
        wanted = self.recipe.cleanup
        places = measure_places(self.tree)
        layout = cleanup.layout_of(self.tree)
        oracle = self._oracle if wanted.oracle else None
        judged = cleanup.clean_into(
            self.quarantine, layout, self.rules, tier=wanted.tier, opt_in=wanted.opt_in, oracle=oracle
        )
        plan = judged.plan
        self.console.info(f"{plan.files} of {plan.tree_files} files removed, {format_bytes(plan.bytes)}")
        return {
            "rules": plan.to_json()["rules"],
            "record": cleanup.removed_record(plan),
            "oracle": judged.report,
            "protected": plan.protected(),
            "places": places,
        }

    def strip(self) -> dict[str, Any]:
        """Libraries lose the symbols that only debuggers read; the originals stay until the proof has passed."""
        if self.strip_rules is None:
            return slim.Stripped(saved={}, kept={}, skipped="not asked for").to_json()
        return slim.strip_tree(self.tree, self.strip_rules, originals=self.originals, console=self.console).to_json()

    def relocate(self) -> dict[str, Any]:
        """Make every file find its own place."""
        plan = plan_relocation(self.tree, build_paths=self.build_paths)
        apply_relocation(plan)
        self.console.info(f"{len(plan.edits)} files made to find their own place")
        table = plan_prefix_table(self.tree, prefix_files.from_json(self.results["provision"]["prefixes"]))
        floor = elf.glibc_floor(walk_files(self.tree.root))
        return {"edits": len(plan.edits), "glibc_floor": floor, "prefixes": table}

    def bytecode(self) -> dict[str, Any]:
        """Bytecode of what a start loads, so that the first one is as quick as the second."""
        slim.forget_compiled(self.tree)
        if not self.recipe.cleanup.wants_bytecode:
            return slim.Bytecode(failed={}, skipped="not asked for").to_json()
        with tempfile.TemporaryDirectory(dir=self.work, prefix="start-") as folder:
            environment = self._bare_environment(Path(folder))
            start = slim.trace_start(
                self.tree, scratch=Path(folder) / "start", environment=environment, timeout=Limits().quick_test
            )
        if start.fault:
            self.console.warn(f"bytecode is shipped only for what was loaded until {start.fault}")
        return slim.compile_start(self.tree, start.modules, console=self.console).to_json()

    def assemble(self) -> dict[str, Any]:
        """The helper scripts, README.txt and what they read in portable/. What was there of an earlier build goes."""
        for path in self.tree.root.iterdir():
            if path not in (self.tree.app, self.tree.prefix):
                remove_tree(path)
        helpers.install_helpers(self.tree, self.bundle_facts)
        write_facts(self.tree, self.recipe, self.lock, self.bundle_facts, self.results)
        if self.recipe.cleanup.wants_bytecode:
            with tempfile.TemporaryDirectory(dir=self.work, prefix="start-") as folder:
                environment = self._bare_environment(Path(folder))
                helpers_start = slim.trace_helpers(self.tree, scratch=Path(folder) / "start", environment=environment)
            slim.compile_start(self.tree, helpers_start.modules, console=self.console)
        Baseline.from_json(self.results["baseline"]).without_machine().save(self.tree.portable / BASELINE_NAME)
        write_papers(self.tree, self.lock, self.bundle_facts, epoch=self.epoch, console=self.console)
        return {**release.measure(self.tree.root), "places": measure_places(self.tree)}

    def archive(self) -> list[dict[str, Any]]:
        """Every format the recipe wants, in the work folder. The zip made there before serves the new one."""
        earlier = self.reuse or release.set_aside(self.archives, self.previous, f"{self.stem}.zip")
        remove_tree(self.archives)
        self.archives.mkdir(parents=True)
        archived = []
        # the zip last: its manifest tells parts and packing, and serves the other formats as well
        for kind in sorted(self.recipe.archive.formats, key=lambda kind: kind == "zip"):
            name = self.stem if kind == "dir" else f"{self.stem}.{kind}"
            done = archive_tree(
                self.tree.root,
                self.archives / name,
                format=kind,
                root_name=self.recipe.root,
                target=self.target,
                bundle=self.bundle_facts,
                manifest_member=f"{self.tree.portable.name}/{MANIFEST_NAME}",
                level=self.recipe.archive.level,
                max_part_size=self.recipe.archive.max_part_size,
                is_first=release.is_first_part,
                reuse=earlier if kind == "zip" else None,
                epoch=self.epoch,
                console=self.console,
            )
            files, size = done.manifest.repeated
            archived += [
                {
                    "name": it.path.name,
                    "size": it.size,
                    "sha256": "" if kind == "dir" else it.sha256,
                    "repeated": {"files": files, "bytes": size},
                }
                for it in done.archives
            ]
        release.add_sbom(self.archives, self.tree.portable, self.stem)
        budget = self.recipe.archive.max_path
        remove_tree(self.previous)
        release.check_path_budget(done.manifest, self.recipe.root, self.target, budget, self.console)
        return archived

    def prove(self) -> dict[str, Any]:
        """Prove the archive most people will download, all its parts; the others are made of the same manifest."""
        if not self.wants_proof:
            self.console.warn("shipped without proof, as asked")
            return {"passed": False, "checks": []}
        names = [item["name"] for item in self.results["archive"]]
        proof = self._proof(self.archives / min(names, key=_preference))
        if not proof.passed:
            release.withdraw_unproved(self.output, self.stem, self.console)
            remedy = "nothing was published; mend the recipe and build again"
            raise ProofError(proof.failures(), where=self.stem, remedy=remedy, details={"proof": proof.to_json()})
        return proof.to_json()

    def publish(self) -> dict[str, str]:
        """The release files, from the work folder to the output folder, and the lock that makes them again."""
        release.add_lock(self.archives, self.stem, self.lock)
        return release.publish(self.archives, self.output, self.stem, self.console)

    @property
    def _oracle(self) -> cleanup.OracleMeans:
        return cleanup.OracleMeans(
            scratch=self.work / "oracle",
            cache=oracle_cache(),
            console=self.console,
            env=self.recipe.env,
            skip=system_needs().accidental_modules,
        )

    def _proof(self, archive: Path) -> Proof:
        limits = UnpackLimits(windows_names=self.target.is_windows)
        means: dict[str, Any] = {
            "baseline": Baseline.from_json(self.results["baseline"]),
            "scratch": self.work / "proof",
            "needles": self.build_paths,
            "scan": scan_leaks,
            "console": self.console,
        }
        hide = [self.tree.root.parent]
        if archive.is_dir():
            return prove_folder(archive / self.recipe.root, hide=hide, **means)
        return prove_archive(archive, hide=hide, reader=ArchiveReader(console=self.console, limits=limits), **means)

    def _bare_environment(self, folder: Path) -> dict[str, str]:
        return bare_environment(folder / "home", path=os.environ.get("PATH", os.defpath), extra=self.recipe.env)

    # -- what several stages share ------------------------------------------------------------------------------------

    @property
    def tree(self) -> BundleTree:
        root = self.work / BUNDLE_FOLDER / self.recipe.root
        return BundleTree(root=root, target=self.target, python_version=self.facts.python_version)

    @property
    def quarantine(self) -> Path:
        return self.work / QUARANTINE

    @property
    def originals(self) -> Path:
        return self.work / ORIGINALS

    @functools.cached_property
    def strip_rules(self) -> slim.StripRules | None:
        """None: nothing is stripped."""
        wanted = self.recipe.cleanup
        return (
            slim.load_strip_rules([(keep.pattern, keep.reason) for keep in wanted.keep]) if wanted.wants_strip else None
        )

    @property
    def archives(self) -> Path:
        return self.work / "archives"

    @property
    def previous(self) -> Path:
        return self.work / "previous"

    @property
    def epoch(self) -> int:
        """The time of everything in the archive, in seconds (UTC)."""
        return source_date_epoch(os.environ, default=EPOCH)

    @property
    def stem(self) -> str:
        """The release files' name without suffix."""
        return release.file_stem(self.recipe, self.target)

    @property
    def build_paths(self) -> list[str]:
        """Absolute paths of this machine that must not be found in the bundle."""
        return [str(self.work), *self.facts.build_paths]

    @functools.cached_property
    def bundle_facts(self) -> dict[str, Any]:
        """What portable/bundle.json holds."""
        return bundle_facts(
            self.recipe,
            self.lock,
            self.target,
            python_version=self.facts.python_version,
            glibc_floor=self.results["relocate"]["glibc_floor"],
        )


def _preference(name: str) -> int:
    return 0 if name.endswith(".zip") else 1 if name.endswith(".tar.zst") else 2
