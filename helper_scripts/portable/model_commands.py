"""`manage models ...`, and the question at the first start."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from portable import bundle as bundles
from portable import model_files, model_places
from portable.bundle import Bundle
from portable.errors import DONE, HelperError

_EPILOG = """\
example: manage.sh models link /workspace/models

Tokens are taken from the environment, such as HF_TOKEN for huggingface.co, and go to their host alone.
"""


def add(commands: Any) -> None:
    """Add `models` to the words of `portable`."""
    models = commands.add_parser(
        "models",
        help="fetch models, or use a folder of models shared with others",
        description="Fetches the models this bundle wants, and lets ComfyUI read a shared folder of models too.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = models.add_subparsers(dest="models_command", metavar="ACTION", required=True)
    fetch = actions.add_parser("fetch", help="fetch the models that are missing", allow_abbrev=False)
    fetch.set_defaults(action=_fetch)
    where = actions.add_parser("where", help="where models lie, and what is missing", allow_abbrev=False)
    where.add_argument("--json", action="store_true", help="one JSON object on stdout")
    where.set_defaults(action=_where)
    link = actions.add_parser("link", help="let ComfyUI read a shared models folder too", allow_abbrev=False)
    link.add_argument("folder", nargs="?", metavar="FOLDER", help="the first known place that exists if not given")
    link.set_defaults(action=_link)
    unlink = actions.add_parser("unlink", help="no longer read it; the folder stays", allow_abbrev=False)
    unlink.set_defaults(action=_unlink)


def offer(bundle: Bundle) -> None:
    """Ask at the first start on a terminal whether to fetch what is missing; elsewhere say how. Never stops a start."""
    try:
        wanted = model_files.missing(bundle)
        if not wanted:
            return
        amount = f"{len(wanted)} models, {sum(model.size or 0 for model in wanted) / 1e9:.1f} GB"
        asked = bundle.portable / "state" / "models_offered"
        if asked.exists() or not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
            print(f"note: {amount} are not here yet; `manage models fetch` gets them", file=sys.stderr)
            return
        answer = input(f"This bundle wants {amount}. Fetch them now? [y/N] ")
        asked.parent.mkdir(parents=True, exist_ok=True)
        asked.touch()
        if answer.strip().lower() in ("y", "yes"):
            model_files.fetch(bundle)
    except (HelperError, OSError, EOFError) as error:
        print(f"warning: {error}", file=sys.stderr)


def _bundle() -> Bundle:
    return bundles.read(bundles.locate())


def _fetch(_: argparse.Namespace) -> int:
    count = model_files.fetch(_bundle())
    print(f"{count} models fetched" if count else "no model is missing")
    return DONE


def _where(options: argparse.Namespace) -> int:
    bundle = _bundle()
    own, shared = bundle.app_dir / "models", model_places.linked(bundle)
    absent = [str(model.path) for model in model_files.missing(bundle)]
    known = model_places.candidates()
    if options.json:
        facts = {
            "own": str(own),
            "shared": str(shared) if shared else None,
            "candidates": [{"path": str(item.path), "exists": item.exists} for item in known],
            "missing": absent,
        }
        print(json.dumps(facts, ensure_ascii=False))
        return DONE
    print(f"in the bundle  {own}")
    print(f"shared         {shared or 'none; manage models link FOLDER sets it'}")
    for item in known:
        print(f"{'could be' if item.exists else 'not there':14} {item.path}")
    for path in absent:
        print(f"missing        {path}")
    return DONE


def _link(options: argparse.Namespace) -> int:
    bundle = _bundle()
    folder = model_places.link(bundle, options.folder)
    print(f"ComfyUI reads {folder} too; see {model_places.paths_file(bundle)}")
    return DONE


def _unlink(_: argparse.Namespace) -> int:
    print("ComfyUI reads its own folder alone" if model_places.unlink(_bundle()) else "no shared folder was set")
    return DONE
