"""Python distributions as components: the core metadata of each (PEP 566, 621, 639) and what the lock says of it."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packageurl import PackageURL
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from packager.bundle import BundleTree
from packager.lock import Lock, LockedPackage
from packager.papers.components import Component, Text
from packager.papers.table import papers_table
from packager.resolution.markers import applies, marker_environment

_LONGEST = 100  # characters of a License field that names a licence; longer ones are the text itself


@dataclass(frozen=True, kw_only=True)
class _Need:
    """A distribution asked for, and the extras of it."""

    name: str
    extras: frozenset[str]


def distributions(tree: BundleTree, lock: Lock, *, others: Collection[tuple[str, str]] = ()) -> tuple[Component, ...]:
    """Every distribution in site-packages, by name, but `others`: normalised name and version of what conda brought."""
    found: dict[str, importlib.metadata.Distribution] = {
        canonicalize_name(name): item
        for item in importlib.metadata.distributions(path=[str(tree.site_packages)])
        if (name := item.metadata["Name"]) and (canonicalize_name(name), item.version) not in others
    }
    purls: dict[str, PackageURL] = {name: purl_of(name, item.version) for name, item in found.items()}
    needs = _needs(found, lock, marker_environment(tree.target, tree.python_version))
    locked: dict[str, LockedPackage] = {canonicalize_name(package.name): package for package in lock.packages}
    return tuple(
        _component(
            found[name],
            purl=purls[name],
            package=locked.get(name),
            site=tree.site_packages,
            needs=tuple(sorted(purls[need].to_string() for need in needs[name] if need in purls)),
        )
        for name in sorted(found)
    )


def purl_of(name: str, version: str) -> PackageURL:
    """pkg:pypi/NAME@VERSION."""
    return PackageURL(type="pypi", name=canonicalize_name(name), version=version)


def stated_licences(metadata: Mapping[str, str], classifiers: Iterable[str]) -> tuple[str, ...]:
    """What core metadata says of the licence: License-Expression, else a short License field, else its classifiers."""
    if expression := (metadata.get("License-Expression") or "").strip():
        return (expression,)
    said = (metadata.get("License") or "").strip()
    if said and said.upper() != "UNKNOWN" and len(said) <= _LONGEST and "\n" not in said:
        return (said,)
    known = papers_table().classifiers
    named = [item for item in classifiers if item.startswith("License :: ") and item != "License :: OSI Approved"]
    return tuple(known.get(item, item.rpartition(" :: ")[2]) for item in named)


def _component(
    item: importlib.metadata.Distribution,
    *,
    purl: PackageURL,
    package: LockedPackage | None,
    site: Path,
    needs: tuple[str, ...],
) -> Component:
    metadata = item.metadata
    # a patch or a node's install.py may have put another version in the place of the locked one
    if package is not None and package.version and package.version != item.version:
        package = None
    hashes = package.hashes if package else ()
    digests = tuple(value.removeprefix("sha256:") for value in hashes if value.startswith("sha256:"))
    return Component(
        origin="distribution",
        name=metadata["Name"],
        version=item.version,
        purl=purl,
        licences=stated_licences(
            {key: str(metadata[key]) for key in ("License-Expression", "License") if key in metadata},
            metadata.get_all("Classifier") or (),
        ),
        texts=_texts(item, site),
        summary=str(metadata["Summary"]) if "Summary" in metadata else "",
        homepage=_homepage(metadata.get_all("Project-URL") or (), metadata.get_all("Home-page") or ()),
        source=(package.url or "") if package else "",
        hashes=(("SHA-256", digests[0]),) if len(digests) == 1 else (),
        candidates=digests if len(digests) > 1 else (),
        needs=needs,
    )


def _texts(item: importlib.metadata.Distribution, site: Path) -> tuple[Text, ...]:
    """The files License-File names, wherever its build tool put them, and those whose name says that they are one."""
    named = {PurePosixPath(name) for name in item.metadata.get_all("License-File") or ()}
    found: dict[str, Path] = {}
    for file in sorted(item.files or (), key=str):
        inside = PurePosixPath(*file.parts[1:]) if file.parts[0].endswith(".dist-info") else None
        if inside is not None and inside.parts[:1] in (("licenses",), ("license_files",)):
            inside = PurePosixPath(*inside.parts[1:])
        wanted = inside in named or papers_table().is_text(PurePosixPath(file))
        path = site / file
        if not wanted or ".." in file.parts or not path.is_file():
            continue
        name = str(inside or file)
        found[str(file) if name in found else name] = path
    return tuple(Text(source=path, name=name) for name, path in sorted(found.items()))


def _homepage(urls: Iterable[str], pages: Iterable[str]) -> str:
    by_label = {label.strip().lower(): url.strip() for label, _, url in (line.partition(",") for line in urls)}
    found = next((by_label[label] for label in ("homepage", "home", "repository", "source") if label in by_label), "")
    found = found or next(iter(pages), "")
    return found if found.startswith(("https://", "http://")) and " " not in found else ""


def _needs(
    found: Mapping[str, importlib.metadata.Distribution], lock: Lock, environment: Mapping[str, str]
) -> dict[str, set[str]]:
    """Name -> names it asks for on this target, with the extras that anything, the lock's wishes included, asks for."""
    requirements = {
        name: [parsed for line in item.requires or () if (parsed := _parsed(line))] for name, item in found.items()
    }
    extras: dict[str, set[str]] = {name: set() for name in found}
    for wish in lock.asked:
        if (asked := _parsed(wish.text)) and canonicalize_name(asked.name) in extras:
            extras[canonicalize_name(asked.name)] |= asked.extras
    while True:
        needs = {
            name: [
                _Need(name=canonicalize_name(line.name), extras=frozenset(line.extras))
                for line in lines
                if any(applies(line, {**environment, "extra": extra}) for extra in ("", *sorted(extras[name])))
            ]
            for name, lines in requirements.items()
        }
        before = sum(map(len, extras.values()))
        for asked_for in (need for wanted in needs.values() for need in wanted if need.name in extras):
            extras[asked_for.name] |= asked_for.extras
        if sum(map(len, extras.values())) == before:
            return {name: {need.name for need in wanted} - {name} for name, wanted in needs.items()}


def _parsed(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None
