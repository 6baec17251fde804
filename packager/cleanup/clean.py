"""The clean-up alone, on any Python tree: plan, then quarantine, where what went waits for an undo or a purge."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from packager.cleanup.layout import TreeLayout, bundle_of, detect_layout
from packager.cleanup.oracle import Judgement, OracleMeans, clean_with_oracle, subject_of
from packager.cleanup.plan import plan_cleanup
from packager.cleanup.quarantine import Restored, apply, default_quarantine, holds_clean_up, purge, restore
from packager.cleanup.rules import RuleSet
from packager.errors import InputError
from packager.fetch.cache import Cache, default_cache_root


def clean_tree(
    root: Path,
    rules: RuleSet,
    *,
    tier: str = "safe",
    opt_in: Iterable[str] = (),
    dry_run: bool = False,
    keep_quarantine: bool = True,
    oracle: OracleMeans | None = None,
) -> Judgement:
    """Clean the tree below `root` (see detect_layout for what it may be) and return what was, or would be, removed.

    An earlier clean-up that was interrupted, or whose quarantine was kept, is undone first: the plan is always of the
    whole tree. A dry run changes nothing, and asks no oracle. Raises InputError, for a finished bundle too, whose
    manifest would be wrong afterwards; PackagerError.
    """
    layout = detect_layout(root)
    quarantine = default_quarantine(layout.root)
    if dry_run:
        if holds_clean_up(quarantine):
            raise InputError(
                "holds an earlier clean-up, so that a plan would be of half a tree",
                where=str(quarantine),
                remedy="undo it first with --undo, delete it for good with --purge, or run without --dry-run",
            )
        return Judgement(plan=plan_cleanup(layout, rules, tier=tier, opt_in=opt_in), report=None)
    if bundle_of(layout.root):
        raise InputError(
            "is a bundle, whose manifest lists every file: `manage repair` would put back what goes",
            where=str(layout.root),
            remedy="set cleanup.tier in its recipe and build it again; --dry-run shows what would go",
        )
    rules.select(tier, opt_in := tuple(opt_in))  # a wrong tier or rule is found before anything moves
    with _alone(layout.root):
        if holds_clean_up(quarantine):
            _refuse_orphans(quarantine, restore(layout.root, quarantine))
        purge(quarantine)
        judged = clean_into(quarantine, layout, rules, tier=tier, opt_in=opt_in, oracle=oracle)
        if not keep_quarantine:
            purge(quarantine)
    return judged


def clean_into(
    quarantine: Path,
    layout: TreeLayout,
    rules: RuleSet,
    *,
    tier: str,
    opt_in: Iterable[str],
    oracle: OracleMeans | None,
) -> Judgement:
    """Move what goes from the tree into `quarantine`, a folder that is new or empty; with `oracle` None by rules alone.

    Raises PackagerError; ProofError if the oracle cannot ask the tree.
    """
    if oracle is not None:
        subject = subject_of(layout, env=oracle.env, skip=oracle.skip)
        return clean_with_oracle(subject, rules, tier=tier, opt_in=opt_in, quarantine=quarantine, means=oracle)
    plan = plan_cleanup(layout, rules, tier=tier, opt_in=opt_in)
    apply(plan, quarantine)
    return Judgement(plan=plan, report=None)


def undo(root: Path) -> Restored:
    """Take back the clean-up of `root` that kept its quarantine or was interrupted; InputError if there is none."""
    root = root.resolve()
    with _alone(root):
        return restore(root, default_quarantine(root))


def purge_tree(root: Path) -> bool:
    """Delete for good what a clean-up of `root` removed; whether there was anything. InputError if it is no folder."""
    if not root.is_dir():
        raise InputError("is not a folder", where=str(root), remedy="give the folder that was cleaned")
    quarantine = default_quarantine(root.resolve())
    with _alone(root.resolve()):
        there = os.path.lexists(quarantine)
        purge(quarantine)
    return there


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the tree against other clean-ups of this user. Raises InputError if one is at work there."""

    def refuse() -> None:
        raise InputError("another clean-up is at work there", where=str(root), remedy="wait until it has ended")

    name = f"clean-{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}"
    with Cache(default_cache_root()).lock(name, waiting=refuse):
        yield


def _refuse_orphans(quarantine: Path, restored: Restored) -> None:
    """A new clean-up would need the folder in which lies what has no place to go back to."""
    if restored.orphans:
        raise InputError(
            f"still holds {restored.orphans[0]} and {len(restored.orphans) - 1} more of an earlier clean-up, since the "
            "folders they lay in are gone; all else is back",
            where=str(quarantine),
            remedy="move them where you want them and delete the rest for good with --purge",
        )
