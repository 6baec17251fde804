"""Clean-up: rules say what may go, a plan finds it, a quarantine holds it until the proof has passed."""

from packager.cleanup.clean import clean_into, clean_tree, purge_tree, undo
from packager.cleanup.layout import TreeLayout, detect_layout, layout_of
from packager.cleanup.listing import rules_json, rules_table
from packager.cleanup.oracle import Judgement, OracleMeans
from packager.cleanup.plan import CleanupPlan, Removal, Saving, plan_cleanup, tree_bytes
from packager.cleanup.quarantine import (
    Restored,
    apply,
    default_quarantine,
    holds_clean_up,
    purge,
    quarantines_below,
    restore,
)
from packager.cleanup.recipe_rules import rules_of
from packager.cleanup.removed import removed_record, write_removed
from packager.cleanup.rules import Keep, Protection, Rule, RuleSet, load_rules
from packager.cleanup.savings import LastSaving, last_savings, remember_savings
from packager.cleanup.walk import Kept

__all__ = [
    "CleanupPlan",
    "Judgement",
    "Keep",
    "Kept",
    "LastSaving",
    "OracleMeans",
    "Protection",
    "Removal",
    "Restored",
    "Rule",
    "RuleSet",
    "Saving",
    "TreeLayout",
    "apply",
    "clean_into",
    "clean_tree",
    "default_quarantine",
    "detect_layout",
    "holds_clean_up",
    "last_savings",
    "layout_of",
    "load_rules",
    "plan_cleanup",
    "purge",
    "purge_tree",
    "quarantines_below",
    "remember_savings",
    "removed_record",
    "restore",
    "rules_json",
    "rules_of",
    "rules_table",
    "tree_bytes",
    "undo",
    "write_removed",
]
