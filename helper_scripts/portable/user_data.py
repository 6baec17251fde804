"""What in a bundle belongs to its user (user_data.json): models, pictures, workflows, nodes of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portable.bundle import Bundle

_RULES = Path(__file__).absolute().with_name("user_data.json")


@dataclass(frozen=True, kw_only=True)
class UserData:
    """`folders` and `nodes` are paths from the bundle's root. `shipped_nodes` came with the bundle and are in the state
    it brought; one that has become a git work tree is the user's."""

    folders: tuple[str, ...]
    nodes: str
    shipped_nodes: frozenset[str]
    helpers: tuple[str, ...]
    ignored: frozenset[str]

    @classmethod
    def of(cls, bundle: Bundle, shipped: Iterable[str]) -> UserData:
        """For `bundle`, of which `shipped` are the paths it came with."""
        rules: Any = json.loads(_RULES.read_text(encoding="utf-8"))
        nodes = f"{bundle.app}/{rules['nodes']}"
        names = {path[len(nodes) + 1 :].partition("/")[0] for path in shipped if path.startswith(f"{nodes}/")}
        return cls(
            folders=tuple(f"{bundle.app}/{name}" for name in rules["folders"]),
            nodes=nodes,
            shipped_nodes=frozenset(name for name in names if not (bundle.root / nodes / name / ".git").exists()),
            helpers=tuple(rules["own"]),
            ignored=frozenset(rules["ignored"]),
        )

    def owns(self, path: str) -> bool:
        """Whether what is at `path`, from the bundle's root, is the user's."""
        return self._in_folders(path) or self._in_own_node(path)

    def decides(self, path: str, *, is_there: bool) -> bool:
        """Whether it is for the user alone that what was shipped at `path` is not as it was: they changed it, or it
        is of a node they have taken over. What is just missing from their folders is missing."""
        return self._in_own_node(path) or (is_there and self._in_folders(path))

    def _in_folders(self, path: str) -> bool:
        return any(path == folder or path.startswith(f"{folder}/") for folder in self.folders)

    def _in_own_node(self, path: str) -> bool:
        node = path[len(self.nodes) + 1 :].partition("/")[0] if path.startswith(f"{self.nodes}/") else ""
        return bool(node) and node not in self.shipped_nodes
