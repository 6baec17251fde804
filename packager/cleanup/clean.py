"""The clean-up alone, on any Python tree: plan, quarantine, and either delete or keep for an undo."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from packager.cleanup.layout import TreeLayout, detect_layout
from packager.cleanup.oracle import Judgement, OracleMeans, clean_with_oracle, subject_of
from packager.cleanup.plan import plan_cleanup
from packager.cleanup.quarantine import Restored, apply, default_quarantine, holds_clean_up, purge, restore
from packager.cleanup.rules import RuleSet
from packager.errors import InputError


def clean_tree(
    root: Path,
    rules: RuleSet,
    *,
    tier: str = "safe",
    opt_in: Iterable[str] = (),
    dry_run: bool = False,
    keep_quarantine: bool = False,
    oracle: OracleMeans | None = None,
) -> Judgement:
    """Clean the tree below `root` (see detect_layout for what it may be) and return what was, or would be, removed.

    An earlier clean-up that was interrupted, or whose quarantine was kept, is undone first: the plan is always of the
    whole tree. A dry run changes nothing, and asks no oracle. Raises InputError, PackagerError.
    """
    layout = detect_layout(root)
    quarantine = default_quarantine(layout.root)
    earlier = holds_clean_up(quarantine)
    if dry_run:
        if earlier:
            raise InputError(
                "holds an earlier clean-up, so that a plan would be of half a tree",
                where=str(quarantine),
                remedy="undo it first with --undo, or run without --dry-run",
            )
        return Judgement(plan=plan_cleanup(layout, rules, tier=tier, opt_in=opt_in), report=None)
    rules.select(tier, opt_in := tuple(opt_in))  # a wrong tier or rule is found before anything moves
    if earlier:
        restore(layout.root, quarantine)
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
    return restore(root, default_quarantine(root))
