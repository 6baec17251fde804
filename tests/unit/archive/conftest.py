"""Fixtures of the archive tests; what they are made of is in archive_trees.py."""

from archive_trees import archived, console, tree

__all__ = ["archived", "console", "tree"]
