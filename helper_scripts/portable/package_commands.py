"""The words of `install`, `uninstall` and `list`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from portable import bundle as bundles
from portable import packages, snapshots
from portable.bundle import Bundle
from portable.command_line import add_json, confirm, held, say, telling
from portable.distributions import installed
from portable.errors import DONE
from portable.layers import note_sharing

_INSTALL = """\
Installs packages into the bundle. First it shows what would be added, upgraded or downgraded. What the bundle was
tested with (portable/lock.txt) stays as it is. Then it downloads, puts everything in place, and looks whether the
packages fit together and ComfyUI still starts; if not, everything is put back as it was.
"""


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    install = commands.add_parser(
        "install",
        help="install packages into the bundle",
        description=_INSTALL,
        epilog='example: install_package.sh "segno>=1.6" ./downloads/other-1.0-py3-none-any.whl',
        **raw,
    )
    install.add_argument("packages", nargs="*", metavar="PACKAGE", help="name, name==version, or path of a wheel")
    install.add_argument("-r", "--requirement", action="append", default=[], metavar="FILE", help="a requirements file")
    install.add_argument("--wheels-dir", metavar="DIR", help="take wheels from this folder alone, without a network")
    add_change_options(install)
    install.set_defaults(action=_install)

    uninstall = commands.add_parser("uninstall", help="remove packages", description="Removes packages.", **raw)
    uninstall.add_argument("packages", nargs="+", metavar="PACKAGE", help="name of an installed package")
    add_change_options(uninstall)
    uninstall.set_defaults(action=_uninstall)

    listing = commands.add_parser("list", help="the installed packages", **raw)
    add_json(listing)
    listing.set_defaults(action=_list)


def add_change_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that changes the bundle."""
    parser.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--force", action="store_true", help="against the lock, or while ComfyUI runs; something may stop working"
    )
    parser.add_argument("--no-smoke", action="store_true", help="do not try whether ComfyUI still starts")
    add_json(parser)


def _install(options: argparse.Namespace) -> int:
    request = packages.Request(
        requirements=tuple(options.packages),
        files=tuple(options.requirement),
        wheels_dir=options.wheels_dir,
        force=options.force,
        smoke=not options.no_smoke,
    )
    bundle = bundles.read(bundles.locate())
    command = ["install", *options.packages, *(f"-r {file}" for file in options.requirement)]
    with telling(options), held(bundle, command, force=options.force):
        outcome = packages.install(
            bundle,
            request,
            command=command,
            show=lambda plan: show(plan, options),
            confirm=lambda: confirm(options),
            say=say,
        )
        _finish(bundle, outcome, options)
    return DONE


def _uninstall(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    command = ["uninstall", *options.packages]
    with telling(options), held(bundle, command, force=options.force):
        outcome = packages.uninstall(
            bundle,
            options.packages,
            force=options.force,
            smoke=not options.no_smoke,
            command=command,
            show=lambda plan: show(plan, options),
            confirm=lambda: confirm(options),
            say=say,
        )
        _finish(bundle, outcome, options)
    return DONE


def show(outcome: packages.Outcome, options: argparse.Namespace) -> None:
    """Print what would change; what is left out of requirement files to stderr."""
    for item in outcome.left_out:
        say(f"{item.file}:{item.line}: left out {item.text!r}: it is {item.reason}")
    if options.json:
        return
    for step in outcome.resolution.steps:
        print(f"  {step}", flush=True)


def _finish(bundle: Bundle, outcome: packages.Outcome, options: argparse.Namespace) -> None:
    if outcome.record is not None:
        snapshots.prune(bundle.root)
        if any(step.before is not None for step in outcome.resolution.steps):
            note_sharing(bundle, say)
    if options.json:
        print(json.dumps(outcome.to_json(), ensure_ascii=False))
        return
    packages.warn(outcome)
    if outcome.record is not None:
        print(f"done: change #{outcome.record.id}; `manage rollback` undoes it")
    elif outcome.resolution.steps:
        print("nothing was changed")
    else:
        print("nothing to do: it is there already")


def _list(options: argparse.Namespace) -> int:
    found = installed(bundles.locate())
    if options.json:
        print(json.dumps([{"name": item.shown_name, "version": item.version} for item in found.values()]))
    else:
        for item in sorted(found.values(), key=lambda item: item.name):
            print(f"{item.shown_name} {item.version}")
    return DONE
