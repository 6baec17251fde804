"""The words of `instance`: create, list, set, remove."""

from __future__ import annotations

import argparse
import json
from typing import Any

from portable import bundle as bundles
from portable import instances
from portable.bundle import Bundle
from portable.command_line import add_json, confirm, say, telling
from portable.errors import DONE, UsageError

_CREATE = """\
Makes a second ComfyUI in instances/NAME, with nodes and packages of its own. It uses the bundle's Python, packages and
models, which it never changes; a package of its own comes before the bundle's. It has its own port and run script,
moves with the bundle, and takes only the room of what is its own.
"""
_EPILOG = """\
examples:
  manage.sh instance create trial --ref v0.3.64 --node https://github.com/kijai/ComfyUI-KJNodes
  instances/trial/run_comfyui.sh                       start it
  manage.sh --instance trial install "numpy<2"         any command, about the instance: install, node, rollback, ...
  manage.sh instance set trial --isolated              from now on it sees its own packages alone
"""


def add(commands: Any) -> None:
    """Add `instance` to the words of `portable`."""
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    words = commands.add_parser(
        "instance",
        help="further ComfyUIs over the same packages and models",
        description="Makes, lists and removes instances: further ComfyUIs that share this bundle.",
        epilog=_EPILOG,
        **raw,
    )
    actions = words.add_subparsers(dest="instance_command", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make one", description=_CREATE, epilog=_EPILOG, **raw)
    create.add_argument("name", metavar="NAME")
    create.add_argument("--ref", help="branch, tag or commit of ComfyUI; a copy of the bundle's if not given")
    create.add_argument("--repository", metavar="URL", help="take ComfyUI from there")
    create.add_argument(
        "--node", action="append", default=[], metavar="NODE", help="as for `node add`; may be repeated"
    )
    create.add_argument("--isolated", action="store_true", help="see none of the bundle's packages; all are installed")
    create.add_argument("--port", type=int, help="8189 or the next that no instance has, if not given")
    create.add_argument("--wheels-dir", metavar="DIR", help="take packages from this folder of wheels alone")
    create.add_argument("--no-git", action="store_true", help="download archives even where git is there")
    create.add_argument("--force", action="store_true", help="against what is protected")
    create.add_argument("--no-smoke", action="store_true", help="do not try whether its ComfyUI starts")
    add_json(create)
    create.set_defaults(action=_create)

    listing = actions.add_parser("list", help="the instances, their ports and sizes", **raw)
    add_json(listing)
    listing.set_defaults(action=_list)

    change = actions.add_parser("set", help="change its port, or whether it sees the bundle's packages", **raw)
    change.add_argument("name", metavar="NAME")
    change.add_argument("--isolated", action="store_true", default=None, help="see none of the bundle's packages")
    change.add_argument("--shared", action="store_false", dest="isolated", help="see the bundle's packages again")
    change.add_argument("--port", type=int)
    add_json(change)
    change.set_defaults(action=_set)

    remove = actions.add_parser(
        "remove",
        help="remove one",
        description="Removes an instance. Its models, inputs, outputs, workflows and nodes are put into "
        "ComfyUI/user/removed-instances.",
        **raw,
    )
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    remove.add_argument("--dry-run", action="store_true", help=argparse.SUPPRESS)
    add_json(remove)
    remove.set_defaults(action=_remove)


def _base() -> Bundle:
    bundle = bundles.read(bundles.locate())
    if bundle.base is not None:
        raise UsageError("an instance has no instances: leave --instance out.")
    return bundle


def _create(options: argparse.Namespace) -> int:
    wish = instances.Wish(
        name=options.name,
        ref=options.ref,
        repository=options.repository,
        nodes=tuple(options.node),
        isolated=options.isolated,
        port=options.port,
        use_git=not options.no_git,
        wheels_dir=options.wheels_dir,
        force=options.force,
        smoke=not options.no_smoke,
    )
    with telling(options):
        _show(instances.create(_base(), wish, say=say), options)
    return DONE


def _set(options: argparse.Namespace) -> int:
    with telling(options):
        if options.isolated is None and options.port is None:
            raise UsageError("say what to change: --isolated, --shared or --port.")
        found = instances.set_up(_base().root, options.name, isolated=options.isolated, port=options.port)
        _show(found, options)
    return DONE


def _show(found: dict[str, Any], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print(_line(found))


def _line(found: dict[str, Any]) -> str:
    note = ", isolated" if found["isolated"] else ""
    return f"{found['name']}  port {found['port']}  {found['size'] / 1e6:.1f} MB{note}  {found['path']}"


def _list(options: argparse.Namespace) -> int:
    base = _base()
    instances.sweep(base, say)
    found = [instances.describe(base.root, name) for name in instances.names(base.root)]
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print("\n".join(map(_line, found)) or "there are no instances; `manage instance create NAME` makes one")
    return DONE


def _remove(options: argparse.Namespace) -> int:
    base = _base()
    with telling(options):
        if not options.json:
            say(f"remove the instance {options.name}")
        done = confirm(options)
        kept = instances.remove(base, options.name, say=say) if done else ""
    if options.json:
        print(json.dumps({"applied": done, "kept_in": kept or None}))
    else:
        print("done" if done else "nothing was changed")
    return DONE
