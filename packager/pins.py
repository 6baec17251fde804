"""Locked packages as lines for an installer. What has an address of its own is fetched first, and must be what was
locked; git repositories are left to uv, which is told where the mirrors have them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urldefrag, urlsplit

from packager.console import Console
from packager.errors import InputError
from packager.fetch.download import Downloaded, DownloadRequest, download_all
from packager.fetch.mirrors import Mirrors, redact
from packager.lock import LockedPackage
from packager.origins import Origins


def is_git(package: LockedPackage) -> bool:
    return package.url is not None and package.url.startswith("git+")


def requirement_lines(packages: Sequence[LockedPackage], *, origins: Origins, folder: Path, console: Console) -> str:
    """The lines that install exactly `packages`, hashes included. Files from addresses are put below `folder`.

    Raises FetchError, or MismatchError if an address gives other bytes than were locked.
    """
    fetched = fetch_files(packages, folder, origins=origins, console=console)
    lines = []
    for package in packages:
        if address(package) not in fetched:
            lines.append(package.requirement)
            continue
        found = fetched[address(package)]
        rest = urldefrag(package.url or "")[1]  # subdirectory=..., which is part of what to build
        place = found.path.absolute().as_uri() + (f"#{rest}" if rest.startswith("subdirectory=") else "")
        lines.append(f"{package.name} @ {place} \\\n    --hash=sha256:{found.sha256}")
    return "".join(f"{line}\n" for line in lines)


def fetch_files(
    packages: Sequence[LockedPackage], folder: Path, *, origins: Origins, console: Console, thorough: bool = False
) -> dict[str, Downloaded]:
    """The wheels and sdists among `packages` that have an address of their own, by that address, below `folder`.

    With `thorough` an error names all that can't be had.
    """
    direct = [package for package in packages if package.url and not is_git(package)]
    if not direct:
        return {}
    requests = [
        (DownloadRequest(url=address(package), sha256=locked_sha256(package)), folder / place_of(address(package)))
        for package in direct
    ]
    done = download_all(
        requests,
        cache=origins.cache,
        mirrors=origins.mirrors,
        console=console,
        offline=origins.offline,
        thorough=thorough,
    )
    return {address(package): found for package, found in zip(direct, done, strict=True)}


def address(package: LockedPackage) -> str:
    """Where its file lies, or its repository, without what comes after: a commit, a folder within."""
    url = urldefrag(package.url or "")[0]
    if not is_git(package):
        return url
    head, _, tail = url.removeprefix("git+").rpartition("/")
    return f"{head}/{tail.partition('@')[0]}"


def commit(package: LockedPackage) -> str:
    """The commit of a package from git. Raises InputError if the lock names none."""
    found = urldefrag(package.url or "")[0].rpartition("@")[2]
    if len(found) not in (40, 64) or not all(letter in "0123456789abcdef" for letter in found):
        raise InputError("names no commit", where=redact(package.url or ""), remedy="make the lock anew")
    return found


def subdirectory(package: LockedPackage) -> str:
    """The folder of a package within what its address gives; empty for the top."""
    fragment = urldefrag(package.url or "")[1]
    words = dict(word.partition("=")[::2] for word in fragment.split("&"))
    return unquote(words.get("subdirectory", "")).strip("/")


def locked_sha256(package: LockedPackage) -> str | None:
    """Hex digest of the file from its address; None if the lock has none."""
    return next((item.partition(":")[2] for item in package.hashes if item.startswith("sha256:")), None)


def place_of(url: str) -> PurePosixPath:
    """Where the file of an address goes: its own name, which tells a wheel's tags, in a folder of that address.

    Raises InputError for an address that names no file.
    """
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if not name or "\\" in name or ":" in name or not name.isprintable():
        raise InputError("names no file", where=redact(url), remedy="give the address of a wheel or an sdist")
    return PurePosixPath(hashlib.sha256(url.encode()).hexdigest()[:16]) / name


def git_environment(mirrors: Mirrors) -> dict[str, str]:
    """What makes git, started by uv, take repositories from where the mirrors have them (git-config, url.*.insteadOf).

    The settings of the machine's owner stay: these are added to them.
    """
    pairs = []
    for source, target in mirrors.rewrites:
        pairs += [(source, target), (f"{source}.git", target)]
    settings = {"GIT_CONFIG_COUNT": str(len(pairs))} if pairs else {}
    for number, (source, target) in enumerate(pairs):
        settings[f"GIT_CONFIG_KEY_{number}"] = f"url.{target}.insteadOf"
        settings[f"GIT_CONFIG_VALUE_{number}"] = source
    return settings
