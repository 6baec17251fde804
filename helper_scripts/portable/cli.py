"""The words of `portable` and of every helper script."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from portable import bundle as bundles
from portable import interlock, place, preflight, programs
from portable.bundle import WINDOWS, Bundle
from portable.changes import STATE
from portable.completeness import require_all_parts
from portable.disk import explain
from portable.errors import DONE, FAILED, INTERRUPTED, HelperError, UsageError

# Which module has the words; only that one is loaded, for a start must not wait for all that helpers can do.
_MODULES = {
    "package_commands": ("install", "uninstall", "list"),
    "snapshot_commands": ("snapshots", "snapshot", "rollback"),
    "info": ("info",),
    "verify_commands": ("verify", "repair"),
    "doctor_commands": ("doctor",),
    "relocate_command": ("relocate",),
    "model_commands": ("models",),
    "node_commands": ("node",),
    "instance_commands": ("instance",),
}
_EPILOG = """\
examples (on Windows with .bat instead of .sh):
  ./run_comfyui.sh --listen --port 8188        every argument goes to ComfyUI as it is
  ./install_package.sh "opencv-python-headless<5"
  ./install_package.sh -r ComfyUI/custom_nodes/some-node/requirements.txt
  ./install_package.sh --wheels-dir ~/wheels   without a network
  ./manage.sh node add https://github.com/kijai/ComfyUI-KJNodes
  ./manage.sh instance create trial            a second ComfyUI over the same packages and models
  ./manage.sh snapshots                        what was changed; `rollback` undoes it, also offline
  ./manage.sh verify                           are all files still as they were shipped? `repair` puts back
  ./manage.sh doctor --report                  what is wrong; a file to attach to a bug report
  ./manage.sh relocate --dry-run               which files hold the path of the bundle?
  ./manage.sh models fetch                     the models this bundle wants and does not carry
  ./manage.sh exec -- python -m pip list       any program in the bundle's environment

exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted; `run` and `exec` end with the program's own.
"""

_LOOKING = ("doctor", "info", "repair", "verify")  # they tell what is not there, and can mend it
_FRONTS: tuple[list[str], ...] = ([], ["run"], ["run", "--cpu"], ["install"])


def main(arguments: Sequence[str]) -> int:
    """Do what `arguments` say and return the exit code."""
    try:
        code = _dispatch(arguments)
    except HelperError as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except OSError as error:  # where no sentence of its own was found for it
        print(f"error: {explain(error)}", file=sys.stderr)
        code = FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if WINDOWS and holds_window(arguments, code) and sys.stdin.isatty() and sys.stdout.isatty():
        input("Press Enter to close this window. ")
    return code


def holds_window(arguments: Sequence[str], code: int) -> bool:
    """Whether a front that was double-clicked has something to say: its window closes when it ends.

    A double click passes no arguments of the user's, so only the words of the front itself are there.
    """
    return list(arguments) in _FRONTS and (code != DONE or not arguments)


def _dispatch(arguments: Sequence[str]) -> int:
    if arguments and arguments[0].startswith("--instance="):
        return _dispatch(["--instance", arguments[0].partition("=")[2], *arguments[1:]])
    if arguments[:1] == ["--instance"]:
        _module("instances").choose(arguments[1:2])
        return _dispatch(arguments[2:])
    if arguments and arguments[0] == "run":  # never parsed: `--help` and the like are ComfyUI's
        bundle = bundles.read(bundles.locate())
        require_all_parts(bundle.home)
        _recover(bundle)
        place.note(bundle.home)
        for concern in preflight.look(bundle, arguments[1:], os.environ):
            print(f"warning: {concern}", file=sys.stderr)
        if (bundle.portable / "models.json").exists():
            _module("model_commands").offer(bundle)
        for root in (bundle.root, *filter(None, [bundle.base])):
            interlock.hold_for_run(root / STATE, ["run", *arguments[1:]])
        return programs.run_app(bundle, [*preflight.screen(arguments[1:], os.environ), *arguments[1:]])
    words, command = list(arguments), []
    if words[:1] == ["exec"] and "--" in words:
        words, command = words[: words.index("--")], words[words.index("--") + 1 :]
    parser = _parser(words)
    options = parser.parse_args(words)
    if options.command is None:
        parser.print_help()
        return DONE
    options.program = command
    root = bundles.locate()
    if (root / "portable/bundle.json").exists():
        bundle = bundles.read(root)
        if options.command not in _LOOKING:
            require_all_parts(bundle.home)
        _recover(bundle)
    action: Callable[[argparse.Namespace], int] = options.action
    return action(options)


def _recover(bundle: Bundle) -> None:
    """Finish or undo what a killed helper left, unless the helper that is at it still lives."""
    if (bundle.root / STATE / "active").exists():
        with _module("command_line").held(bundle, ["recover"], force=True):
            pass


def _module(name: str) -> Any:
    return importlib.import_module(f"portable.{name}")


def _parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser for the command that `words` begin with; for every command if they begin with none."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="portable",
        description="Runs, extends and checks this portable ComfyUI.",
        epilog=_EPILOG,
        formatter_class=raw,
        allow_abbrev=False,
    )
    parser.add_argument("--instance", metavar="NAME", help="first of all words: COMMAND is about that instance")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    commands.add_parser("run", help="start ComfyUI; all arguments are its own")

    wanted = [name for name, known in _MODULES.items() if words[:1] and words[0] in known]
    for name in wanted or ([] if words[:1] == ["exec"] else _MODULES):
        _module(name).add(commands)

    execute = commands.add_parser(
        "exec",
        help="run any program in the bundle's environment",
        description="Runs a program in the bundle's environment; `python` is the bundle's.",
        usage="portable exec [--bundle ROOT] -- COMMAND [ARGUMENT ...]",
        epilog='example: manage.sh exec -- python -c "import torch; print(torch.__version__)"',
        formatter_class=raw,
        allow_abbrev=False,
    )
    execute.add_argument("--bundle", metavar="ROOT", help="another bundle than the one these helpers lie in")
    execute.set_defaults(action=_exec)
    return parser


def _exec(options: argparse.Namespace) -> int:
    if not options.program:
        raise UsageError("say what to run: exec -- COMMAND [ARGUMENT ...]")
    if options.bundle is None:
        return programs.run_in(bundles.read(bundles.locate()), options.program)
    root = Path(os.path.abspath(options.bundle))  # noqa: PTH100 - links stay, `..` goes
    if not bundles.python_of(root).exists():
        raise UsageError(f"{root} is no bundle: it holds no {bundles.python_of(Path())}")
    described = (root / "portable" / "bundle.json").exists()  # a bundle that is still being built has none yet
    return programs.run_any(root, options.program, bundles.read(root).env if described else {})
