"""What a clean-up would remove, by which rule, and what stays in spite of one. Planning changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.bundle import BundleTree
from packager.cleanup.layout import TreeLayout, layout_of
from packager.cleanup.links import hops
from packager.cleanup.rules import Rule, RuleSet
from packager.cleanup.walk import Found, Kept, Walk, lineage, printable
from packager.cleanup.web_folders import served_folders
from packager.console import format_bytes
from packager.filesystem import walk_files


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A file, link or folder that goes. `path` is from the root with forward slashes; undecodable bytes are surrogates.

    `files` and `bytes` are those below a folder; a file with several names counts its bytes once, and only if no name
    of it stays. `emptied`: the folder's content goes by removals of its own, listed before it.
    """

    path: str
    rule: str
    package: str
    files: int
    bytes: int
    is_dir: bool
    emptied: bool = False


@dataclass(frozen=True, kw_only=True)
class Saving:
    """What one rule or one package saves."""

    name: str
    files: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class CleanupPlan:
    """`removals` are in the order in which they are done. `tree_files` counts files and links before."""

    root: Path
    tier: str
    opt_in: tuple[str, ...]
    rules: tuple[Rule, ...]
    removals: tuple[Removal, ...]
    kept: tuple[Kept, ...]
    tree_files: int

    @property
    def files(self) -> int:
        return sum(removal.files for removal in self.removals)

    @property
    def bytes(self) -> int:
        return sum(removal.bytes for removal in self.removals)

    def by_rule(self) -> list[Saving]:
        """Largest first."""
        return _add_up(self.removals, lambda removal: removal.rule)

    def by_package(self) -> list[Saving]:
        """Largest first. Outside site-packages and nodes a package is `(stdlib)`, `(prefix)` or `(app)`."""
        return _add_up(self.removals, lambda removal: removal.package)

    def protected(self) -> list[dict[str, Any]]:
        """What stays in spite of a rule, by rule, protector and reason: how many paths, and one of them."""
        groups: dict[tuple[str, str, str], list[str]] = {}
        for kept in self.kept:
            groups.setdefault((kept.rule, kept.by, kept.reason), []).append(printable(kept.path))
        return [
            {"rule": rule, "by": by, "reason": reason, "paths": len(paths), "example": min(paths)}
            for (rule, by, reason), paths in sorted(groups.items())
        ]

    def table(self, *, tree_bytes: int | None = None, packages: int = 15) -> str:
        """For people: by rule, then the `packages` that shrink most. Shares are of `tree_bytes`, or of what goes."""
        whole = tree_bytes if tree_bytes is not None else self.bytes
        lines = [
            f"{self.files} of {self.tree_files} files go, {format_bytes(self.bytes)}{_share(self.bytes, tree_bytes)}"
        ]
        for title, savings in (("rule", self.by_rule()), ("package", self.by_package()[:packages])):
            if savings:
                lines += ["", f"{title:<32} {'files':>8} {'bytes':>11} {'share':>7}"]
                lines += [
                    f"{saving.name:<32} {saving.files:>8} {format_bytes(saving.bytes):>11} "
                    f"{saving.bytes / whole if whole else 0:>7.1%}"
                    for saving in savings
                ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values; paths are made printable."""
        why = {rule.id: rule.why for rule in self.rules}
        return {
            "tier": self.tier,
            "opt_in": list(self.opt_in),
            "files": {"before": self.tree_files, "removed": self.files},
            "bytes": self.bytes,
            "rules": [
                {"rule": saving.name, "why": why[saving.name], "files": saving.files, "bytes": saving.bytes}
                for saving in self.by_rule()
            ],
            "packages": [
                {"package": saving.name, "files": saving.files, "bytes": saving.bytes} for saving in self.by_package()
            ],
            "removals": [
                {
                    "path": printable(removal.path) + ("/" if removal.is_dir else ""),
                    "rule": removal.rule,
                    "files": removal.files,
                    "bytes": removal.bytes,
                }
                for removal in self.removals
            ],
            "kept": [
                {"path": printable(kept.path), "rule": kept.rule, "by": kept.by, "reason": kept.reason}
                for kept in self.kept
            ],
        }


def plan_cleanup(
    tree: BundleTree | TreeLayout,
    rules: RuleSet,
    *,
    tier: str = "safe",
    opt_in: Iterable[str] = (),
    needed: Mapping[str, str] | None = None,
) -> CleanupPlan:
    """Plan with the rules of `tier` (none, safe, aggressive) and the opt-in rules named.

    `needed` maps paths to the evidence that they, with all below them, have to stay: what the oracle found. A link that
    stays keeps what it points to. Raises InputError (unknown tier or rule, a tree nested too deeply) or PackagerError
    (a folder that cannot be read).
    """
    layout = layout_of(tree) if isinstance(tree, BundleTree) else tree
    opt_in = tuple(sorted(set(opt_in)))
    selected = rules.select(tier, opt_in, os=layout.os, foreign=layout.foreign)
    held = {path: ("oracle", evidence) for path, evidence in (needed or {}).items()}
    held |= {
        f"{folder}/{path}" if folder else path: ("tree", "a node has it served to the browser (WEB_DIRECTORY)")
        for folder, scopes in layout.scopes.items()
        if "nodes" in scopes
        for path in served_folders(layout.root / folder)
    }
    while True:
        walk = Walk(layout, selected, rules.protections, held)
        walk.run()
        wanted = _wanted_by_links(layout.root, walk)
        if not wanted:
            break
        held |= wanted
    return CleanupPlan(
        root=layout.root,
        tier=tier,
        opt_in=opt_in,
        rules=selected,
        removals=tuple(_removals(walk.found, layout)),
        kept=tuple(walk.kept),
        tree_files=walk.files,
    )


def tree_bytes(root: Path) -> int:
    """Bytes of all files and links below `root`; a file with several names counts once. Reads every file's status."""
    sizes = {}
    for path in walk_files(root):
        status = path.lstat()
        sizes[(status.st_dev, status.st_ino)] = status.st_size
    return sum(sizes.values())


def _wanted_by_links(root: Path, walk: Walk) -> dict[str, tuple[str, str]]:
    """What would go although a link that stays points to it, with the reason to hold it."""
    going = {found.path for found in walk.found}
    wanted = {}
    for link in walk.links:
        for place in hops(root / link):
            path = place.relative_to(root).as_posix() if place.is_relative_to(root) and place != root else ""
            if any(above in going for above in lineage(path)):
                wanted[path] = ("tree", f"{printable(link)} is a link to it")
    return wanted


def _removals(found: Iterable[Found], layout: TreeLayout) -> Iterator[Removal]:
    packages: dict[str, str] = {}  # what lies in one folder belongs to one package, but for the folder of all packages
    for one in found:
        parent = one.path.rpartition("/")[0]
        package = packages.get(parent) or _package(one.path, layout)
        if parent not in layout.scopes:
            packages[parent] = package
        yield Removal(
            path=one.path,
            rule=one.rule.id,
            package=package,
            files=one.files,
            bytes=one.bytes,
            is_dir=one.is_dir,
            emptied=one.emptied,
        )


def _package(path: str, layout: TreeLayout) -> str:
    """Whose a path is: the first name below site-packages or custom_nodes, else the scope."""
    for folder in (*lineage(path), ""):
        scopes = layout.scopes.get(folder)
        if scopes and folder != path:
            if scopes[0] not in ("site-packages", "nodes"):
                return f"({scopes[0]})"
            return printable(path[len(folder) + 1 if folder else 0 :].partition("/")[0])
    raise AssertionError(path)


def _add_up(removals: Iterable[Removal], key: Callable[[Removal], str]) -> list[Saving]:
    sums: dict[str, list[int]] = {}
    for removal in removals:
        one = sums.setdefault(key(removal), [0, 0])
        one[0] += removal.files
        one[1] += removal.bytes
    savings = [Saving(name=name, files=files, bytes=size) for name, (files, size) in sums.items()]
    return sorted(savings, key=lambda saving: (-saving.bytes, -saving.files, saving.name))


def _share(part: int, whole: int | None) -> str:
    return f" of {format_bytes(whole)}, {part / whole:.1%}" if whole else ""
