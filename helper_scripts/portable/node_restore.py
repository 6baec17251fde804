"""What a rollback does about nodes: the user's files in them are kept, and nodes come back to the version wanted.

What helpers changed is in the transactions, and comes back without git and without a network. A node that something
else changed, such as `git pull` or ComfyUI-Manager, comes back if its repository still holds the commit.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from portable import node_files
from portable.bundle import Bundle
from portable.changes import Change, Plan, kind_of
from portable.disk import require_room
from portable.errors import HelperError
from portable.layers import environment_of
from portable.node_git import Git
from portable.node_state import describe_node, read_nodes
from portable.snapshots import folder_of, history

_COMMIT = re.compile(r"git:([0-9a-f]{40,64})")


def complete(bundle: Bundle, plan: Plan, wanted: Mapping[str, str] | None, work: Path) -> Plan:
    """`plan` with what keeps the user's files in the nodes it changes. With `wanted`, versions as in node_state, also
    with the changes that bring the other nodes there, as far as can be. `work` is where `plan` was prepared."""
    aside = node_files.aside_path(bundle, "")  # what was put there is the user's, and no rollback takes it away
    changes = {change.path: change for change in plan.changes if not change.path.startswith(aside)}
    if wanted is not None:
        staged = work / "nodes"
        staged.mkdir()
        for change in restore(bundle, wanted, staged):
            changes.setdefault(change.path, change)
    more = node_files.keep_through(bundle, changes, work)
    return replace(plan, changes=(*changes.values(), *more))


def restore(bundle: Bundle, wanted: Mapping[str, str], work: Path) -> Sequence[Change]:
    """The changes that bring nodes to their `wanted` version, as in node_state; those it cannot are left out.

    A node that was not there then goes only if a helper brought it.
    """
    now = read_nodes(bundle.app_dir / "custom_nodes")
    changes = []
    for name in sorted(wanted.keys() | now.keys()):
        path, version = node_files.own_path(bundle, name), wanted.get(name)
        if version == now.get(name):
            continue
        if version is None:
            if node_files.is_recorded(bundle, name):
                changes.append(Change(path=path))
        elif _from_history(bundle, path, version, work / name) or _with_git(bundle, name, version, work / name):
            changes.append(Change(path=path, source=work / name))
    return changes


def _from_history(bundle: Bundle, path: str, version: str, place: Path) -> bool:
    """Copy the node as some transaction found it, if one found it at `version`."""
    for record in reversed(history(bundle.root)):
        for change in record.changes:
            old = folder_of(bundle.root, record.id) / "old" / str(change.number)
            if change.path == path and change.before is not None and describe_node(old) == version:
                require_room(bundle.root, sum(file.lstat().st_size for file in old.rglob("*") if file.is_file()))
                if kind_of(old) == "directory":
                    shutil.copytree(old, place, symlinks=True)
                else:
                    shutil.copy2(old, place, follow_symlinks=False)
                return True
    return False


def _with_git(bundle: Bundle, name: str, version: str, place: Path) -> bool:
    """Check the commit out in a copy of the node; not if git is not there, or a changed file is in the way."""
    commit, git = _COMMIT.fullmatch(version), Git.find(environment_of(bundle))
    folder = node_files.nodes_folder(bundle) / name
    if commit is None or git is None or kind_of(folder / ".git") != "directory":
        return False
    shutil.copytree(folder / ".git", place / ".git", symlinks=True)
    for path in node_files.walk(folder):
        node_files.copy_lightly(folder / path, place / path, bundle.root)
    with contextlib.suppress(HelperError):
        git.run(place, "checkout", "--quiet", "--detach", commit[1])
    return describe_node(place) == version
