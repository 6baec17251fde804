"""One tree cleaned by each tier and by a naive list of names, in one run: what is left, its zip, what no longer works.

    packager realize RECIPE --home DIR       # with `cleanup: {tier: none}`: a tree nothing was taken from
    python benchmarks/cleanup_tiers.py DIR/ID [--no-zip] [--cases none naive safe aggressive]

Every probe (imports, metadata, pip, the app's start with its nodes) is asked of the whole tree, and of each cleaned one
anew, in fresh processes. "differ" counts those that answer otherwise, "failed before" those that fail in the whole tree
and so tell nothing. The tree is put back after each case. Needs room beside it for two zips.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packager import release, slim, targets
from packager.archive.archive_tree import archive_tree
from packager.bundle import BundleTree
from packager.cleanup import (
    Judgement,
    OracleMeans,
    clean_into,
    detect_layout,
    holds_clean_up,
    load_rules,
    restore,
)
from packager.cleanup.layout import bundle_of
from packager.cleanup.oracle.asking import Asker
from packager.cleanup.oracle.gone import Gone
from packager.cleanup.oracle.memory import Memory
from packager.cleanup.oracle.observation import differences
from packager.cleanup.oracle.strace import strace_words
from packager.cleanup.oracle.subject import read_ownership, subject_of
from packager.cleanup.quarantine import quarantined_files
from packager.console import Console
from packager.fetch.cache import oracle_cache
from packager.proof.needs import system_needs

_NAIVE = Path(__file__).with_name("naive_rules")
_EPOCH = 1580601600
_TOLD = 5  # of the probes that differ


@dataclass(frozen=True, kw_only=True)
class Case:
    """`tier` of the shipped rules, or of the naive ones, which are one tier and ask no oracle."""

    tier: str
    naive: bool = False
    strip: bool = False


CASES = {
    "none": Case(tier="none"),
    "naive": Case(tier="safe", naive=True),
    "safe": Case(tier="safe"),
    "aggressive": Case(tier="aggressive", strip=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path, help="what `packager realize` made, or another Python tree")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--no-zip", action="store_true")
    arguments = parser.parse_args()
    tree = arguments.tree.resolve()
    with tempfile.TemporaryDirectory(dir=tree.parent, prefix="tiers-") as folder:
        bench = Bench(tree, Path(folder), zips=not arguments.no_zip)
        print(f"{'rules':<12}{'MB':>8}{'files':>9}{'zip MB':>9}{'probes':>8}{'differ':>8}{'failed before':>15}  oracle")
        for name in arguments.cases:
            bench.measure(name, CASES[name])


class Bench:
    """`scratch` is a folder of ours on the tree's file system."""

    def __init__(self, tree: Path, scratch: Path, *, zips: bool) -> None:
        self.tree, self.scratch, self.zips = tree, scratch, zips
        self.console = Console(quiet=True)
        self.layout = detect_layout(tree)
        self.subject = subject_of(self.layout, skip=system_needs().accidental_modules)
        self.asker = Asker(
            subject=self.subject,
            ownership=read_ownership(self.subject),
            memory=Memory(oracle_cache()),
            scratch=scratch / "asker",
            console=self.console,
            strace=strace_words(),
        )
        # anew, and remembered for the oracle, which so asks the cleaned trees alone
        self.before = self.asker.ask(self.asker.all_probes(), "asking the whole tree", anew=True, traced=True)
        self.failed_before = sum(not observation.is_ok for observation in self.before.values())

    def measure(self, name: str, case: Case) -> None:
        """Print the row of one case, and what differs."""
        with self.cleaned(case) as judged:
            size = release.measure(self.tree)
            different = self.different() if case.tier != "none" else {}
            packed = f"{self.zip(name) / 1e6:9.0f}" if self.zips else f"{'':9}"
        row = f"{name:<12}{size['bytes'] / 1e6:8.0f}{size['files']:9}{packed}{len(self.before):8}{len(different):8}"
        row += f"{self.failed_before:15}"
        print(f"{row}  {_oracle(judged)}", flush=True)
        for probe, first in list(different.items())[:_TOLD]:
            print(f"{'':12}{probe}: {first[:150]}", flush=True)

    @contextmanager
    def cleaned(self, case: Case) -> Iterator[Judgement]:
        quarantine, originals = self.scratch / "quarantine", self.scratch / "originals"
        oracle = None if case.naive or case.tier == "none" else self.means()
        rules = load_rules(_NAIVE) if case.naive else load_rules()
        try:
            judged = clean_into(quarantine, self.layout, rules, tier=case.tier, opt_in=(), oracle=oracle)
            if case.strip:
                slim.strip_tree(self.bundle, slim.load_strip_rules([]), originals=originals, console=self.console)
            self.gone = Gone(judged.plan, quarantined_files(quarantine))
            yield judged
        finally:
            slim.restore_originals(self.tree, originals)
            if holds_clean_up(quarantine):
                restore(self.tree, quarantine)

    @property
    def bundle(self) -> BundleTree:
        (stdlib,) = self.subject.folders("stdlib")
        version = f"{Path(stdlib).name.removeprefix('python')}.0"
        return bundle_of(self.tree) or BundleTree(root=self.tree, target=targets.current(), python_version=version)

    def means(self) -> OracleMeans:
        return OracleMeans(
            scratch=self.scratch / "oracle",
            cache=oracle_cache(),
            console=self.console,
            skip=system_needs().accidental_modules,
        )

    def different(self) -> Mapping[str, str]:
        """Probe -> the first thing that is not as in the whole tree."""
        after = self.asker.ask(list(self.before), "asking the cleaned tree", gone=self.gone, anew=True)
        found = {name: differences(observation, after[name]) for name, observation in self.before.items()}
        return {name: str(told[0]).splitlines()[0] for name, told in found.items() if told}

    def zip(self, name: str) -> int:
        """Bytes of the tree's zip. What the zip before it has is copied from there."""
        earlier = next(iter(self.scratch.glob("*.zip")), None)
        archived = archive_tree(
            self.tree,
            self.scratch / f"{name}.zip",
            console=self.console,
            epoch=_EPOCH,
            max_part_size=2**63,
            reuse=earlier,
        )
        if earlier:
            (self.scratch / f"{name}.zip").unlink()
        return sum(one.size for one in archived.archives)


def _oracle(judged: Judgement) -> str:
    report = judged.report
    if report is None or not report["probes"]:
        return "not asked"
    return (
        f"{report['asked']} asked, {report['cached']} remembered, {len(report['kept'])} paths kept, "
        f"{report['seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
