"""What a locked Python is made of, in a folder: the Miniforge installer and the conda packages that the lock names."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from packager.console import Console
from packager.errors import InputError
from packager.fetch.download import DownloadRequest, download_all
from packager.fetch.mirrors import redact
from packager.lock import Lock
from packager.origins import Origins
from packager.recipe import Recipe
from packager.runtimes.miniforge_table import miniforge_table
from packager.targets import Target

CONDA = "conda"


def gather_runtime(
    recipe: Recipe, lock: Lock, folder: Path, *, target: Target, origins: Origins, console: Console
) -> dict[str, str]:
    """Fill folder/conda; returns what the addresses stand for, relative to `folder`. Nothing for a Python of this
    machine. Raises FetchError that lists all that can't be had."""
    explicit = lock.runtime.get("explicit")
    if explicit is None:
        return {}
    table = miniforge_table()
    url = table.installer_url(target, recipe.miniforge)
    checksum = url + table.checksum_suffix
    wanted: dict[str, tuple[str | None, Path]] = {
        url: (None, folder / CONDA / _name(url)),
        checksum: (None, folder / CONDA / _name(checksum)),
    }
    means = {"cache": origins.cache, "mirrors": origins.mirrors, "console": console, "offline": origins.offline}
    for line in explicit.splitlines()[1:]:
        package, _, digest = line.partition("#sha256:")
        # conda takes the subdirectory of the channel (linux-64, noarch) from the folder the file lies in.
        channel, subdir = package.rsplit("/", 2)[0], package.rsplit("/", 2)[1]
        apart = hashlib.sha256(channel.encode()).hexdigest()[:16]
        place = folder / CONDA / apart / unquote(subdir) / _name(package)
        wanted[package] = (digest, place)
    requests = [(DownloadRequest(url=address, sha256=sha256), place) for address, (sha256, place) in wanted.items()]
    download_all(requests, **means, thorough=True)  # type: ignore[arg-type]
    return {address: place.relative_to(folder).as_posix() for address, (_, place) in wanted.items()}


def _name(url: str) -> str:
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if not name or "\\" in name or ":" in name:
        raise InputError("names no file", where=redact(url), remedy="make the lock anew")
    return name
