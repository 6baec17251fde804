"""What the commands that change the bundle share: holding it, asking, telling."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence

from portable import interlock, transaction
from portable.bundle import Bundle
from portable.changes import STATE
from portable.errors import HelperError


@contextlib.contextmanager
def held(bundle: Bundle, command: Sequence[str], *, force: bool = False) -> Iterator[None]:
    """Hold the bundle for a change, after finishing or undoing what a killed helper left."""
    state = bundle.root / STATE
    if bundle.base is not None:  # an instance needs its base to stay as it is meanwhile
        interlock.hold_for_run(bundle.base / STATE, ["--instance", bundle.root.name, *command])
    with interlock.changing(state, command, force=force):
        transaction.recover(bundle.root, say)
        yield


def say(text: str) -> None:
    """One line of progress, to stderr."""
    print(text, file=sys.stderr, flush=True)


def confirm(options: argparse.Namespace) -> bool:
    """Ask on a terminal, unless --yes; elsewhere nobody could answer. --dry-run answers no."""
    if options.dry_run:
        return False
    if options.yes or options.json or not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print("Go ahead? [Y/n] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")


@contextlib.contextmanager
def telling(options: argparse.Namespace) -> Iterator[None]:
    """With --json an error is an object on stdout too."""
    try:
        yield
    except HelperError as error:
        if options.json:
            print(json.dumps({"applied": False, "error": str(error), "exit_code": error.exit_code}, ensure_ascii=False))
        raise


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option --json."""
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
