"""The words of `doctor`."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from portable import bundle as bundles
from portable import doctor, footprint, model_places
from portable.bundle import WINDOWS, Bundle
from portable.changes import STATE
from portable.command_line import add_json, say
from portable.errors import DONE, FAILED, HelperError, UsageError
from portable.masking import mask
from portable.verify_commands import tell_paths

_TEXT = """\
Tells versions, graphics cards, where the bundle lies, what was changed in it, and what is wrong with it.
Exit code 1 if something needs to be done. With PATH it tells about these files or folders alone: as they were shipped,
changed, damaged, unknown, or removed from the bundle when it was built, by which rule and why.
"""
_EPILOG = """\
--report writes all of it into one file to attach to a bug report, with the files that differ and the end of ComfyUI's
log. Names of users and machines, tokens and the paths of your folders are masked; read it before you send it.
"""


def add(commands: Any) -> None:
    """Add `doctor` to the words of `portable`."""
    parser = commands.add_parser(
        "doctor",
        help="what this bundle is, and what is wrong with it; a report to attach to a bug report",
        description=_TEXT,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="such as the file that ComfyUI's log misses; from the bundle's folder"
    )
    parser.add_argument("--full", action="store_true", help="read every file, ask pip, load torch: may take minutes")
    parser.add_argument(
        "--report", nargs="?", const="", metavar="FILE", help="write a masked report (portable/state/report.txt)"
    )
    parser.add_argument("--footprint", action="store_true", help="what lies outside this folder; by itself nothing")
    add_json(parser)
    parser.set_defaults(action=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    bundle = bundles.read(bundles.locate())
    if options.paths:
        if options.footprint or options.report is not None:
            raise UsageError(
                "a PATH goes with --full and --json alone: --report and --footprint are of the whole bundle."
            )
        return tell_paths(bundle, options.paths, contents=options.full, as_json=options.json)
    if options.footprint:
        return _footprint(bundle, options)
    found = doctor.examine(bundle, os.environ, full=options.full, say=say)
    if options.report is not None:
        file = Path(options.report) if options.report else bundle.root / STATE / "report.txt"
        _write_report(bundle, found, file)
    if options.json:
        print(json.dumps(found.to_json(), ensure_ascii=False))
    elif options.report is None:
        print("\n".join(lines_of(found)))
    else:
        print(f"{file}: {len(found.problems)} problems. Read it before you send it.")
    return FAILED if found.problems else DONE


def lines_of(found: doctor.Examination) -> list[str]:
    """The examination for people; what is wrong comes last, where it is seen."""
    lines = []
    for heading, facts in found.facts.items():
        if facts:
            width = max(map(len, facts)) + 2
            lines += [heading, *(f"  {name + ':':{width}}{value}" for name, value in facts.items()), ""]
    lines += [f"note: {note}" for note in found.notes]
    lines += [f"PROBLEM: {problem}" for problem in found.problems] or ["no problem was found"]
    return lines


def report(bundle: Bundle, found: doctor.Examination) -> str:
    """One text with everything that helps somebody else to help, masked."""
    lines = [f"Report of {bundle.name} {bundle.version}, {time.strftime('%Y-%m-%d %H:%M')}", "", *lines_of(found)]
    if found.inspected:
        seen = found.inspected
        kinds = (("changed", seen.changed), ("yours", seen.yours), ("damage", seen.damage))
        listed = [f"{kind:8} {item.path} {item.detail}" for kind, items in kinds for item in items]
        listed += [f"unknown  {path} ({count} files)" for path, count in seen.unknown]
        limit: int = doctor.rules()["listed"]
        more = [f"... and {len(listed) - limit} more"] if len(listed) > limit else []
        lines += ["", "files that differ", *(listed[:limit] or ["none"]), *more]
    logs = sorted((bundle.app_dir / "user").glob("comfyui*.log"), key=lambda path: path.stat().st_mtime)
    if logs:
        text = logs[-1].read_text(encoding="utf-8", errors="replace").splitlines()
        lines += ["", f"end of {logs[-1].name}", *text[-doctor.rules()["log_lines"] :]]
    return mask("\n".join(lines) + "\n", _places(bundle), os.environ)


def _places(bundle: Bundle) -> dict[str, str]:
    """The folders of the user's that a text may name, and what stands for each."""
    places = {str(Path.cwd()): "<here>", str(bundle.root): "<bundle>", os.path.realpath(bundle.root): "<bundle>"}
    if shared := model_places.linked(bundle):
        places[str(shared)] = "<models>"
    moved = _moved_from(bundle)
    if moved:
        places[moved] = "<bundle before>"
    with contextlib.suppress(RuntimeError):
        places[str(Path.home())] = "~"
    return {path: word for path, word in places.items() if len(path.rstrip("/\\")) > 2}


def _moved_from(bundle: Bundle) -> str:
    try:
        return str(json.loads((bundle.root / STATE / "place.json").read_text(encoding="utf-8"))["before"] or "")
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _write_report(bundle: Bundle, found: doctor.Examination, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(report(bundle, found), encoding="utf-8")
    except OSError as error:
        raise HelperError(f"{file} cannot be written ({error.strerror}): give another file, --report FILE.") from error


def _footprint(bundle: Bundle, options: argparse.Namespace) -> int:
    system = "windows" if WINDOWS else "macos" if sys.platform == "darwin" else "posix"
    found = footprint.find(bundle, os.environ, system=system)
    if options.json:
        print(json.dumps({"outside": [vars(item) for item in found]}, ensure_ascii=False))
        return DONE
    for item in found:
        print(f"{item.path}  ({item.size / 1e6:.1f} MB): {item.why}")
    if not found:
        print(f"nothing outside {bundle.root}: deleting that folder removes all of it")
    return DONE
