"""Making a tree smaller or quicker without taking a file away: libraries without symbols, bytecode for its start."""

from packager.slim.bytecode import Bytecode, compile_start, forget_compiled
from packager.slim.originals import holds_originals, purge_originals, restore_originals
from packager.slim.start import trace_helpers, trace_start
from packager.slim.strip import Stripped, strip_tree
from packager.slim.strip_rules import StripRules, load_strip_rules

__all__ = [
    "Bytecode",
    "StripRules",
    "Stripped",
    "compile_start",
    "forget_compiled",
    "holds_originals",
    "load_strip_rules",
    "purge_originals",
    "restore_originals",
    "strip_tree",
    "trace_helpers",
    "trace_start",
]
