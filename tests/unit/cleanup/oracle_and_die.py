"""Run as a program: clean a tree by one careless rule and the oracle, and get SIGKILL at the Nth step that moves.

    oracle_and_die.py TREE CACHE PATTERN... N

Steps are renames, removals, new folders and changed times in the tree or its quarantine; N is 0 for none. Prints how
many steps there were.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from cleanup_trees import one_rule

from packager.cleanup import OracleMeans, clean_tree
from packager.console import Console

STEPS = {"os.rename", "os.rmdir", "os.remove", "os.mkdir", "shutil.rmtree", "os.utime"}

tree, cache, *patterns, last = sys.argv[1:]
seen = [0]


def count(event: str, args: tuple[object, ...]) -> None:
    if event in STEPS and any(
        isinstance(word, (str, os.PathLike)) and str(word).startswith(f"{tree}/") for word in args
    ):
        seen[0] += 1
        if seen[0] == int(last):
            os.kill(os.getpid(), signal.SIGKILL)


means = OracleMeans(scratch=Path(f"{tree}-scratch"), cache=Path(cache), console=Console(), trace=False, gate=False)
sys.addaudithook(count)
clean_tree(Path(tree), one_rule(*patterns, "/clutter/tests/"), oracle=means)
print(seen[0])
