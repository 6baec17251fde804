"""Compiles source files so that the same source gives the same bytecode in every folder.

    python compiler.py ROOT LISTING

It is run by the bundle's Python, so it imports the standard library alone and nothing of packager. A line of LISTING is
`checked` or `unchecked` (PEP 552) and a path from ROOT, by which the bytecode names its source. What cannot be compiled
is told on stdout, path and reason with a tab between; packages ship templates and files for other Pythons as .py.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import py_compile
import sys
from types import CodeType


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
        compiled = importlib.util.cache_from_source(source, optimization="")
        try:
            py_compile.compile(
                source,
                cfile=compiled,
                dfile=path,
                doraise=True,
                optimize=0,
                invalidation_mode=modes[mode],
            )
        except (py_compile.PyCompileError, OSError, ValueError, RecursionError) as error:
            print(path, str(error).replace("\n", " ").replace("\t", " "), sep="\t")
            continue
        if sys.version_info < (3, 11) and _differs_by_run(compiled):
            os.unlink(compiled)  # noqa: PTH108
            print(path, "holds a set whose order Python 3.10 takes from addresses, other ones in each run", sep="\t")


def _differs_by_run(compiled: str) -> bool:
    """Whether the bytecode is other bytes in each run: marshal sorts a frozenset from Python 3.11 on (bpo-37596)."""
    with open(compiled, "rb") as stream:  # noqa: PTH123
        return _holds_unsteady_set(marshal.loads(stream.read()[16:]))  # noqa: S302 -- ours; PEP 552: 16 bytes of header


def _holds_unsteady_set(value: object) -> bool:
    if isinstance(value, CodeType):
        return any(map(_holds_unsteady_set, value.co_consts))
    if isinstance(value, frozenset):
        return len(value) > 1 and any(map(_is_hashed_by_address, value))
    return isinstance(value, tuple) and any(map(_holds_unsteady_set, value))


def _is_hashed_by_address(value: object) -> bool:
    """Text, numbers and True have a hash of their own, PYTHONHASHSEED given; None has one from Python 3.12 on."""
    if isinstance(value, (tuple, frozenset)):
        return any(map(_is_hashed_by_address, value))
    return value is None or value is Ellipsis


if __name__ == "__main__":
    main(*sys.argv[1:])
