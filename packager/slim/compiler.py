"""Compiles source files so that the same source gives the same bytecode in every folder.

    python compiler.py ROOT LISTING

It is run by the bundle's Python, so it imports the standard library alone and nothing of packager. A line of LISTING is
`checked` or `unchecked` (PEP 552) and a path from ROOT, by which the bytecode names its source. What cannot be compiled
is told on stdout, path and reason with a tab between; packages ship templates and files for other Pythons as .py.
"""

from __future__ import annotations

import importlib.util
import os
import py_compile
import sys


def main(root: str, listing: str) -> None:
    modes = {
        "checked": py_compile.PycInvalidationMode.CHECKED_HASH,
        "unchecked": py_compile.PycInvalidationMode.UNCHECKED_HASH,
    }
    with open(listing, encoding="utf-8", errors="surrogateescape") as stream:  # noqa: PTH123 -- imports change bytes
        lines = stream.read().splitlines()
    for line in lines:
        mode, _, path = line.partition(" ")
        source = os.path.join(root, path)  # noqa: PTH118
        try:
            py_compile.compile(
                source,
                cfile=importlib.util.cache_from_source(source, optimization=""),
                dfile=path,
                doraise=True,
                optimize=0,
                invalidation_mode=modes[mode],
            )
        except (py_compile.PyCompileError, OSError, ValueError, RecursionError) as error:
            print(path, str(error).replace("\n", " ").replace("\t", " "), sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
