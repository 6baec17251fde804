"""The licence texts of a bundle in one folder, one folder for each component, and a list of those without any."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packager.filesystem import remove_tree
from packager.papers.components import Component

FOLDER = "licenses"
LIST = "README.txt"
_HEAD = """The licences of what this bundle is made of, component by component: what its own metadata says, and the
folder here with the texts that came with it. The texts lie where they were before as well.
"""


@dataclass(frozen=True, kw_only=True)
class TextPlan:
    """`copies`: path below licenses/ -> file of the tree. `missing` are the components no text was found for."""

    copies: dict[str, Path]
    listing: str
    missing: tuple[Component, ...]


def plan_texts(components: Sequence[Component]) -> TextPlan:
    """What the folder will hold. Nothing is read or written."""
    copies = {
        PurePosixPath(component.folder, text.name).as_posix(): text.source
        for component in components
        for text in component.texts
    }
    missing = tuple(component for component in components if not component.texts)
    lines = [_line(component) for component in sorted(components, key=lambda item: (item.name.lower(), item.ref))]
    return TextPlan(copies=copies, listing="\n".join([_HEAD, *lines, ""]), missing=missing)


def apply_texts(plan: TextPlan, root: Path) -> None:
    """Make `root`/licenses anew."""
    folder = root / FOLDER
    remove_tree(folder)
    folder.mkdir()
    for name, source in plan.copies.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    (folder / LIST).write_text(plan.listing, encoding="utf-8", newline="\n")


def _line(component: Component) -> str:
    said = " | ".join(component.licences) or "licence not stated"
    where = f"{component.folder}/" if component.texts else "NO TEXT FOUND"
    return f"{component.name} {component.version}".rstrip() + f": {said}: {where}"
