"""A commit and all the submodules below it, each with where it is taken from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packager.errors import InputError
from packager.fetch.means import Means
from packager.fetch.mirrors import as_location, check_follow, local_path, redact
from packager.fetch.repository import Repository
from packager.fetch.tree import Entry, read_entries, submodule_urls

_DEEPEST = 8  # submodules within submodules
_MOST = 200  # submodules in all; a hostile repository could name millions


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A commit and the folder it goes to: "" or a submodule's path with a slash at its end."""

    folder: str
    url: str
    location: str
    commit: str
    entries: tuple[Entry, ...]


def read_layers(url: str, commit: str, means: Means) -> list[Layer]:
    """The commit and its submodules, parents before children; all of it is in the cache then.

    A submodule that .gitmodules doesn't name is left empty, with a warning, as a clone by hand would leave it. Raises
    InputError for a tree or a submodule's URL that is refused, FetchError if something can't be had.
    """
    layers = [_read("", url, means.locate(url)[0], commit, means)]
    depths = {"": 0}
    for layer in layers:  # grows while it is walked
        for child in _children(layer, means):
            depths[child.folder] = depths[layer.folder] + 1
            if depths[child.folder] > _DEEPEST or len(layers) > _MOST:
                raise InputError(
                    "too many submodules, or too many within each other",
                    where=redact(url),
                    remedy="give a plain folder with --source NAME=PATH",
                )
            layers.append(child)
    return layers


def _read(folder: str, url: str, location: str, commit: str, means: Means) -> Layer:
    def read(repository: Repository) -> list[Entry]:
        return read_entries(repository, repository.obtain(commit))

    return Layer(folder=folder, url=url, location=location, commit=commit, entries=tuple(means.use(location, read)))


def _children(layer: Layer, means: Means) -> Iterator[Layer]:
    submodules = [entry for entry in layer.entries if entry.is_submodule]
    if not submodules:
        return

    def read(repository: Repository) -> dict[str, str]:
        return submodule_urls(repository, layer.entries)

    urls = means.use(layer.location, read)
    for entry in submodules:
        if entry.path not in urls:
            means.console.warn(
                f"{redact(layer.url)}: no address is known of the submodule {entry.path}; it stays empty"
            )
            continue
        url = _absolute(layer.url, urls[entry.path], means)
        location, is_repository = means.locate(url)
        if not is_repository:
            raise InputError("a submodule must be a repository", where=redact(url), remedy="correct the --mirror")
        yield _read(f"{layer.folder}{entry.path}/", url, location, entry.id, means)


def _absolute(parent: str, url: str, means: Means) -> str:
    """A submodule's URL, a relative one seen from its parent's (git help submodule). Raises InputError if refused."""
    base = parent if means.mirrors.applies(parent) else as_location(parent)
    if url.startswith(("./", "../")):
        above = base.rstrip("/") if local_path(base) is None else base.replace("\\", "/").rstrip("/")
        rest = url
        while rest.startswith(("./", "../")):
            if rest.startswith("../"):
                above, separator, _ = above.rpartition("/")
                if not separator or above.endswith((":", "/")):
                    raise InputError(f"the submodule's URL {url} climbs too far", where=redact(parent), remedy=_REMEDY)
            rest = rest.partition("/")[2]
        url = f"{above}/{rest}"
    if not means.mirrors.applies(url):
        check_follow(base, url)
    return url


_REMEDY = "give a plain folder with --source NAME=PATH"
