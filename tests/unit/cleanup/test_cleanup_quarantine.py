"""Removing and taking back: byte for byte, after a kill at any moment, and never outside the tree."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cleanup_trees import one_rule, removed, snapshot, write_tree

from packager.bundle import BundleTree
from packager.cleanup import (
    RuleSet,
    TreeLayout,
    apply,
    clean_tree,
    plan_cleanup,
    purge,
    restore,
    undo,
    write_removed,
)
from packager.cleanup.quarantine import default_quarantine
from packager.errors import InputError, PackagerError
from packager.filesystem import tree_digest

PROGRAM = Path(__file__).with_name("apply_and_die.py")


def site(root: Path) -> TreeLayout:
    return TreeLayout(root=root, os="linux", scopes={"": ("site-packages",)})


def test_apply_then_restore_gives_the_same_tree(bundle: BundleTree, rules: RuleSet, tmp_path: Path) -> None:
    before, quarantine = snapshot(bundle.root), tmp_path / "quarantine"
    plan = plan_cleanup(bundle, rules, tier="aggressive")
    apply(plan, quarantine)
    assert all(not os.path.lexists(bundle.root / removal.path) for removal in plan.removals)
    assert len(snapshot(bundle.root)) < len(before)
    result = restore(bundle.root, quarantine)
    assert (result.paths, result.orphans) == (len(plan.removals), ())
    assert snapshot(bundle.root) == before
    assert not quarantine.exists()


def test_nothing_is_left_to_do_after_apply(bundle: BundleTree, rules: RuleSet, tmp_path: Path) -> None:
    apply(plan_cleanup(bundle, rules), tmp_path / "quarantine")
    assert plan_cleanup(bundle, rules).removals == ()
    purge(tmp_path / "quarantine")
    purge(tmp_path / "quarantine")
    assert not (tmp_path / "quarantine").exists()


def test_hostile_names_come_back(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, a newline, a leading dash, a name like the manifest's."""
    hostile = os.fsdecode(b"caf\xe9\n-rf")
    root = write_tree(tmp_path / "r", {f"{hostile}/tests/a": "1", "tests/manifest.json": "2", f"x/{hostile}.a": "3"})
    before = snapshot(root)
    plan = plan_cleanup(site(root), one_rule("tests/", "*.a"))
    apply(plan, tmp_path / "q")
    assert not [path for path in root.rglob("*") if path.is_file()]
    restore(root, tmp_path / "q")
    assert snapshot(root) == before


