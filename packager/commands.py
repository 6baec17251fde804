"""What each command of the command line does: a function from its words to a `Result`."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
import tempfile
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packager import cleanup, targets
from packager.archive.admission import Limits
from packager.archive.archive_tree import archive_tree, source_date_epoch
from packager.archive.checksums import mismatches
from packager.archive.content import MEMORY
from packager.archive.extract import extract as extract_archive
from packager.archive.reading import ArchiveReader
from packager.build import build as build_bundle
from packager.build import lock_recipe, plan_build, undo_clean_up, work_of
from packager.command_options import options_of, recipe_of, settle_accelerator, use_gathered
from packager.console import Console, format_bytes
from packager.errors import InputError, ProofError
from packager.fetch.cache import Cache, default_cache_root, oracle_cache
from packager.gathering.gather import gather
from packager.lock import Lock
from packager.models import folder_warnings
from packager.parts import MAX_PART_SIZE, find_parts, parse_size
from packager.proof.needs import system_needs
from packager.proof.prove import prove_archive, prove_folder
from packager.realize import choose_runtime, plan_delete
from packager.realize import delete as delete_realized
from packager.realize import realize as realize_recipe
from packager.recipe import find_recipe, load_recipe
from packager.resolution.explain import explain
from packager.stages import EPOCH


@dataclass(frozen=True, kw_only=True)
class Result:
    """`value` is printed with --json, `text` without."""

    value: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    exit_code: int = 0


def build(words: Namespace, console: Console) -> Result:
    recipe, options = use_gathered(recipe_of(words), words, console)
    if words.dry_run:
        return _planned(plan_build(recipe, options, console))
    report = build_bundle(recipe, options, console)
    cleanup.remember_savings(default_cache_root(), Path(report["archives"][0]).stem, report["cleanup"])
    return Result(value={key: report[key] for key in _BUILD_KEYS}, text=_build_summary(report))


_BUILD_KEYS = ("archives", "root", "report", "stages", "size", "files", "proof")


def _planned(locked: Lock) -> Result:
    lines = [f"{repo.name} {repo.commit[:12] or repo.tree[:19]} {repo.url}" for repo in locked.repositories]
    lines += [f"{package.pin} from {package.index}" if package.index else package.pin for package in locked.packages]
    return Result(value={"lock": locked.to_json()}, text="\n".join([*lines, *map(str, locked.additions)]))


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
    cleanup.rules_of(recipe)
    warnings = folder_warnings(recipe.models)
    text = "\n".join([f"{recipe.path}: valid", *(f"  {warning}" for warning in warnings)])
    return Result(value={"valid": True, "recipe": str(recipe.path), "warnings": warnings}, text=text)


def lock(words: Namespace, console: Console) -> Result:
    recipe = recipe_of(words)
    upgrade = None if words.upgrade is None else tuple(words.upgrade)
    written = []
    for name in dict.fromkeys(words.targets or [targets.current().name]):
        words.target = name
        options = options_of(words, recipe)
        settled = settle_accelerator(recipe, options, console)
        written.append(lock_recipe(settled, options, console, upgrade=upgrade))
    if words.explain:
        answers = [explain(locked, words.explain, where=str(path)) for locked, path in written]
        value = answers[0].to_json() if len(answers) == 1 else {"targets": [answer.to_json() for answer in answers]}
        return Result(value=value, text="\n\n".join(map(str, answers)))
    lines = []
    for locked, path in written:
        counts = f"{len(locked.repositories)} repositories, {len(locked.packages)} packages"
        lines += [f"{path}: {counts}, {len(locked.decisions)} conflicts settled", *map(str, locked.additions)]
    values = [{"lock": str(path), **locked.to_json()} for locked, path in written]
    return Result(value=values[0] if len(values) == 1 else {"locks": values}, text="\n".join(lines))


def download(words: Namespace, console: Console) -> Result:
    recipe = dataclasses.replace(recipe_of(words), offline=False)
    options = options_of(words, recipe)
    recipe = settle_accelerator(recipe, options, console)
    locked = plan_build(recipe, options, console)
    manifest = gather(
        recipe,
        locked,
        words.output,
        target=options.target,
        origins=options.origins,
        work=options.work.resolve() / "gather",
        console=console,
    )
    size = sum(file["size"] for file in manifest["files"])
    text = f"{words.output}: {len(manifest['files'])} files, {format_bytes(size)}"
    return Result(value={"folder": str(words.output), "files": len(manifest["files"]), "size": size}, text=text)


def realize(words: Namespace, console: Console) -> Result:
    words.tier = words.tier or "none"
    recipe, options = use_gathered(recipe_of(words), words, console)
    recipe = choose_runtime(recipe, options, console)
    if words.dry_run:
        with tempfile.TemporaryDirectory(prefix="packager-realize-") as scratch:
            return _planned(plan_build(recipe, dataclasses.replace(options, work=Path(scratch)), console))
    done = realize_recipe(recipe, options, words.home, console, models_dir=words.models_dir)
    unmet = sum(len(lines) for lines in done["needs"].values())
    return Result(value=done, text=f"{done['root']}: {done['files']} files, {unmet} unmet requirements of nodes")


def delete(words: Namespace, console: Console) -> Result:
    plan = plan_delete(words.id, words.home, everything=words.all)
    what = f"{len(plan.remove)} files, {format_bytes(plan.size)} of {plan.root}; {len(plan.keep)} files stay"
    value = {"root": str(plan.root), "removed": len(plan.remove), "kept": [str(path) for path in plan.keep]}
    if words.dry_run:
        return Result(value=value, text="\n".join(map(str, plan.remove)))
    if not words.yes:
        if not sys.stdin.isatty():
            raise InputError(f"would remove {what}", where="delete", remedy="say --yes, or look with --dry-run")
        if not _confirmed(f"Remove {what}?"):
            return Result(value={**value, "removed": 0}, text="nothing was removed")
    delete_realized(words.id, words.home, plan, console)
    return Result(value=value, text=f"removed {what}")


def _confirmed(question: str) -> bool:
    """Ask on stderr, since stdout may have to be one JSON object. The end of the input is a no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        return input().strip().lower() in ("y", "yes")
    except EOFError:
        return False


