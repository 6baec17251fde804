"""The papers of a bundle: its SBOM, and the licence texts of all that is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packager import resources
from packager.bundle import BundleTree
from packager.console import Console
from packager.filesystem import write_atomic
from packager.lock import Lock
from packager.papers.inventory import inventory
from packager.papers.sbom import MEMBER, SUFFIX, sbom
from packager.papers.texts import FOLDER, apply_texts, plan_texts

__all__ = ["FOLDER", "MEMBER", "SUFFIX", "write_papers"]

_TOOL = "comfyui-portable-packager"
_SHOWN = 20  # components worth naming


def write_papers(tree: BundleTree, lock: Lock, bundle: Mapping[str, Any], *, epoch: int, console: Console) -> None:
    """Write licenses/ and portable/sbom.cdx.json into `tree`. `bundle` and `epoch`: see sbom.

    Tells what no licence text was found for.
    """
    components = inventory(tree, lock)
    texts = plan_texts(components)
    apply_texts(texts, tree.root)
    text = sbom(components, bundle=bundle, tool=(_TOOL, resources.version()), epoch=epoch)
    write_atomic(tree.portable / MEMBER, text.encode(), mode=0o644)
    console.info(f"{len(components)} components, {len(texts.copies)} licence texts")
    if texts.missing:
        names = [component.name for component in texts.missing]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        console.info(f"no licence text came with {', '.join(names[:_SHOWN])}{more}")
