"""Everything in a bundle as components: Python, ComfyUI and nodes, distributions, conda packages, system libraries."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from packageurl import PackageURL
from packaging.utils import canonicalize_name

from packager.bundle import LICENCES_DIR, BundleTree
from packager.errors import PackagerError
from packager.filesystem import walk_files
from packager.lock import Lock, LockedRepository
from packager.papers.components import Component, Text
from packager.papers.distributions import distributions, stated_licences
from packager.papers.table import papers_table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_HASHES = {"sha256": "SHA-256", "md5": "MD5"}


def inventory(tree: BundleTree, lock: Lock) -> tuple[Component, ...]:
    """The components of the bundle `tree`, which was made from `lock`: by origin, then as each reader sorts them."""
    packages = distributions(tree, lock, others=_distributions_of_conda(tree))
    conda = tuple(_conda_packages(tree))
    brought = {component.name for component in conda}
    return (
        *(() if "python" in brought else (_python(tree),)),
        *_repositories(tree, lock, packages),
        *packages,
        *conda,
        *_system_libraries(tree, brought),
    )


def _python(tree: BundleTree) -> Component:
    places = (tree.stdlib / "LICENSE.txt", tree.prefix / "LICENSE.txt", tree.stdlib / "LICENSE")
    table = papers_table()
    return Component(
        origin="python",
        name="python",
        version=tree.python_version,
        purl=PackageURL(type="generic", name="python", version=tree.python_version),
        licences=(table.python_licence,),
        texts=tuple(Text(source=path, name=path.name) for path in places if path.is_file())[:1],
        summary="The Python that runs everything here",
        homepage=table.python_homepage,
    )


def _repositories(tree: BundleTree, lock: Lock, packages: tuple[Component, ...]) -> Iterator[Component]:
    refs = {canonicalize_name(package.name): package.ref for package in packages}
    for index, repository in enumerate(lock.repositories):
        folder = tree.nodes / repository.name if index else tree.app
        skipped: tuple[Path, ...] = () if index else (tree.nodes, tree.models)
        texts = tuple(
            Text(source=path, name=path.relative_to(folder).as_posix())
            for path in walk_files(folder, skip=functools.partial(_is_other, others=skipped))
            if not path.is_symlink() and papers_table().is_text(PurePosixPath(path.name))
        )
        content = repository.tree.removeprefix("sha256:")
        yield Component(
            origin="repository",
            name=repository.name,
            version=repository.commit or repository.tree,
            purl=_repository_purl(repository),
            licences=_repository_licences(folder, texts),
            texts=texts,
            source=repository.url if urlsplit(repository.url).scheme in ("https", "http", "ssh", "git") else "",
            hashes=(("SHA-256", content),) if content != repository.tree else (),
            needs=tuple(
                sorted(
                    refs[name]
                    for package in lock.packages
                    if repository.name in package.via and (name := canonicalize_name(package.name)) in refs
                )
            ),
        )


def _is_other(path: Path, *, others: Collection[Path]) -> bool:
    return path in others or path.name == ".git"


def _repository_purl(repository: LockedRepository) -> PackageURL:
    parts = urlsplit(repository.url)
    names = parts.path.strip("/").removesuffix(".git").split("/")
    if parts.hostname == "github.com" and len(names) == 2 and repository.commit:
        return PackageURL(type="github", namespace=names[0], name=names[1], version=repository.commit)
    address = {"vcs_url": f"git+{repository.url}@{repository.commit}"} if repository.commit and parts.scheme else {}
    version = repository.commit or repository.tree
    return PackageURL(type="generic", name=repository.name, version=version, qualifiers=address)


def _repository_licences(folder: Path, texts: tuple[Text, ...]) -> tuple[str, ...]:
    """What its pyproject.toml says, else the title of the licence text at its top."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        project = {}
    said = project.get("license") if isinstance(project, dict) else None
    said = said.get("text") if isinstance(said, dict) else said
    if isinstance(said, str) and (found := stated_licences({"License": said}, ())):
        return found
    for text in texts:
        if "/" not in text.name:
            lines = text.source.read_text(encoding="utf-8", errors="replace").splitlines()
            if title := next((line.strip() for line in lines if line.strip()), ""):
                return (title[:100],)
    return ()


def _conda_packages(tree: BundleTree) -> Iterator[Component]:
    metadata = [_conda_metadata(path) for path in sorted((tree.prefix / "conda-meta").glob("*.json"))]
    purls = {package["name"]: _conda_purl(package) for package in metadata}
    for package in metadata:
        name = package["name"]
        needs = {line.split()[0] for line in package.get("depends", ())} & purls.keys()
        yield Component(
            origin="conda",
            name=name,
            version=package["version"],
            purl=purls[name],
            licences=(package["license"],) if package.get("license") else (),
            texts=_texts_below(tree.prefix / LICENCES_DIR / name),
            source=package["url"] if urlsplit(package.get("url", "")).scheme else "",
            hashes=tuple((spelled, package[field]) for field, spelled in _HASHES.items() if package.get(field)),
            needs=tuple(sorted(purls[need].to_string() for need in needs)),
        )


def _distributions_of_conda(tree: BundleTree) -> set[tuple[str, str]]:
    """Normalised name and version of the distributions whose metadata conda packages brought."""
    folders = [
        PurePosixPath(file).parent.name.removesuffix(".dist-info")
        for path in (tree.prefix / "conda-meta").glob("*.json")
        for file in _conda_metadata(path).get("files", ())
        if file.endswith(".dist-info/METADATA")
    ]
    return {(canonicalize_name(name), version) for name, _, version in (folder.partition("-") for folder in folders)}


def _conda_metadata(path: Path) -> dict[str, Any]:
    try:
        package: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PackagerError(f"the metadata of a conda package cannot be read: {error}", where=str(path)) from error
    return package


def _conda_purl(package: dict[str, Any]) -> PackageURL:
    channel = package.get("channel", "").rstrip("/").removesuffix(f"/{package.get('subdir', '')}").rpartition("/")[2]
    qualifiers = {"build": package.get("build", ""), "channel": channel, "subdir": package.get("subdir", "")}
    known = {key: value for key, value in qualifiers.items() if value}
    return PackageURL(type="conda", name=package["name"], version=package["version"], qualifiers=known)


def _system_libraries(tree: BundleTree, brought: set[str]) -> Iterator[Component]:
    """The packages of the build machine whose libraries came along, by the texts the runtime left of them."""
    folder = tree.prefix / LICENCES_DIR
    for place in sorted(folder.iterdir()) if folder.is_dir() else ():
        if place.is_dir() and place.name not in brought:
            yield Component(
                origin="system",
                name=place.name,
                version="",
                purl=PackageURL(type="generic", name=place.name),
                texts=_texts_below(place),
            )


def _texts_below(folder: Path) -> tuple[Text, ...]:
    if not folder.is_dir():
        return ()
    return tuple(Text(source=path, name=path.relative_to(folder).as_posix()) for path in walk_files(folder))
