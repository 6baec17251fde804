"""What each command of the command line does: a function from its words to a `Result`."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packager import cleanup, targets
from packager.accelerators import AUTO, detect
from packager.archive.admission import Limits
from packager.archive.archive_tree import archive_tree, source_date_epoch
from packager.archive.extract import extract as extract_archive
from packager.build import BuildOptions, lock_recipe, plan_build
from packager.build import build as build_bundle
from packager.console import Console, format_bytes
from packager.errors import InputError, ProofError
from packager.fetch.cache import Cache, default_cache_root
from packager.fetch.mirrors import Mirrors
from packager.install import plan_additions
from packager.origins import Origins
from packager.proof.prove import prove_archive, prove_folder
from packager.recipe import Recipe, find_recipe, load_recipe
from packager.settings import load_settings
from packager.stages import EPOCH


@dataclass(frozen=True, kw_only=True)
class Result:
    """`value` is printed with --json, `text` without."""

    value: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    exit_code: int = 0


def build(words: Namespace, console: Console) -> Result:
    recipe = _recipe(words)
    options = _options(words, recipe)
    recipe = _settle_accelerator(recipe, options, console)
    if words.dry_run:
        locked = plan_build(recipe, options, console)
        lines = [f"{repo.name} {repo.commit[:12] or repo.tree[:19]} {repo.url}" for repo in locked.repositories]
        lines += [
            f"{package.pin} from {package.index}" if package.index else package.pin for package in locked.packages
        ]
        additions = plan_additions(recipe, locked)
        return Result(value={"lock": locked.to_json(), "additions": additions}, text="\n".join([*lines, *additions]))
    report = build_bundle(recipe, options, console)
    return Result(value={key: report[key] for key in _BUILD_KEYS}, text=_build_summary(report))


_BUILD_KEYS = ("archives", "root", "report", "stages", "size", "files", "proof")


def _build_summary(report: dict[str, Any]) -> str:
    size, files, checks = report["size"], report["files"], report["proof"]["checks"]
    lines = [
        f"installed {format_bytes(size['before'])} in {files['before']} files",
        f"bundle    {format_bytes(size['after'])} in {files['after']} files",
        f"archive   {format_bytes(size['archive'])}",
        f"proved by {len(checks)} checks" if report["proof"]["passed"] else "NOT PROVED",
        *report["archives"],
    ]
    return "\n".join(lines)


def validate(words: Namespace, _: Console) -> Result:
    recipe = load_recipe(find_recipe(words.recipe))
    return Result(value={"valid": True, "recipe": str(recipe.path)}, text=f"{recipe.path}: valid")


def lock(words: Namespace, console: Console) -> Result:
    recipe = _recipe(words)
    options = _options(words, recipe)
    recipe = _settle_accelerator(recipe, options, console)
    locked, path = lock_recipe(recipe, options, console, upgrade=words.upgrade)
    counts = f"{len(locked.repositories)} repositories, {len(locked.packages)} packages"
    return Result(value={"lock": str(path), **locked.to_json()}, text=f"{path}: {counts}")


def verify(words: Namespace, console: Console) -> Result:
    bundle: Path = words.bundle
    with tempfile.TemporaryDirectory(prefix="packager-verify-") as scratch:
        means: dict[str, Any] = {"baseline": None, "scratch": Path(scratch), "needles": (), "console": console}
        if bundle.is_dir():
            proof = prove_folder(bundle, **means)
        else:
            proof = prove_archive(bundle, hide=(), extract=lambda a, b: _unpack(a, b, console), **means)
    if not proof.passed:
        raise ProofError(proof.failures(), where=str(bundle), remedy="get the bundle again, or build it anew")
    return Result(value=proof.to_json(), text=f"{bundle}: proved by {len(proof.checks)} checks")


def clean(words: Namespace, _: Console) -> Result:
    if words.undo:
        restored = cleanup.undo(words.tree)
        return Result(value=dataclasses.asdict(restored), text=f"{words.tree}: as it was before the clean-up")
    plan = cleanup.clean_tree(
        words.tree,
        cleanup.load_rules(),
        tier=words.tier,
        opt_in=words.opt_in,
        dry_run=words.dry_run,
        keep_quarantine=words.keep_quarantine,
    )
    return Result(value=plan.to_json(), text=plan.table())


def rules(_: Namespace, __: Console) -> Result:
    known = cleanup.load_rules()
    return Result(value=cleanup.rules_json(known), text=cleanup.rules_table(known))


def archive(words: Namespace, console: Console) -> Result:
    done = archive_tree(
        words.folder,
        words.output,
        console=console,
        epoch=source_date_epoch(os.environ, default=EPOCH),
        level=words.level,
        threads=words.threads,
    )
    info = {"path": str(done.archive.path), "size": done.archive.size, "sha256": done.archive.sha256}
    return Result(value=info, text=f"{done.archive.sha256}  {done.archive.path}")


def extract(words: Namespace, console: Console) -> Result:
    _unpack(words.archive, words.output, console)
    return Result(value={"path": str(words.output)}, text=str(words.output))


def _unpack(source: Path, folder: Path, console: Console) -> None:
    # Names that only Windows has no use for are fine elsewhere.
    limits = Limits(windows_names=targets.current().is_windows)
    extract_archive(source, folder, console=console, limits=limits)


def cache(words: Namespace, _: Console) -> Result:
    store = Cache(default_cache_root())
    if words.action == "clear":
        store.clear()
    info = store.info()
    if words.action == "info":
        value = {"path": str(info.root), "kinds": {kind: dataclasses.asdict(use) for kind, use in info.kinds.items()}}
        lines = [f"{kind:<6} {use.count:>6} files {format_bytes(use.size):>11}" for kind, use in info.kinds.items()]
        return Result(value=value, text="\n".join([str(info.root), *lines]))
    return Result(value={"path": str(store.root)}, text=str(store.root))


def _recipe(words: Namespace) -> Recipe:
    """The recipe with what the command line says in its place."""
    recipe = load_recipe(find_recipe(words.recipe))
    given = vars(words)
    changes: dict[str, Any] = {}
    if given.get("runtime"):
        changes["runtime"] = words.runtime
    if given.get("bundle_version"):
        changes["version"] = words.bundle_version
    if given.get("format"):
        changes["archive"] = dataclasses.replace(recipe.archive, formats=tuple(dict.fromkeys(words.format)))
    if given.get("tier"):
        changes["cleanup"] = dataclasses.replace(recipe.cleanup, tier=words.tier)
    return dataclasses.replace(recipe, **changes)


def _settle_accelerator(recipe: Recipe, options: BuildOptions, console: Console) -> Recipe:
    """The recipe with the accelerator of this machine where it says `auto`."""
    if recipe.accelerator != AUTO:
        return recipe
    found = detect(options.target)
    console.info(f"accelerator {found.accelerator}: {found.saw}")
    return dataclasses.replace(recipe, accelerator=found.accelerator)


def _options(words: Namespace, recipe: Recipe) -> BuildOptions:
    target = targets.get(words.target) if words.target else targets.current()
    settings = load_settings(sources=words.source, mirrors=words.mirror)
    if words.wheels_dir and not words.wheels_dir.is_dir():
        raise InputError("no such folder", where=str(words.wheels_dir), remedy="give a folder of wheels")
    given = vars(words)
    return BuildOptions(
        target=target,
        output=given.get("output", Path("dist")),
        work=words.work or Path("build") / f"{recipe.name}-{target.name}",
        origins=Origins(
            settings=settings,
            cache=Cache(default_cache_root()),
            mirrors=Mirrors.parse([f"{old}={new}" for old, new in settings.mirrors.items()]),
            wheels=words.wheels_dir.resolve() if words.wheels_dir else None,
            offline=words.offline or recipe.offline,
        ),
        lock=given.get("lock"),
        prove=not given.get("no_prove", False),
    )
