"""The whole proof of small real bundles: sound ones pass, both ways of hiding; hostile and damaged archives are refused."""

from __future__ import annotations

from pathlib import Path

from proof_bundles import LIMITS, Original, zip_tree

from packager.console import Console
from packager.proof.prove import prove_archive
from packager.relocation import scan_leaks


def test_sound(original: Original, tmp_path: Path, console: Console) -> None:
    archive = zip_tree(original.tree.root, tmp_path / "sample.zip")
    proof = prove_archive(
        archive,
        baseline=original.baseline,
        scratch=tmp_path / "scratch",
        hide=[original.tree.root],
        needles=[str(original.tree.root)],
        scan=scan_leaks,
        console=Console(),
        limits=LIMITS,
    )
    for c in proof.checks:
        print(c.name, c.passed, round(c.seconds, 2), c)
    assert 0