def verify(words: Namespace, console: Console) -> Result:
    bundle: Path = words.bundle
    with tempfile.TemporaryDirectory(prefix="packager-verify-") as scratch:
        means: dict[str, Any] = {"baseline": None, "scratch": Path(scratch), "needles": (), "console": console}
        if bundle.is_dir():
            proof = prove_folder(bundle, **means)
        else:
            _check_sums(bundle)
            proof = prove_archive(bundle, hide=(), reader=ArchiveReader(console=console, limits=_limits()), **means)
    if not proof.passed:
        remedy = "get the bundle again, or build it anew"
        raise ProofError(proof.failures(), where=str(bundle), remedy=remedy, details={"proof": proof.to_json()})
    return Result(value=proof.to_json(), text=f"{bundle}: proved by {len(proof.checks)} checks")


def clean(words: Namespace, console: Console) -> Result:
    tree: Path = words.tree
    if words.undo:
        return _undone(tree, undo_clean_up(tree) or cleanup.undo(tree))
    if words.purge:
        there = cleanup.purge_tree(tree)
        return Result(value={"purged": there}, text=f"{tree}: {'purged' if there else 'there was nothing to purge'}")
    if work_of(tree) and not words.dry_run:
        raise InputError(
            "is the tree of a build", where=str(tree), remedy="set cleanup.tier, or --tier, and build again"
        )
    judged = cleanup.clean_tree(
        tree,
        cleanup.load_rules(),
        tier=words.tier,
        opt_in=words.opt_in,
        dry_run=words.dry_run,
        keep_quarantine=words.keep_quarantine,
        oracle=_oracle(console) if words.oracle and not words.dry_run else None,
    )
    whole = cleanup.tree_bytes(tree) if words.dry_run else None
    kept = cleanup.default_quarantine(tree.resolve())
    undoable = not words.dry_run and cleanup.holds_clean_up(kept)
    text = [judged.plan.table(tree_bytes=whole), *([judged.report["exceptions"]] if judged.report else [])]
    if undoable:
        back, away = (f"`packager clean {shlex.quote(str(tree))} --{word}`" for word in ("undo", "purge"))
        text.append(f"All of it is kept in {kept} and takes room until then:\n{back} puts it back, {away} deletes it.")
    value = {**judged.plan.to_json(), "oracle": judged.report, "quarantine": str(kept) if undoable else None}
    return Result(value=value, text="\n\n".join(filter(None, text)))