Killer = Callable[[Path, Path, str, int], tuple[int, int]]


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    """Does a piece of work in a process of its own, which SIGKILL ends at its Nth step: (exit status, steps done)."""
    if not hasattr(os, "memfd_create"):
        pytest.skip("needs Linux")
    with subprocess.Popen(
        [sys.executable, PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin
        assert server.stdout

        def run(root: Path, quarantine: Path, work: str, last: int) -> tuple[int, int]:
            print(json.dumps([str(root), str(quarantine), work, last]), file=server.stdin, flush=True)
            status, steps = json.loads(server.stdout.readline())
            return status, steps

        yield run
        server.stdin.close()


def fresh(bundle: BundleTree, quarantine: Path) -> Path:
    """A copy of the bundle to work on, and no quarantine."""
    root = bundle.root.with_name("work")
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(quarantine, ignore_errors=True)
    shutil.copytree(bundle.root, root, symlinks=True)
    return root


def some(steps: int) -> list[int]:
    """The first steps, the last ones, and some between; each costs a copy of the tree and a flush to disk."""
    return sorted({1, 2, 3, *range(4, steps, 12), steps - 1, steps})


def test_kill_9_in_apply(bundle: BundleTree, killer: Killer, tmp_path: Path) -> None:
    """Restoring makes the tree whole, with modes and times; so does running it again, as far as the clean tree goes."""
    quarantine = tmp_path / "quarantine"
    root = fresh(bundle, quarantine)
    status, steps = killer(root, quarantine, "apply", 0)
    assert status == 0
    cleaned, moved = tree_digest(root), 0
    for last in some(steps):
        root = fresh(bundle, quarantine)
        before = snapshot(root)
        assert killer(root, quarantine, "apply", last)[0] == -signal.SIGKILL
        moved += snapshot(root) != before
        if (quarantine / "manifest.json").exists():
            restore(root, quarantine)
        assert snapshot(root) == before
        assert killer(root, quarantine, "apply", 0)[0] == 0
        assert tree_digest(root) == cleaned
    assert moved > 3


def test_kill_9_in_restore(bundle: BundleTree, killer: Killer, tmp_path: Path) -> None:
    quarantine = tmp_path / "quarantine"
    root = fresh(bundle, quarantine)
    killer(root, quarantine, "apply", 0)
    status, steps = killer(root, quarantine, "restore", 0)
    assert status == 0
    for last in some(steps):
        root = fresh(bundle, quarantine)
        before = snapshot(root)
        killer(root, quarantine, "apply", 0)
        assert killer(root, quarantine, "restore", last)[0] == -signal.SIGKILL
        if (quarantine / "manifest.json").exists():
            restore(root, quarantine)
        assert snapshot(root) == before


def test_kill_9_in_purge(bundle: BundleTree, killer: Killer, tmp_path: Path) -> None:
    """Once deletion has begun, nothing offers to undo half of it; purging again finishes."""
    quarantine = tmp_path / "quarantine"
    root = fresh(bundle, quarantine)
    killer(root, quarantine, "apply", 0)
    cleaned = tree_digest(root)
    status, steps = killer(root, quarantine, "purge", 0)
    assert status == 0
    for last in some(steps):
        root = fresh(bundle, quarantine)
        killer(root, quarantine, "apply", 0)
        assert killer(root, quarantine, "purge", last)[0] == -signal.SIGKILL
        if last > 1:  # the first step is the mark that deletion has begun
            with pytest.raises(InputError, match="no clean-up that can be undone"):
                restore(root, quarantine)
        purge(quarantine)
        assert not quarantine.exists()
        assert tree_digest(root) == cleaned


def test_clean_tree_after_a_kill_does_the_whole_work(
    loose: BundleTree, rules: RuleSet, killer: Killer, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(loose.root, other, symlinks=True)
    quarantine = default_quarantine(loose.root)
    expected = clean_tree(other, rules, keep_quarantine=False).plan
    assert killer(loose.root, quarantine, "apply", 30)[0] == -signal.SIGKILL
    with pytest.raises(InputError, match="half a tree"):
        clean_tree(loose.root, rules, dry_run=True)
    plan = clean_tree(loose.root, rules, keep_quarantine=False).plan
    assert removed(plan) == removed(expected)
    assert tree_digest(loose.root) == tree_digest(other)


def test_clean_tree_keeps_for_undo_unless_told(loose: BundleTree, rules: RuleSet) -> None:
    before = snapshot(loose.root)
    assert clean_tree(loose.root, rules, dry_run=True).plan.removals
    assert snapshot(loose.root) == before
    clean_tree(loose.root, rules)
    clean_tree(loose.root, rules, tier="aggressive")
    undo(loose.root)
    assert snapshot(loose.root) == before
    clean_tree(loose.root, rules, keep_quarantine=False)
    with pytest.raises(InputError, match="no clean-up"):
        undo(loose.root)


def test_a_wrong_rule_name_is_found_before_an_earlier_clean_up_is_touched(loose: BundleTree, rules: RuleSet) -> None:
    clean_tree(loose.root, rules)
    before = snapshot(loose.root)
    with pytest.raises(InputError, match="no rule"):
        clean_tree(loose.root, rules, opt_in=["nonsense"])
    assert snapshot(loose.root) == before


def test_bytecode_written_since_gives_way_and_anything_else_stops_the_undo(loose: BundleTree, rules: RuleSet) -> None:
    before = snapshot(loose.root)
    clean_tree(loose.root, rules)
    again = loose.site_packages / "demo/__pycache__"
    again.mkdir()
    (again / "__init__.cpython-311.pyc").write_text("newer")
    mine = loose.site_packages / "demo/tests"
    mine.mkdir()
    (mine / "mine.py").write_text("mine")
    held = snapshot(loose.root)
    with pytest.raises(InputError, match="is there again"):
        undo(loose.root)
    assert snapshot(loose.root) == held
    shutil.rmtree(mine)
    undo(loose.root)
    assert snapshot(loose.root) == before


def test_a_package_uninstalled_since_is_not_half_raised_from_the_dead(loose: BundleTree, rules: RuleSet) -> None:
    clean_tree(loose.root, rules)
    shutil.rmtree(loose.site_packages / "demo")
    result = undo(loose.root)
    assert f"{loose.relative(loose.site_packages)}/demo/tests" in result.orphans
    assert not (loose.site_packages / "demo").exists()
    assert (loose.app / ".git/HEAD").exists()


def test_quarantine_inside_the_tree_is_refused(bundle: BundleTree, rules: RuleSet) -> None:
    before = snapshot(bundle.root)
    for place in (bundle.root / "portable/quarantine", bundle.site_packages / "demo/tests/q", bundle.root):
        with pytest.raises(InputError, match="inside the tree"):
            apply(plan_cleanup(bundle, rules), place)
    assert snapshot(bundle.root) == before


def test_quarantine_that_is_in_use_or_somebodys_folder_is_refused(
    bundle: BundleTree, rules: RuleSet, tmp_path: Path
) -> None:
    place = write_tree(tmp_path / "photos", {"holiday.jpg": ""})
    plan = plan_cleanup(bundle, rules)
    before = snapshot(bundle.root)
    for act in (lambda: apply(plan, place), lambda: purge(place)):
        with pytest.raises(InputError, match=r"holiday\.jpg"):
            act()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(InputError, match="no folder"):
        apply(plan, tmp_path / "link")
    assert snapshot(bundle.root) == before
    apply(plan, tmp_path / "q")
    with pytest.raises(InputError, match="undo or purge"):
        apply(plan_cleanup(site(write_tree(tmp_path / "x", {"tests/a": ""})), one_rule("tests/")), tmp_path / "q")
    assert (tmp_path / "x/tests/a").exists()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second file system")
def test_quarantine_on_another_file_system_is_refused(bundle: BundleTree, rules: RuleSet) -> None:
    place = Path("/dev/shm") / f"packager-quarantine-{os.getpid()}"
    if Path("/dev/shm").stat().st_dev == bundle.root.stat().st_dev:
        pytest.skip("/dev/shm is not another file system")
    before = snapshot(bundle.root)
    try:
        with pytest.raises(InputError, match="another file system"):
            apply(plan_cleanup(bundle, rules), place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    assert snapshot(bundle.root) == before


def test_a_folder_swapped_for_a_link_after_planning_is_not_followed(tmp_path: Path) -> None:
    outside = write_tree(tmp_path / "outside", {"tests/theirs.py": "theirs"})
    root = write_tree(tmp_path / "root", {"pkg/tests/mine.py": "", "pkg/mine.py": ""})
    plan = plan_cleanup(site(root), one_rule("tests/"))
    shutil.rmtree(root / "pkg")
    (root / "pkg").symlink_to(outside)
    with pytest.raises(PackagerError, match="has changed since"):
        apply(plan, tmp_path / "q")
    assert (outside / "tests/theirs.py").read_text() == "theirs"


@pytest.mark.parametrize("change", ["gone", "file", "link"])
def test_a_tree_that_changed_since_planning_is_left_alone(tmp_path: Path, change: str) -> None:
    root = write_tree(tmp_path / "root", {"a/tests/t.py": "", "b/tests/t.py": "", "a/x": "", "b/x": ""})
    plan = plan_cleanup(site(root), one_rule("tests/"))
    shutil.rmtree(root / "b/tests")
    if change == "file":
        (root / "b/tests").write_text("a file now")
    elif change == "link":
        (root / "b/tests").symlink_to(tmp_path)
    with pytest.raises(PackagerError, match="has changed since"):
        apply(plan, tmp_path / "q")
    assert (root / "a/tests/t.py").exists()


def test_a_hostile_quarantine_cannot_move_anything_outside(bundle: BundleTree, rules: RuleSet, tmp_path: Path) -> None:
    """Paths that climb out or are absolute, values of other types, no JSON at all; and a linked `files` folder."""
    outside = write_tree(tmp_path / "outside", {"secret/x": "theirs"})
    plan = plan_cleanup(bundle, rules)
    for number, change in enumerate(("../evil", "/etc/evil", "a/../../evil", "", "mode", "list", "text", "deep")):
        quarantine = tmp_path / f"q{number}"
        apply(plan, quarantine)
        manifest = json.loads((quarantine / "manifest.json").read_bytes())
        good = (quarantine / "manifest.json").read_bytes()
        item = next(iter(manifest["removals"].values()))
        if change == "mode":
            item["mode"] = "0o777"
        elif change in ("list", "text", "deep"):
            manifest = [manifest] if change == "list" else change
        else:
            manifest["removals"][change] = item
        text = "[" * 100000 if change == "deep" else "{" if change == "text" else json.dumps(manifest)
        (quarantine / "manifest.json").write_text(text)
        before = snapshot(bundle.root)
        with pytest.raises(InputError, match="not a manifest"):
            restore(bundle.root, quarantine)
        assert snapshot(bundle.root) == before
        (quarantine / "manifest.json").write_bytes(good)
        restore(bundle.root, quarantine)
    quarantine = tmp_path / "linked"
    root = write_tree(tmp_path / "root", {"secret/tests/t.py": "", "secret/x.py": ""})
    apply(plan_cleanup(site(root), one_rule("/secret/tests/")), quarantine)
    shutil.rmtree(quarantine / "files")
    (outside / "secret/tests").mkdir()
    (quarantine / "files").symlink_to(outside)
    restore(root, quarantine)
    assert (outside / "secret/tests").exists()
    assert not (root / "secret/tests").exists()


def test_a_linked_quarantine_in_the_tree_is_not_used(loose: BundleTree, rules: RuleSet, tmp_path: Path) -> None:
    """Not even one that is sound: the link leads out of the tree."""
    outside = tmp_path / "outside"
    apply(plan_cleanup(loose, rules), outside)
    default_quarantine(loose.root).symlink_to(outside)
    before = snapshot(outside)
    for act in (lambda: clean_tree(loose.root, rules), lambda: undo(loose.root)):
        with pytest.raises(InputError):
            act()
    assert snapshot(outside) == before


def test_the_record_is_the_same_bytes_each_time(bundle: BundleTree, rules: RuleSet, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_removed(plan_cleanup(bundle, rules), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "one").read_bytes()
