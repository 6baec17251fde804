"""The words of `verify` and `repair`."""

from __future__ import annotations

import argparse
import functools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from portable import bundle as bundles
from portable import repair
from portable.bundle import Bundle
from portable.command_line import add_json, confirm, held, say, telling
from portable.environment import environment
from portable.errors import DONE, FAILED, UsageError
from portable.inspection import explain, inspect
from portable.shipped_files import Source, source_of
from portable.snapshots import prune
from portable.unknown import why_removed

_SHOWN = 200  # lines of one kind; --json has all

_VERIFY = """\
Reads every file and compares it with portable/manifest.json. What a helper changed, and what is yours (models, input,
output, workflows, nodes of your own), is no damage. Files nobody knows are listed. With PATH it tells about that alone,
also why something was left out of the bundle.
"""
_REPAIR = """\
Puts back files that are missing or damaged. Each must have the hash in portable/manifest.json. From a web server only
the files that are needed are fetched. What is yours, and what a helper changed, stays. `rollback` undoes it.
"""


def add(commands: Any) -> None:
    """Add the commands to the parser."""
    raw = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    check = commands.add_parser("verify", help="compare every file with what was shipped", description=_VERIFY, **raw)
    check.add_argument("paths", nargs="*", metavar="PATH", help="tell about these files or folders alone")
    add_json(check)
    check.set_defaults(action=_verify)

    mend = commands.add_parser(
        "repair",
        help="put back files that are missing or damaged",
        description=_REPAIR,
        epilog="examples:\n  manage.sh repair ~/Downloads/my-comfyui-1.0-linux-x86_64.zip\n"
        "  manage.sh repair ~/Downloads                  the folder that holds the parts\n"
        "  manage.sh repair https://example.org/my-comfyui-1.0-linux-x86_64-part1of2.zip",
        **raw,
    )
    mend.add_argument(
        "source", nargs="?", metavar="ZIP|FOLDER|URL", help="the zip the bundle came in; if it lies beside it, nothing"
    )
    mend.add_argument("--dry-run", action="store_true", help="show what would be put back, and change nothing")
    mend.add_argument("--yes", action="store_true", help="do not ask")
    mend.add_argument("--force", action="store_true", help="also while ComfyUI runs")
    add_json(mend)
    mend.set_defaults(action=_repair)


def _verify(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    if options.paths:
        return tell_paths(bundle, options.paths, contents=True, as_json=options.json)
    found = inspect(bundle)
    if options.json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
        return FAILED if found.damage else DONE
    unknown = []
    for path, count in found.unknown:
        rule = why_removed(path, found.removed)
        notes = [f"{count} files"] if path.endswith("/") else []
        notes += [f"left out of the bundle by rule {rule.rule}: {rule.why}"] if rule else []
        unknown.append(f"unknown  {path}" + (f" ({'; '.join(notes)})" if notes else ""))
    differing = [
        f"{kind or item.kind:8} {item.path}" + (f" ({item.detail})" if item.detail else "")
        for items, kind in ((found.changed, ""), (found.yours, "yours"), (found.damage, ""))
        for item in items
    ]
    for lines in (unknown, differing):
        for line in [*lines[:_SHOWN], *([f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else [])]:
            print(line)
    print(found.summary, *found.advice, sep="\n")
    if found.damage and not found.advice:
        print("`manage repair` puts back what is missing or damaged")
    return FAILED if found.damage else DONE


def tell_paths(bundle: Bundle, texts: Sequence[str], *, contents: bool, as_json: bool) -> int:
    """Print a sentence on each path; FAILED if one is damaged. `contents`: by what files hold, not by their size."""
    paths = [_inside(bundle, text) for text in texts]
    found = inspect(bundle, contents=contents)
    said = {path: explain(bundle, found, path) for path in paths}
    lines = [json.dumps(said, ensure_ascii=False)] if as_json else [f"{path}: {text}" for path, text in said.items()]
    print(*lines, sep="\n")
    return FAILED if any(item.path in paths for item in found.damage) else DONE


def _inside(bundle: Bundle, text: str) -> str:
    """`text` as a path from the bundle's root: as it stands, or from the working directory."""
    for base in (bundle.root, Path.cwd()):
        path = os.path.normpath(base / text)
        if Path(path).is_relative_to(bundle.root) and (base is not bundle.root or not Path(text).is_absolute()):
            return Path(path).relative_to(bundle.root).as_posix()
    raise UsageError(f"{text} is not in the bundle {bundle.root}: give a path in it.")


def _repair(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    environ = environment(bundle.root, os.environ, recipe_env=bundle.env)
    given = options.source and source_of(bundle, options.source, environ)  # before anything is begun
    find = functools.cache(lambda: given or source_of(bundle, None, environ))
    command = ["repair", *([given.shown] if isinstance(given, Source) else [])]

    def show(choice: repair.Choice) -> bool:
        if not options.json:
            for entry in choice.entries[:_SHOWN]:
                print(f"  {entry['path']}", flush=True)
            if len(choice.entries) > _SHOWN:
                print(f"  ... {len(choice.entries)} in all", flush=True)
        return confirm(options)

    with telling(options), held(bundle, command, force=options.force):
        choice, record = repair.run(bundle, find, command=command, show=show, say=say)
        if record is not None:
            prune(bundle.root)
    if options.json:
        paths = [entry["path"] for entry in choice.entries]
        found = {
            "applied": record is not None,
            "id": record.id if record else None,
            "files": paths,
            "left": choice.left,
        }
        print(json.dumps(found, ensure_ascii=False))
    else:
        for path, reason in choice.left.items():
            print(f"left as it is: {path} ({reason})")
        if record is not None:
            print(f"done: change #{record.id}, {record.summary}")
        else:
            print("nothing was changed" if choice.entries else "nothing to put back")
    return DONE
