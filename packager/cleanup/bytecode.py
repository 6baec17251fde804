"""Which bytecode Python writes again (PEP 3147): that whose source is there. Some packages ship bytecode alone."""

from __future__ import annotations

import os

CACHE = "__pycache__"


def is_orphan(path: str) -> bool:
    """Whether `path` is bytecode whose source is neither beside it nor beside its `__pycache__`.

    A name has a tag, an optimisation level and, while it is written, a number: `a.cpython-311.opt-1.pyc.140213`.
    """
    folder, _, name = path.rpartition("/")
    stem, suffix, _ = name.partition(".pyc")
    if not suffix:
        return False
    folder = folder.removesuffix(f"/{CACHE}")
    while stem:
        if os.path.lexists(f"{folder}/{stem}.py"):
            return False
        stem = stem.rpartition(".")[0]
    return True


def is_cache(path: str) -> bool:
    """Whether `path` lies in a `__pycache__` and is made again: bytecode by Python, the rest by who keeps it there."""
    return f"/{CACHE}/" in path and not is_orphan(path)