def _undone(tree: Path, restored: cleanup.Restored) -> Result:
    if not restored.orphans:
        return Result(value=dataclasses.asdict(restored), text=f"{tree}: as it was before the clean-up")
    lines = [
        f"{tree}: {restored.paths} paths are back, {len(restored.orphans)} not: the folders they lay in are gone.",
        "They are still in the quarantine: make the folders and undo again, or delete them for good with --purge.",
        *(f"  {path}" for path in restored.orphans),
    ]
    return Result(value=dataclasses.asdict(restored), text="\n".join(lines), exit_code=1)


def _oracle(console: Console) -> cleanup.OracleMeans:
    scratch = Path(tempfile.mkdtemp(prefix="packager-oracle-"))
    return cleanup.OracleMeans(
        scratch=scratch, cache=oracle_cache(), console=console, skip=system_needs().accidental_modules
    )


def rules(words: Namespace, _: Console) -> Result:
    known = cleanup.rules_of(load_recipe(find_recipe(words.recipe))) if words.recipe else cleanup.load_rules()
    last = cleanup.last_savings(default_cache_root())
    return Result(value=cleanup.rules_json(known, last), text=cleanup.rules_table(known, last))


def archive(words: Namespace, console: Console) -> Result:
    if words.threads is not None and words.threads < 1:
        raise InputError(f"{words.threads} is not a number of threads", where="--threads", remedy="say 1 or more")
    if kept := cleanup.quarantines_below(words.folder):
        command = f"packager clean {shlex.quote(str(kept[0].parent))}"
        remedy = f"put it back with `{command} --undo`, or delete it for good with `{command} --purge`"
        raise InputError("holds what a clean-up removed, which would be packed too", where=str(kept[0]), remedy=remedy)
    done = archive_tree(
        words.folder,
        words.output,
        console=console,
        epoch=source_date_epoch(os.environ, default=EPOCH),
        level=words.level,
        threads=words.threads,
        reuse=words.reuse,
        memory=parse_size(words.memory, where="--memory") if words.memory else MEMORY,
        max_part_size=parse_size(words.max_part_size or MAX_PART_SIZE, where="--max-part-size"),
    )
    found = [{"path": str(info.path), "size": info.size, "sha256": info.sha256} for info in done.archives]
    lines = [f"{info.sha256}  {info.path}" for info in done.archives]
    return Result(value={"archives": found}, text="\n".join(lines))


def extract(words: Namespace, console: Console) -> Result:
    limits = _limits()
    if words.max_size:
        limits = dataclasses.replace(limits, total_size=parse_size(words.max_size, where="--max-size"))
    if words.max_ratio is not None:
        limits = dataclasses.replace(limits, ratio=words.max_ratio)
    extract_archive(words.archive, words.output, console=console, limits=limits)
    return Result(value={"path": str(words.output)}, text=str(words.output))


def _check_sums(archive: Path) -> None:
    """Raise ProofError if SHA256SUMS beside `archive` lists another hash for it, or for a part of its set."""
    if wrong := mismatches(part for part in find_parts(archive) if part.is_file()):
        raise ProofError(
            f"not what SHA256SUMS beside it lists: {', '.join(wrong)}",
            where=str(archive.parent),
            remedy="get them again; unpack nothing of it",
        )


def _limits() -> Limits:
    """Names that only Windows has no use for are fine elsewhere."""
    return Limits(windows_names=targets.current().is_windows)


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
