"""Words to calls. Nothing is decided here; each command hands its words to one function and prints what it returns."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packager import commands, resources, targets
from packager.accelerators import AUTO, accelerators
from packager.console import Console
from packager.errors import INTERRUPTED, PackagerError
from packager.release_cli import add_cache, add_release_commands

_EPILOG = """\
examples:
  packager build quickstart                     the embedded example, into dist/
  packager build my-recipe.yml -o out           your own recipe
  packager build comfyui --source ComfyUI=~/src/ComfyUI
  packager download my-recipe.yml -o pantry     then: packager build my-recipe.yml --offline --wheels-dir pantry
  packager realize my-recipe.yml --home ~/comfy run it from ~/comfy/ID; packager delete ID --home ~/comfy
  packager verify out/my-bundle-1.0-linux-x86_64.zip

exit codes: 0 done, 1 a fault of the packager, 2 bad input or usage, 3 fetching failed,
            4 dependencies can't be resolved, 5 the proof failed, 130 interrupted
"""

_CLEAN = """\
What goes is moved to DIR/.packager-quarantine and stays there until you decide:
  packager clean DIR               by the rules of the tier safe, asking no oracle
  packager clean DIR --undo        all of it back as it was
  packager clean DIR --purge       all of it deleted for good
DIR is a Python, a conda environment, a venv, a folder of packages, or one that holds these beside ComfyUI. Version
control and ComfyUI's own files stay: only a build, which has them from elsewhere, leaves those out.
"""

Command = Callable[[argparse.Namespace, Console], commands.Result]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    arguments = _parser().parse_args(argv)
    console = Console(
        quiet=arguments.quiet, progress=False if arguments.no_progress else None, verbose=arguments.verbose
    )
    command: Command = arguments.command
    try:
        result = command(arguments, console)
        text = json.dumps(result.value, ensure_ascii=False) if arguments.json else result.text
        if text:
            print(text, flush=True)
    except PackagerError as error:
        console.error(str(error))
        return _fail(arguments, error.exit_code, str(error), error.details)
    except KeyboardInterrupt:
        console.error("interrupted; the same command goes on from where this one stopped")
        return _fail(arguments, INTERRUPTED, "interrupted")
    except BrokenPipeError:  # `packager rules | head`: nobody reads on, and so Python must not flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        message = f"{error.filename or 'the file system'}: {error.strerror}"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room; the same command goes on" if full else "check the path and its permissions"
        console.error(f"{message}\n  remedy: {remedy}")
        return _fail(arguments, 1 if full else 2, message)
    return result.exit_code


def _fail(arguments: argparse.Namespace, exit_code: int, message: str, details: Mapping[str, Any] | None = None) -> int:
    if arguments.json:
        print(json.dumps({"error": message, "exit_code": exit_code, **(details or {})}, ensure_ascii=False))
    return exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="packager",
        description="Make a portable, relocatable ComfyUI out of a recipe, and prove it before it ships.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {resources.version()}")
    sub = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument("--json", action="store_true", help="one JSON object on stdout, nothing else there")
    everywhere.add_argument("--quiet", action="store_true", help="say nothing but warnings and errors")
    everywhere.add_argument("--no-progress", action="store_true", help="no bars, one line a step")
    everywhere.add_argument("-v", "--verbose", action="store_true", help="say more")

    def add(name: str, command: Command, text: str) -> argparse.ArgumentParser:
        added = sub.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", parents=[everywhere])
        added.set_defaults(command=command)
        return added

    _add_build(
        add("build", commands.build, "make the bundle a recipe describes, prove it, and write the release files")
    )
    added = add("validate", commands.validate, "show every fault of a recipe at once")
    added.add_argument("recipe", metavar="RECIPE", help="a file, or the name of one in recipes/")
    added = add("lock", commands.lock, "pin every repository and package of a recipe, in a file beside it")
    _add_lock(added)
    _add_local_commands(add)
    _add_tree_commands(add)
    add_release_commands(add, _add_means)
    add_cache(add)
    return parser


def _add_lock(parser: argparse.ArgumentParser) -> None:
    _add_means(parser)
    _add_accelerator(parser)
    _add_work(parser)
    parser.add_argument(
        "--target",
        dest="targets",
        action="append",
        default=[],
        metavar="T",
        choices=sorted(targets.TARGETS),
        help="one of %(choices)s; may be repeated, one file each (default: this machine's)",
    )
    parser.add_argument(
        "--upgrade",
        nargs="*",
        metavar="PKG",
        help="make it anew although it is current; with names, only these packages or repositories change",
    )
    parser.add_argument(
        "--explain", metavar="PKG", help="say why a package is in the lock, who asked and which rule chose its version"
    )


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    _add_means(parser)
    _add_accelerator(parser)
    parser.add_argument(
        "--target", metavar="T", choices=sorted(targets.TARGETS), help="one of %(choices)s; this machine's"
    )


def _add_accelerator(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--accelerator",
        metavar="A",
        choices=sorted([AUTO, *accelerators()]),
        help="the build of torch, in place of the recipe's: %(choices)s",
    )


def _add_means(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", metavar="RECIPE", help="a file, or the name of one in recipes/")
    parser.add_argument(
        "--source", action="append", default=[], metavar="NAME=PATH|URL", help="take a repository from here instead"
    )
    parser.add_argument(
        "--mirror", action="append", default=[], metavar="FROM=TO", help="rewrite URLs that begin with FROM"
    )
    parser.add_argument(
        "--runtime", metavar="R", help="where Python comes from, in place of the recipe's: miniforge, or host on Linux"
    )
    parser.add_argument("--offline", action="store_true", help="fetch nothing: cache, --source and --wheels-dir only")
    parser.add_argument(
        "--wheels-dir",
        type=Path,
        metavar="DIR",
        help="a folder of wheels to use beside the index, or one that `packager download` made",
    )


def _add_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="folder for work in progress (default: build/NAME-TARGET)"
    )


def _add_build(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser)
    _add_work(parser)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("dist"), metavar="DIR", help="release files (default: dist)"
    )
    parser.add_argument(
        "--version", dest="bundle_version", metavar="V", help="version of the bundle, in place of the recipe's"
    )
    parser.add_argument(
        "--format",
        action="append",
        default=[],
        choices=("zip", "tar.zst", "dir"),
        help="kind of archive; may be repeated",
    )
    _add_zip_options(parser)
    parser.add_argument(
        "--lock", type=Path, metavar="FILE", help="build from this lock (default: the one beside the recipe)"
    )
    parser.add_argument("--refresh-lock", action="store_true", help="make a stale lock anew instead of refusing it")
    parser.add_argument("--tier", choices=("none", "safe", "aggressive"), help="how far the clean-up goes")
    parser.add_argument(
        "--no-oracle", action="store_true", help="clean by the rules alone, without asking the tree before and after"
    )
    parser.add_argument(
        "--strip",
        action=argparse.BooleanOptionalAction,
        help="take symbols out of ELF files where the loader sees no difference (default: with --tier aggressive)",
    )
    parser.add_argument(
        "--bytecode",
        action=argparse.BooleanOptionalAction,
        help="ship bytecode of the modules a start loads (default: unless --tier none)",
    )
    parser.add_argument(
        "--keep-quarantine",
        action="store_true",
        help="keep what the clean-up took after the proof, for `packager clean --undo WORK/bundle/ROOT`",
    )
    parser.add_argument("--no-prove", action="store_true", help="ship without proof (the report says so)")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="resolve and print what would be installed, patches included; only --work is written",
    )


def _add_zip_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reuse", type=Path, metavar="ZIP", help="an earlier zip whose unchanged members are copied, not packed again"
    )
    parser.add_argument(
        "--max-part-size",
        metavar="SIZE",
        help="a zip over it comes in parts: bytes, or such as 1900MiB (default: under 2 GiB)",
    )


def _add_local_commands(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    added = add("download", commands.download, "gather all that a build fetches in one folder, for build --offline")
    _add_recipe(added)
    _add_work(added)
    added.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to fill")
    added = add("realize", commands.realize, "install a recipe in place, at HOME/ID, without an archive")
    _add_recipe(added)
    added.add_argument("--home", type=Path, required=True, metavar="DIR", help="folder that holds realized recipes")
    added.add_argument("--tier", choices=("none", "safe", "aggressive"), help="how far to clean up (default: none)")
    added.add_argument(
        "--models-dir", type=Path, metavar="DIR", help="put the models here, and let ComfyUI read them from here"
    )
    added.add_argument("--dry-run", action="store_true", help="resolve and print what would be installed")
    added = add("delete", commands.delete, "remove what realize made; models, outputs and added nodes of yours stay")
    added.add_argument("id", metavar="ID", help="version_id of the recipe")
    added.add_argument("--home", type=Path, required=True, metavar="DIR", help="the folder given to realize")
    added.add_argument("--all", action="store_true", help="remove your own files there too")
    added.add_argument("--yes", action="store_true", help="do not ask")
    added.add_argument("--dry-run", action="store_true", help="list what would be removed")


def _add_tree_commands(add: Callable[[str, Command, str], argparse.ArgumentParser]) -> None:
    added = add("verify", commands.verify, "prove a bundle: an archive, or a folder (of which a copy is proved)")
    added.add_argument("bundle", type=Path, metavar="ZIP|DIR")
    added = add("clean", commands.clean, "clean any Python tree but a finished bundle by the rules")
    added.formatter_class, added.epilog = argparse.RawDescriptionHelpFormatter, _CLEAN
    added.add_argument("tree", type=Path, metavar="DIR")
    added.add_argument("--tier", choices=("safe", "aggressive"), default="safe", help="how far to go (default: safe)")
    added.add_argument("--opt-in", action="append", default=[], metavar="RULE", help="switch an opt-in rule on")
    either = added.add_mutually_exclusive_group()
    either.add_argument("--dry-run", action="store_true", help="print the plan, change nothing")
    either.add_argument("--undo", action="store_true", help="put back what the last run, or the build, removed")
    either.add_argument("--purge", action="store_true", help="delete for good what the last run removed")
    added.add_argument(
        "--oracle",
        action="store_true",
        help="ask the tree's Python before and after, and put back what anything needs (some minutes)",
    )
    added.add_argument(
        "--keep-quarantine",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep what was removed, for --undo and --purge (default), or delete it at once",
    )
    added = add("rules", commands.rules, "list the clean-up rules and why each is safe")
    added.add_argument("recipe", metavar="RECIPE", nargs="?", help="list them with what this recipe adds")
    added = add("archive", commands.archive, "pack any folder, reproducibly")
    added.add_argument("folder", type=Path, metavar="DIR")
    added.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="a .zip or .tar.zst to write")
    added.add_argument("--level", choices=("fast", "default", "max"), default="default", help="how hard to compress")
    _add_zip_options(added)
    added.add_argument("--threads", type=int, metavar="N", help="processors to use (default: all)")
    added.add_argument(
        "--memory",
        metavar="SIZE",
        help="memory to pack with, about (default: 512MiB); a zip takes 80MiB at least, a tar.zst 350MiB",
    )
    added = add("extract", commands.extract, "unpack an archive, refusing anything that would leave the folder")
    added.add_argument("archive", type=Path, metavar="FILE")
    added.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder to unpack into")
    added.add_argument(
        "--max-size", metavar="SIZE", help="most it may take unpacked: bytes, or such as 100GiB (default: 64GiB)"
    )
    added.add_argument(
        "--max-ratio", type=int, metavar="N", help="most it may take unpacked, in times its own size (default: 100)"
    )
    added.epilog = (
        "The two limits stop archives made to fill a disk. They do not count for an archive that SHA256SUMS beside it "
        "lists with its hash."
    )


if __name__ == "__main__":
    sys.exit(main())
