"""The last check of an install: what each node asks for and the tree does not have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from packager.bundle import BundleTree
from packager.resolution.declared import declared_requirements
from packager.resolution.markers import applies, marker_environment
from packager.resolution.requirements import Line


def unmet_needs(tree: BundleTree) -> dict[str, list[str]]:
    """Node -> a sentence for each requirement line that the installed packages do not satisfy; only nodes with any.

    Nothing is imported: versions are those of the metadata in the tree's site-packages.
    """
    installed = _installed(tree.site_packages)
    environment = marker_environment(tree.target, tree.python_version)
    needs = {}
    for node in sorted(path for path in tree.nodes.iterdir() if path.is_dir() and path.name != "__pycache__"):
        unmet = _unmet(declared_requirements(node).kept, installed, environment)
        if unmet:
            needs[node.name] = unmet
    return needs


def _installed(site_packages: Path) -> dict[str, str]:
    found = metadata.distributions(path=[str(site_packages)])
    return {canonicalize_name(item.metadata["Name"]): item.version for item in found if item.metadata["Name"]}


def _unmet(lines: Sequence[Line], installed: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
    unmet = []
    for line in lines:
        wanted = Requirement(line.requirement)
        if not applies(wanted, environment):
            continue
        version = installed.get(canonicalize_name(wanted.name))
        if version is None:
            unmet.append(f"{line.file}:{line.line}: '{line.requirement}' is not installed")
        elif not wanted.specifier.contains(version, prereleases=True):
            unmet.append(f"{line.file}:{line.line}: '{line.requirement}' is wanted, installed is {version}")
    return unmet
