"""The proof: what must hold of the unpacked and moved bundle before it ships, and of its Python after clean-up."""

from __future__ import annotations

from packager.proof.baseline import Baseline, Difference, compare, load_baseline
from packager.proof.limits import Limits
from packager.proof.probing import take_baseline
from packager.proof.prove import BASELINE_NAME, Check, Proof, prove_archive, prove_folder
from packager.proof.sandbox import restore_hidden

__all__ = [
    "BASELINE_NAME",
    "Baseline",
    "Check",
    "Difference",
    "Limits",
    "Proof",
    "compare",
    "load_baseline",
    "prove_archive",
    "prove_folder",
    "restore_hidden",
    "take_baseline",
]
