"""Which modules a start of the app really loads, seen by starting it once.

The app runs in a copy of the tree, with a hook around the one place where importlib makes code of a source file. What a
start may write to, packages among it, is a real copy; only large files, libraries and models, are hard links.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from packager.bundle import BundleTree
from packager.filesystem import remove_tree
from packager.process import Finished, run

_HOOK = Path(__file__).with_name("start_hook.py")
_LARGE = 1024 * 1024  # bytes
_HELP = 120  # seconds
_QUICK_TEST = ("--quick-test-for-ci", "--cpu")


@dataclass(frozen=True, kw_only=True)
class Start:
    """`modules`: source files loaded, from the root with forward slashes, sorted. `fault`: how the start failed."""

    modules: tuple[str, ...]
    fault: str = ""


def trace_start(tree: BundleTree, *, scratch: Path, environment: Mapping[str, str], timeout: float) -> Start:
    """Start the app's quick test in a copy of `tree` below `scratch`, a folder on the same file system, and watch it.

    `environment` is the whole environment of the app; `timeout` is in seconds. The tree itself is not written to, but
    by a start that changes a file of 1 MiB or more in place, where the file system has hard links.
    """
    remove_tree(scratch)
    copy = BundleTree(root=scratch / "tree", target=tree.target, python_version=tree.python_version)
    try:
        _copy(tree, copy)
        seen = scratch / "seen"
        seen.touch()
        command: list[str | Path] = [copy.python, "-X", "utf8", shutil.copyfile(_HOOK, scratch / _HOOK.name), seen]
        variables = {
            **environment,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONNOUSERSITE": "1",
            "PYTHONPYCACHEPREFIX": str(scratch / "no-bytecode"),  # or what lies in the tree would be taken for loaded
        }
        finished = run(
            [*command, copy.app / "main.py", *_QUICK_TEST], cwd=scratch, env=variables, timeout=timeout, check=False
        )
        return Start(modules=_below(copy.root, seen), fault=_fault(finished))
    finally:
        remove_tree(scratch)


def trace_helpers(tree: BundleTree, *, scratch: Path, environment: Mapping[str, str]) -> Start:
    """What the helpers in portable/ load before they start the app. They write nothing, so no copy is needed."""
    scratch.mkdir(parents=True)
    seen = scratch / "seen"
    seen.touch()
    command: list[str | Path] = [tree.python, "-X", "utf8", shutil.copyfile(_HOOK, scratch / _HOOK.name), seen]
    variables = {
        **environment,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONPYCACHEPREFIX": str(scratch / "no-bytecode"),
    }
    finished = run([*command, tree.portable, "--help"], cwd=scratch, env=variables, timeout=_HELP, check=False)
    return Start(modules=_below(tree.root, seen), fault=_fault(finished))


def _copy(tree: BundleTree, copy: BundleTree) -> None:
    copy.root.mkdir(parents=True)
    for folder in (tree.prefix, tree.app):
        shutil.copytree(folder, copy.root / folder.relative_to(tree.root), symlinks=True, copy_function=_copy_file)


def _copy_file(source: str, destination: str) -> str:
    status = os.lstat(source)
    if status.st_size >= _LARGE:
        try:
            os.link(source, destination, follow_symlinks=False)
        except OSError:  # a file system without hard links
            pass
        else:
            return destination
    return shutil.copy2(source, destination, follow_symlinks=False)


def _below(root: Path, seen: Path) -> tuple[str, ...]:
    top = os.path.realpath(root)
    found = set()
    for line in seen.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        path = os.path.normpath(line)
        relative = os.path.relpath(path, top)
        if path.startswith(top + os.sep) and path.endswith(".py") and (root / relative).is_file():
            found.add(relative.replace(os.sep, "/"))
    return tuple(sorted(found))


def _fault(finished: Finished) -> str:
    if finished.timed_out:
        return "the start took too long and was stopped"
    return f"the start ended with {finished.returncode}: {finished.output_tail}" if finished.returncode else ""
