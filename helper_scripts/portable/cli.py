"""The words of `portable` and of every helper script."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from portable import bundle as bundles
from portable import (
    info,
    interlock,
    model_commands,
    package_commands,
    programs,
    relocate_command,
    snapshot_commands,
    snapshots,
    transaction,
    verify,
)
from portable.bundle import WINDOWS, Bundle
from portable.changes import STATE
from portable.command_line import held
from portable.disk import explain
from portable.errors import DONE, FAILED, INTERRUPTED, HelperError, UsageError

_EPILOG = """\
examples (on Windows with .bat instead of .sh):
  ./run_comfyui.sh --listen --port 8188        every argument goes to ComfyUI as it is
  ./install_package.sh "opencv-python-headless<5"
  ./install_package.sh -r ComfyUI/custom_nodes/some-node/requirements.txt
  ./install_package.sh --wheels-dir ~/wheels   without a network
  ./manage.sh snapshots                        what was changed; `rollback` undoes it, also offline
  ./manage.sh verify                           are all files still as they were shipped?
  ./manage.sh relocate --dry-run               which files hold the path of the bundle?
  ./manage.sh models fetch                     the models this bundle wants and does not carry
  ./manage.sh exec -- python -m pip list       any program in the bundle's environment

exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted; `run` and `exec` end with the program's own.
"""

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
    if arguments and arguments[0] == "run":  # never parsed: `--help` and the like are ComfyUI's
        bundle = bundles.read(bundles.locate())
        _recover(bundle)
        model_commands.offer(bundle)
        interlock.hold_for_run(bundle.root / STATE, ["run", *arguments[1:]])
        return programs.run_app(bundle, arguments[1:])
    words, command = list(arguments), []
    if words[:1] == ["exec"] and "--" in words:
        words, command = words[: words.index("--")], words[words.index("--") + 1 :]
    parser = _parser()
    options = parser.parse_args(words)
    if options.command is None:
        parser.print_help()
        return DONE
    options.program = command
    if (root := bundles.locate()) and transaction.is_interrupted(root) and (root / "portable/bundle.json").exists():
        _recover(bundles.read(root))
    action: Callable[[argparse.Namespace], int] = options.action
    return action(options)


def _recover(bundle: Bundle) -> None:
    """Finish or undo what a killed helper left, unless the helper that is at it still lives."""
    if transaction.is_interrupted(bundle.root):
        with held(bundle, ["recover"], force=True):
            pass


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="portable",
        description="Runs, extends and checks this portable ComfyUI.",
        epilog=_EPILOG,
        formatter_class=raw,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    commands.add_parser("run", help="start ComfyUI; all arguments are its own")

    package_commands.add(commands)
    snapshot_commands.add(commands)

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

    show = commands.add_parser("info", help="versions, and where the bundle lies", allow_abbrev=False)
    show.add_argument("--json", action="store_true", help="one JSON object on stdout")
    show.set_defaults(action=_info)

    check = commands.add_parser(
        "verify",
        help="compare every file with what was shipped",
        description="Compares every file with portable/manifest.json. What a helper changed is no damage.",
        allow_abbrev=False,
    )
    check.add_argument("--json", action="store_true", help="one JSON object on stdout")
    check.set_defaults(action=_verify)
    relocate_command.add(commands)
    model_commands.add(commands)
    return parser


def _exec(options: argparse.Namespace) -> int:
    if not options.program:
        raise UsageError("say what to run: exec -- COMMAND [ARGUMENT ...]")
    if options.bundle is None:
        bundle = bundles.read(bundles.locate())
        return programs.run_any(bundle.root, options.program, bundle.env)
    root = Path(os.path.abspath(options.bundle))  # noqa: PTH100 - links stay, `..` goes
    if not bundles.python_of(root).exists():
        raise UsageError(f"{root} is no bundle: it holds no {bundles.python_of(Path())}")
    described = (root / "portable" / "bundle.json").exists()  # a bundle that is still being built has none yet
    return programs.run_any(root, options.program, bundles.read(root).env if described else {})


def _info(options: argparse.Namespace) -> int:
    facts = info.describe(bundles.read(bundles.locate()))
    if options.json:
        print(json.dumps(facts, ensure_ascii=False, indent=2))
    else:
        width = max(map(len, facts)) + 2
        print("\n".join(f"{name + ':':{width}}{value}" for name, value in facts.items()))
    return DONE


def _verify(options: argparse.Namespace) -> int:
    root = bundles.locate()
    entries = verify.read_manifest(root / "portable" / "manifest.json")
    found_different = verify.judge(root, verify.find_damage(root, entries), snapshots.history(root))
    changed: list[verify.Damage] = []
    damage: list[verify.Damage] = []
    for item in found_different:
        (changed if item.kind == "changed" else damage).append(item)
    advice = verify.parts_to_unzip(root, entries, damage)
    if options.json:
        found = {
            "checked": len(entries),
            "damage": [vars(item) for item in damage],
            "changed": [vars(item) for item in changed],
            "advice": advice,
        }
        print(json.dumps(found, ensure_ascii=False))
    else:
        for item in [*changed, *damage]:
            print(f"{item.kind:8} {item.path}" + (f" ({item.detail})" if item.detail else ""))
        note = f", {len(changed)} changed by helpers" if changed else ""
        print(f"{len(entries)} entries checked{note}, {len(damage)} missing or damaged", *advice, sep="\n")
    return FAILED if damage else DONE
