"""The words of `node`: add, remove, list, update."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from portable import bundle as bundles
from portable import node_files, nodes, package_commands, packages, snapshots
from portable.bundle import Bundle
from portable.changes import kind_of
from portable.command_line import add_json, confirm, held, say, telling
from portable.errors import DONE, FAILED, HelperError, UsageError
from portable.node_state import describe_node

_ADD = """\
Adds a custom node: its files, the packages it needs, and what its install.py makes, as one change that is all done or
not at all. git is used if it is there, and is not needed. The bundle's lock holds: what the bundle was tested with
stays as it is. ComfyUI is started once with the node. If the node cannot be imported you are asked whether to keep it
all the same; with --yes, --json or without a terminal everything is put back as it was (exit code 1), unless --keep.
"""
_EPILOG = """\
examples:
  manage.sh node add https://github.com/kijai/ComfyUI-KJNodes        the newest
  manage.sh node add https://github.com/kijai/ComfyUI-KJNodes@main   a branch, a tag or a commit (all 40 digits)
  manage.sh node add comfyui-kjnodes@1.1.0                           from the ComfyUI registry
  manage.sh node add ./downloads/some-node.zip                       from a zip or tar.gz, without a network
"""


def add(commands: Any) -> None:
    """Add `node` to the words of `portable`."""
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    node = commands.add_parser(
        "node",
        help="add, update, remove or list custom nodes",
        description="Looks after custom nodes. Every change can be undone with `rollback`.",
        epilog=_EPILOG,
        **raw,
    )
    actions = node.add_subparsers(dest="node_command", metavar="ACTION", required=True)

    adding = actions.add_parser("add", help="add a node", description=_ADD, epilog=_EPILOG, **raw)
    adding.add_argument("node", metavar="URL[@REF]|NAME[@VERSION]|FILE", help="where the node comes from")
    _add_bringing_options(adding)
    adding.set_defaults(action=_add)

    updating = actions.add_parser(
        "update",
        help="bring nodes to their newest version",
        description="Brings nodes to the newest of the branch or registry they came from; your own files in them stay.",
        **raw,
    )
    updating.add_argument("nodes", nargs="*", metavar="NAME[@REF]", help="REF is another branch, tag or version")
    updating.add_argument("--all", action="store_true", help="every node whose origin is known, one change each")
    _add_bringing_options(updating)
    updating.set_defaults(action=_update)

    removing = actions.add_parser(
        "remove",
        help="remove a node; its packages stay",
        description="Removes a node. Your own files in its folder are put into ComfyUI/user/removed-nodes.",
        **raw,
    )
    removing.add_argument("node", metavar="NAME", help="a node's folder, as `node list` shows it")
    package_commands.add_change_options(removing)
    removing.set_defaults(action=_remove)

    listing = actions.add_parser("list", help="the nodes, their versions and origins", **raw)
    add_json(listing)
    listing.set_defaults(action=_list)


def _add_bringing_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wheels-dir", metavar="DIR", help="take packages from this folder of wheels alone")
    parser.add_argument("--no-git", action="store_true", help="download an archive even where git is there")
    parser.add_argument("--keep", action="store_true", help="keep the node also if it cannot be imported")
    package_commands.add_change_options(parser)


def _wish(options: argparse.Namespace) -> nodes.Wish:
    return nodes.Wish(
        force=options.force,
        smoke=not options.no_smoke,
        keep=options.keep,
        use_git=not options.no_git,
        wheels_dir=options.wheels_dir,
        keep_anyway=lambda reason: _keep_anyway(reason, options),
    )


def _keep_anyway(reason: str, options: argparse.Namespace) -> bool:
    """Ask on a terminal; elsewhere nobody could answer, and it is rolled back."""
    if options.yes or options.json or not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(f"{reason}\nKeep it all the same? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _calls(options: argparse.Namespace, command: list[str]) -> dict[str, Any]:
    return {
        "command": command,
        "show": lambda plan: package_commands.show(plan, options),
        "confirm": lambda: confirm(options),
        "say": say,
    }


def _add(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    command = ["node", "add", options.node]
    with telling(options), held(bundle, command, force=options.force):
        done = nodes.add(bundle, options.node, _wish(options), **_calls(options, command))
        snapshots.prune(bundle.root)
    _show(done, options)
    return DONE


def _update(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    with telling(options):
        if bool(options.nodes) == options.all:
            raise UsageError("name the nodes to update, or say --all.")
    pairs = [(name, ref or None) for name, _, ref in (word.partition("@") for word in options.nodes)]
    command = ["node", "update", *(options.nodes or ["--all"])]
    found: list[dict[str, Any]] = []
    failed = False
    with telling(options), held(bundle, command, force=options.force):
        if options.all:
            pairs = [(name, None) for name in nodes.names(bundle) if node_files.known(bundle, name).origin]
        for name, ref in pairs:
            try:
                done = nodes.update(bundle, name, ref, _wish(options), **_calls(options, command))
            except HelperError as error:
                if len(pairs) == 1:
                    raise
                failed = True
                found.append({"name": name, "state": "failed", "applied": False, "error": str(error)})
                say(f"error: {name}: {error}")
                continue
            found.append(done.to_json())
            if not options.json:
                _tell(done)
        snapshots.prune(bundle.root)
    if options.json:
        print(json.dumps({"nodes": found}, ensure_ascii=False))
    return FAILED if failed else DONE


def _remove(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    command = ["node", "remove", options.node]

    def ask() -> bool:
        if not options.json:
            print(f"  remove    {options.node}", flush=True)
        return confirm(options)

    with telling(options), held(bundle, command, force=options.force):
        wish = nodes.Wish(force=options.force, smoke=not options.no_smoke)
        done = nodes.remove(bundle, options.node, wish, command=command, confirm=ask, say=say)
        snapshots.prune(bundle.root)
    _show(done, options)
    return DONE


def _show(done: nodes.Done, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(done.to_json(), ensure_ascii=False))
    else:
        _tell(done)


def _tell(done: nodes.Done) -> None:
    packages.warn(done.outcome)
    if done.state == "unchanged":
        print(f"{done.name} is up to date")
    elif done.record is None:
        print("nothing was changed")
    else:
        if done.kept_in:
            print(f"your own files of {done.name} are in {done.kept_in}")
        print(f"{done.state} {done.name}: change #{done.record.id}; `manage rollback` undoes it")


def _list(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    found = [_describe(bundle, name) for name in nodes.names(bundle)]
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
        return DONE
    for item in found:
        where = item["origin"] or {"address": "origin unknown", "ref": None}
        at = f"@{where['ref']}" if where["ref"] else ""
        note = f", {len(item['own_files'])} files of yours" if item["own_files"] else ""
        print(f"{item['name']}  {item['version']}  {where['address']}{at}{note}")
    if not found:
        print("there are no custom nodes; `manage node add URL` adds one")
    return DONE


def _describe(bundle: Bundle, name: str) -> dict[str, Any]:
    """What is known of a node. `version` is for people: the registry's, the project's, or the start of the commit."""
    folder = node_files.nodes_folder(bundle) / name
    known = node_files.known(bundle, name)
    state = describe_node(folder)
    is_folder = kind_of(folder) == "directory"
    commit = state.removeprefix("git:") if state.startswith("git:") else known.origin.commit if known.origin else ""
    version = (known.origin.version if known.origin else "") or commit[:10]
    version = version or (node_files.read_project(folder).version if is_folder else "") or "no version"
    own = node_files.strays(bundle, name) if is_folder and known.files is not None else []
    return {
        "name": name,
        "version": version,
        "commit": commit or None,
        "state": state,
        "origin": vars(known.origin) if known.origin else None,
        "own_files": own,
    }
