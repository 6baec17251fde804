"""`manage relocate`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from portable import bundle as bundles
from portable import relocate
from portable.errors import DONE

_TEXT = """\
Writes where this bundle lies now into the files that can hold it as an absolute path alone. Nothing in it needs that:
it runs wherever it was moved to. It helps to build software against the bundle's libraries, and programs that
look for their data under the path they were compiled for. It may be repeated after every move.
"""
_EPILOG = """\
A run that was cut short is completed by the next one. Files that were changed since the bundle was unzipped are left
alone and listed. `verify` takes the rewritten files for undamaged.
"""


def add(commands: Any) -> None:
    """Add `relocate` to the words of `portable`."""
    parser = commands.add_parser(
        "relocate",
        help="write the bundle's place into files that hold it; never needed to run it",
        description=_TEXT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(action=_relocate)


def _relocate(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    plan = relocate.make_plan(bundle.root, target=bundle.target)
    if not options.dry_run:
        relocate.apply(plan)
    if options.json:
        print(json.dumps({**plan.to_json(), "dry_run": options.dry_run}))
        return DONE
    shown = plan.lines() if options.dry_run else (line for line in plan.lines() if line.startswith("skip"))
    for line in shown:
        print(line)
    verb = "would be" if options.dry_run else "were"
    print(f"{len(plan.changes)} files {verb} rewritten, {plan.unchanged} hold this place already")
    return DONE
