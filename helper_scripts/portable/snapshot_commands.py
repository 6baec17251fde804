"""The words of `snapshots`, `snapshot` and `rollback`."""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from portable import bundle as bundles
from portable import node_restore, rollback, snapshots, transaction
from portable.bundle import Bundle
from portable.changes import Plan
from portable.command_line import add_json, confirm, held, say, telling
from portable.errors import DONE, UsageError
from portable.layers import note_sharing
from portable.node_state import read_nodes


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    history = commands.add_parser(
        "snapshots",
        help="what was changed, and where you can go back to",
        description="Lists the changes made by helpers, each of which can be undone, and the named snapshots.",
        **raw,
    )
    history.add_argument("--delete", metavar="NAME", help="delete a named snapshot")
    add_json(history)
    history.set_defaults(action=_snapshots)

    snapshot = commands.add_parser(
        "snapshot",
        help="keep the packages as they are now, under a name",
        description="Keeps every file of every package under a name. Takes little room where the disk has hard links.",
        **raw,
    )
    snapshot.add_argument("name", metavar="NAME")
    add_json(snapshot)
    snapshot.set_defaults(action=_snapshot)

    back = commands.add_parser(
        "rollback",
        help="undo the last change, or go back to a snapshot",
        description="Puts packages and nodes back as they were, without a network. Can itself be undone.",
        epilog="examples:\n  manage.sh rollback              undo the last change\n"
        "  manage.sh rollback 7            to before change #7\n  manage.sh rollback my-snapshot  to a named snapshot",
        **raw,
    )
    back.add_argument("to", nargs="?", metavar="ID", help="number of a change, or name of a snapshot")
    back.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    back.add_argument("--yes", action="store_true", help="do not ask")
    back.add_argument("--force", action="store_true", help="also while ComfyUI runs")
    add_json(back)
    back.set_defaults(action=_rollback)


def _snapshots(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    if options.delete:
        with held(bundle, ["snapshots", "--delete", options.delete], force=True):
            snapshots.delete(bundle.root, options.delete)
    records, there = snapshots.history(bundle.root), snapshots.named(bundle.root)
    now = set(snapshots.in_effect(records))
    changes: list[dict[str, Any]] = [
        {
            "id": record.id,
            "created": record.created,
            "kind": record.kind,
            "summary": record.summary,
            "in_effect": record.id in now,
            "kept": snapshots.is_kept(bundle.root, record),
            "size": snapshots.size_on_disk(snapshots.folder_of(bundle.root, record.id) / "old"),
            "packages": record.details.get("packages", []),
            "nodes": dict(record.nodes),
        }
        for record in records
    ]
    names: list[dict[str, Any]] = [
        {
            "name": item.name,
            "created": item.created,
            "after": item.after,
            "packages": dict(item.packages),
            "nodes": dict(item.nodes),
            "size": snapshots.size_on_disk(item.folder),
        }
        for item in there
    ]
    if options.json:
        print(json.dumps({"changes": changes, "snapshots": names}, ensure_ascii=False))
        return DONE
    for change in changes:
        note = "" if change["in_effect"] or change["kind"] == "rollback" else ", undone"
        note += "" if change["kept"] else ", cannot be undone any more"
        line = f"#{change['id']} {_when(change['created'])}  {change['kind']}: {change['summary']}"
        print(f"{line}  ({change['size'] / 1e6:.1f} MB{note})")
    for item in names:
        print(
            f"{item['name']}  {_when(item['created'])}  {len(item['packages'])} packages ({item['size'] / 1e6:.1f} MB)"
        )
    if not changes and not names:
        print("no change was made by a helper, and there is no named snapshot")
    return DONE


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _snapshot(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    with telling(options), held(bundle, ["snapshot", options.name], force=True):
        made = snapshots.take(bundle, options.name)
    if options.json:
        print(json.dumps({"name": made.name, "files": len(made.files), "packages": dict(made.packages)}))
    else:
        print(f"{made.name}: {len(made.packages)} packages, {len(made.files)} files")
    return DONE


def _rollback(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    with telling(options), held(bundle, ["rollback", *filter(None, [options.to])], force=options.force):
        number, name = _target(bundle, options.to)
        nodes = next((item.nodes for item in snapshots.history(bundle.root) if item.id == number), {})

        def prepare(work: Any) -> Plan:
            if name is not None:
                snapshot = snapshots.load(bundle.root, name)
                plan = node_restore.complete(bundle, rollback.plan_named(bundle, snapshot, work), snapshot.nodes, work)
            else:
                plan = node_restore.complete(bundle, rollback.plan_before(bundle, number, work), None, work)
            _show_plan(plan, options)
            return plan if confirm(options) else Plan(summary=plan.summary)

        wanted = snapshots.load(bundle.root, name).nodes if name is not None else nodes
        record = transaction.run(
            bundle, kind="rollback", command=["rollback", *filter(None, [options.to])], prepare=prepare, say=say
        )
        others = {} if record is None else rollback.other_nodes(wanted, read_nodes(bundle.app_dir / "custom_nodes"))
        if record is not None:
            snapshots.prune(bundle.root)
            if record.details.get("packages"):
                note_sharing(bundle, say)
    for node, version in others.items():
        say(f"note: the node {node} was {version or 'not there'} then; it is left as it is")
    if options.json:
        found = {"applied": record is not None, "id": record.id if record else None, "nodes": others}
        print(json.dumps(found, ensure_ascii=False))
    else:
        print(f"done: change #{record.id}" if record else "nothing was changed")
    return DONE


def _target(bundle: Bundle, word: str | None) -> tuple[int, str | None]:
    """A change's number, or a snapshot's name."""
    if word is None:
        return rollback.latest(bundle.root), None
    bare = word.removeprefix("#")
    if bare.isascii() and bare.isdigit() and len(bare) < 10:
        return int(bare), None
    if word.startswith("-"):
        raise UsageError(f"{word!r} is no change and no snapshot.")
    return 0, snapshots.load(bundle.root, word).name


def _show_plan(plan: Plan, options: argparse.Namespace) -> None:
    if options.json:
        return
    print(plan.summary)
    for item in plan.details.get("packages", ()):
        print(f"  {item['name']}  {item['before'] or 'not there'} -> {item['after'] or 'not there'}")
    print(f"  {len(plan.changes)} files")
