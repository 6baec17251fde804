"""Runs a program and notes each Python source file of which importlib makes code.

    python start_hook.py SEEN PROGRAM ARGUMENT...

It is run by the bundle's Python, so it imports the standard library alone and nothing of packager. Each path is one
line of the file SEEN, written at once, so that it does not matter how the program ends.
"""

from __future__ import annotations

import importlib.machinery
import os
import runpy
import sys
from types import CodeType


def watch(seen: str) -> None:
    """Note what was loaded before us, and everything from now on."""
    descriptor = os.open(seen, os.O_WRONLY | os.O_APPEND)

    def note(path: str) -> None:
        os.write(descriptor, os.fsencode(os.path.abspath(path)) + b"\n")  # noqa: PTH100 -- pathlib may not be loaded

    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and getattr(module, "__cached__", None):
            note(path)
    get_code = importlib.machinery.SourceFileLoader.get_code

    def noting(loader: importlib.machinery.SourceFileLoader, name: str) -> CodeType | None:
        note(loader.get_filename(name))
        return get_code(loader, name)

    importlib.machinery.SourceFileLoader.get_code = noting  # type: ignore[assignment,method-assign]


if __name__ == "__main__":
    _, seen, program, *arguments = sys.argv
    watch(seen)
    sys.argv = [program, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(program))  # noqa: PTH100, PTH120
    runpy.run_path(program, run_name="__main__")
