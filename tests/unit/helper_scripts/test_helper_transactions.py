"""The core of every change: all of it or nothing, found out by where files are; going back over several changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_bundles import fill_bundle
from portable import rollback, snapshots, transaction
from portable.bundle import Bundle, read
from portable.changes import STATE, Change, Plan, check_path
from portable.errors import HelperError, UsageError
from portable.journal import Journal
from portable.transaction_folder import Transaction

from packager import targets


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    tree = fill_bundle(tmp_path / "the bundle", targets.get("linux-x86_64"))
    site = tree.root / "python/lib/python3.11/site-packages"
    site.mkdir(parents=True)
    for name in ("keep", "replace", "remove"):
        (site / f"{name}.py").write_text(f"{name} 0", encoding="utf-8")
    (site / "__pycache__").mkdir()
    (site / "__pycache__/replace.cpython-311.pyc").write_bytes(b"old")
    node = tree.app / "custom_nodes/node"
    node.mkdir(parents=True)
    (node / "a.py").write_text("a 0", encoding="utf-8")
    (node / "b.py").write_text("b 0", encoding="utf-8")
    return read(tree.root)


SITE = "python/lib/python3.11/site-packages"
NODE = "ComfyUI/custom_nodes/node"


def contents(bundle: Bundle) -> dict[str, str]:
    """Every file outside portable/ and every folder."""
    found = {}
    for path in sorted(bundle.root.rglob("*")):
        name = path.relative_to(bundle.root).as_posix()
        if not name.startswith("portable"):
            found[name] = "folder" if path.is_dir() else path.read_text(encoding="utf-8")
    return found


def write(work: Path, name: str, text: str) -> Path:
    path = work / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def packages_plan(work: Path) -> Plan:
    """A file replaced, one removed with its bytecode, one added in new folders, a node replaced as a whole."""
    node = work / "node"
    write(work, "node/a.py", "a 1")
    return Plan(
        summary="all kinds",
        changes=(
            Change(path=f"{SITE}/replace.py", source=write(work, "r", "replace 1")),
            Change(path=f"{SITE}/__pycache__/replace.cpython-311.pyc"),
            Change(path=f"{SITE}/remove.py"),
            Change(path=f"{SITE}/new/deep/x.py", source=write(work, "x", "x 1")),
            Change(path=NODE, source=node),
        ),
    )


def run(bundle: Bundle, prepare: Callable[[Path], Plan], *checks: transaction.Check, kind: str = "test") -> int:
    record = transaction.run(bundle, kind=kind, command=["test"], prepare=prepare, checks=checks)
    assert record is not None
    return record.id


def put(path: str, text: str | None) -> Callable[[Path], Plan]:
    def prepare(work: Path) -> Plan:
        return Plan(summary=path, changes=(Change(path=path, source=write(work, "f", text) if text else None),))

    return prepare


def test_all_of_it_is_done_or_nothing(bundle: Bundle) -> None:
    before = contents(bundle)
    seen: list[dict[str, str]] = []

    def look() -> list[str]:
        seen.append(contents(bundle))
        (bundle.root / SITE / "new/deep/__pycache__").mkdir()
        (bundle.root / SITE / "new/deep/__pycache__/x.cpython-311.pyc").write_text("left by a check")
        return ["it does not work", "at all"]

    with pytest.raises(transaction.CheckFailedError, match="at all") as caught:
        run(bundle, packages_plan, look)
    assert caught.value.faults == ("it does not work", "at all")
    assert contents(bundle) == before
    assert not list((bundle.root / STATE / "transactions").iterdir())
    run(bundle, packages_plan)
    assert contents(bundle) == seen[0]
    assert f"{SITE}/__pycache__" not in seen[0]  # an empty NAME.dist-info is still a package to pip
    assert seen[0][f"{SITE}/new/deep/x.py"] == "x 1"
    assert f"{SITE}/remove.py" not in seen[0]
    assert f"{NODE}/b.py" not in seen[0]
    assert seen[0][f"{SITE}/keep.py"] == "keep 0"


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ZeroDivisionError])
@pytest.mark.parametrize("where", ["prepare", "check"])
def test_any_exception_puts_everything_back(bundle: Bundle, error: type[BaseException], where: str) -> None:
    before = contents(bundle)

    def fail(*_: object) -> list[str]:
        raise error("no")

    with pytest.raises((error, HelperError)):
        run(bundle, fail if where == "prepare" else packages_plan, fail)  # type: ignore[arg-type]
    assert contents(bundle) == before
    assert not transaction.is_interrupted(bundle.root)


@pytest.mark.parametrize(
    "stage", ["begun", "planned", "half applied", "applied", "checked", "committed", "half undone"]
)
def test_recovery_ends_before_or_after(bundle: Bundle, stage: str) -> None:
    """The transaction is left as a kill leaves it at each stage."""
    before = contents(bundle)
    cut = Transaction.begin(bundle.root)
    if stage != "begun":
        record = cut.seal(packages_plan(cut.work), kind="test", command=[], nodes={})
    if stage == "half applied":
        cut.journal.add("applying")
        (bundle.root / record.changes[0].path).rename(cut.old(record.changes[0]))
    if stage in ("applied", "checked", "committed", "half undone"):
        cut.apply()
    if stage in ("checked", "committed"):
        cut.mark_checked()
    if stage == "committed":
        cut.journal.add("committed")
    if stage == "half undone":
        cut.journal.add("undoing")
        last = record.changes[-1]
        (bundle.root / last.path).rename(cut.new(last))
    with cut.journal.path.open("ab") as stream:
        stream.write(b'{"state": "comm')  # the power went while this was written
    said: list[str] = []
    assert transaction.recover(bundle.root, said.append)
    assert not transaction.recover(bundle.root, said.append)
    assert len(said) == 1
    is_after = stage in ("checked", "committed")
    assert (contents(bundle) == before) is not is_after
    assert ("completed" in said[0]) is is_after
    assert [record.id for record in snapshots.history(bundle.root)] == ([1] if is_after else [])
    assert not list((bundle.root / STATE).glob("transactions/*/work-*"))


def test_what_somebody_else_wrote_meanwhile_is_kept(bundle: Bundle) -> None:
    before = contents(bundle)
    cut = Transaction.begin(bundle.root)
    cut.seal(put(f"{SITE}/remove.py", None)(cut.work), kind="test", command=[], nodes={})
    cut.apply()
    write(bundle.root, f"{SITE}/remove.py", "mine")
    transaction.recover(bundle.root, lambda _: None)
    assert contents(bundle) == before
    assert [path.read_text() for path in (bundle.root / STATE / "aside").iterdir()] == ["mine"]


@pytest.mark.parametrize("path", ["", ".", "/etc/x", "../x", "a/../../x", "a//b", "portable", f"{STATE}/active", "a/"])
def test_paths_outside_or_of_the_helpers_themselves_are_refused(path: str) -> None:
    with pytest.raises(HelperError):
        check_path(path)


def test_a_link_that_leads_out_is_not_followed(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (bundle.root / "python/out").symlink_to(tmp_path / "outside")
    with pytest.raises(HelperError, match="outside the bundle"):
        run(bundle, put("python/out/x", "x"))
    assert not list((tmp_path / "outside").iterdir())


def test_one_place_changed_twice_is_refused(bundle: Bundle) -> None:
    def both(work: Path) -> Plan:
        return Plan(summary="x", changes=(*put(NODE, None)(work).changes, *put(f"{NODE}/a.py", "x")(work).changes))

    with pytest.raises(HelperError, match="changed twice"):
        run(bundle, both)


def go_back(bundle: Bundle, number: int) -> int:
    return run(bundle, lambda work: rollback.plan_before(bundle, number, work), kind="rollback")


def test_going_back_over_several_changes_and_forth_again(bundle: Bundle) -> None:
    """A file in a folder, then the whole folder, then the file again; each point can be reached from the last."""

    def whole(work: Path) -> Plan:
        write(work, "node/a.py", "a 2")
        write(work, "node/c.py", "c 2")
        return Plan(summary="node", changes=(Change(path=NODE, source=work / "node"),))

    states = [contents(bundle)]
    for prepare in (put(f"{NODE}/a.py", "a 1"), whole, put(f"{NODE}/a.py", "a 3"), put(NODE, None)):
        run(bundle, prepare)
        states.append(contents(bundle))
    assert rollback.latest(bundle.root) == 4
    for number in (4, 3, 2, 1):
        back = go_back(bundle, number)
        assert contents(bundle) == states[number - 1], number
        go_back(bundle, back)  # undoes the rollback
        assert contents(bundle) == states[4], number
        assert rollback.latest(bundle.root) == 4
    go_back(bundle, 2)
    assert rollback.latest(bundle.root) == 1
    with pytest.raises(UsageError, match="no change #99"):
        go_back(bundle, 99)


def test_bytecode_that_was_written_since_goes_with_its_modules(bundle: Bundle) -> None:
    """As after a start of the app: of a module that came, of one that was replaced, of one that stays."""
    before = contents(bundle)
    number = run(bundle, packages_plan)
    for name in ("new/deep/__pycache__/x", "__pycache__/replace", "__pycache__/keep"):
        place = bundle.root / SITE / f"{name}.cpython-311.pyc"
        place.parent.mkdir(exist_ok=True)
        place.write_text("compiled since")
    run(bundle, lambda work: rollback.plan_before(bundle, number, work), kind="rollback")
    kept = f"{SITE}/__pycache__/keep.cpython-311.pyc"
    assert contents(bundle) == {**before, kept: "compiled since"}


def test_old_snapshots_are_pruned_by_count_and_the_way_back_ends_there(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for number in range(5):
        run(bundle, put(f"{SITE}/keep.py", f"keep {number + 1}"))
    limits = tmp_path / "limits.json"
    limits.write_text(json.dumps({"count": 2, "bytes": 10**9}), encoding="utf-8")
    monkeypatch.setattr(snapshots, "_LIMITS", limits)
    assert snapshots.prune(bundle.root) == [1, 2, 3]
    with pytest.raises(HelperError, match="#4 is the first way back"):
        go_back(bundle, 2)
    go_back(bundle, 4)
    assert contents(bundle)[f"{SITE}/keep.py"] == "keep 3"
    limits.write_text(json.dumps({"count": 20, "bytes": 0}), encoding="utf-8")
    assert snapshots.prune(bundle.root) == [4, 5]


def test_a_journal_that_was_cut_off_goes_on_in_a_new_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j")
    assert journal.state == ""
    journal.add("one")
    with journal.path.open("ab") as stream:
        stream.write(b'{"state": "tw')
    assert journal.state == "one"
    journal.add("three")
    assert [entry["state"] for entry in journal.entries()] == ["one", "three"]
