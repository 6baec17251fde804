"""Conda environments, made from a wish or from the exact list of an earlier one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.errors import InputError, PackagerError
from packager.fetch.mirrors import local_path
from packager.filesystem import remove_tree, write_atomic
from packager.journal import digest
from packager.runtimes.installation import Tools
from packager.runtimes.miniforge_table import miniforge_table
from packager.targets import Target

_HEAD = "@EXPLICIT"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What an environment should hold. `python` is a conda version such as 3.12 or >=3.11,<3.13.

    `explicit` is the list an environment is made from as it is, in place of `python`, `packages` and `channels`.
    """

    python: str | None
    packages: tuple[str, ...]
    channels: tuple[str, ...]
    target: Target
    miniforge_version: str | None
    explicit: str | None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A finished environment. `explicit`: `@EXPLICIT`, then a line `URL#sha256:DIGEST` for each package."""

    prefix: Path
    python_version: str
    explicit: str


def obtain(wish: Wish, tools: Tools, *, renew: bool) -> Environment:
    """The environment for `wish`: the one made earlier, or a new one if there is none or `renew` asks for it.

    Raises FetchError, CommandError, InputError, and PackagerError if other packages came than the list names.
    """
    made_of = digest(wish.explicit) if wish.explicit else digest(vars(wish))
    prefix = tools.folder / "envs" / made_of[:16]
    done = prefix.with_suffix(".txt")  # written last, so an environment cut short is made anew
    with tools.alone():
        if renew or not done.is_file() or not prefix.is_dir():
            done.unlink(missing_ok=True)
            remove_tree(prefix)
            prefix.parent.mkdir(parents=True, exist_ok=True)
            tools.console.info(f"making a conda environment for {wish.target.name}")
            solver = tools.solver(wish.target, wish.miniforge_version)
            tools.run([str(solver), "create", "-y", "-p", str(prefix), *words(wish, prefix, tools)], wish.target)
            found = unmirrored(explicit_list(read_metadata(prefix), prefix), wish, tools)
            if wish.explicit:
                _check_same(found, wish.explicit, prefix)
            write_atomic(done, (wish.explicit or found).encode())
    found = done.read_text(encoding="utf-8")
    pythons = [item["version"] for item in read_metadata(prefix) if item["name"] == "python"]
    if not pythons:
        raise InputError("the environment holds no Python", where="conda_packages", remedy="do not exclude python")
    return Environment(prefix=prefix, python_version=str(pythons[0]), explicit=found)


def read_metadata(prefix: Path) -> list[dict[str, Any]]:
    """What conda noted of each package in `prefix`, by file name."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((prefix / "conda-meta").glob("*.json"))]


def explicit_list(metadata: Sequence[dict[str, Any]], prefix: Path) -> str:
    """The packages as an explicit list, each after those it depends on: no solver sorts such a list again.

    The form is the one conda, mamba and rattler read alike; without `sha256:` mamba 1 takes the digest for an MD5.
    Sources: conda/misc.py `url_pat`, the draft CEP "Text spec input files". Raises PackagerError if one has no hash.
    """
    lines = []
    for item in _dependencies_first(metadata):
        if not item.get("url") or not item.get("sha256"):
            raise PackagerError(f"conda noted no address and sha256 of {item['name']}", where=str(prefix))
        lines.append(f"{item['url']}#sha256:{item['sha256']}")
    return "\n".join([_HEAD, *lines]) + "\n"


def _dependencies_first(metadata: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """By name, but each after what it depends on; where packages depend on each other, python goes first."""
    waiting = {str(item["name"]): item for item in sorted(metadata, key=lambda item: str(item["name"]))}
    needs = {name: {str(need).split()[0] for need in item.get("depends", ())} for name, item in waiting.items()}
    done = []
    while waiting:
        ready = [name for name in waiting if waiting.keys().isdisjoint(needs[name] - {name})]
        name = ready[0] if ready else "python" if "python" in waiting else next(iter(waiting))
        done.append(waiting.pop(name))
    return done


def _check_same(found: str, wanted: str, prefix: Path) -> None:
    """The same files with the same hashes, wherever a mirror had them from."""
    different = {line.rpartition("/")[2] for line in found.split()} ^ {
        line.rpartition("/")[2] for line in wanted.split()
    }
    if different:
        raise PackagerError(
            f"the environment differs from its lock: {', '.join(sorted(different))}",
            where=str(prefix),
            remedy="remove it and build again",
        )


def unmirrored(explicit: str, wish: Wish, tools: Tools) -> str:
    """The list with the recipe's own addresses, so that a lock says the same on every machine."""
    for channel in (channel for channel in wish.channels if "://" in channel):
        explicit = explicit.replace(f"\n{_location(channel, tools).rstrip('/')}/", f"\n{channel.rstrip('/')}/")
    return explicit


def words(wish: Wish, prefix: Path, tools: Tools) -> list[str]:
    """What to say to conda of `wish`; an exact list is written beside `prefix` for it."""
    if wish.explicit:
        listed = prefix.with_suffix(".explicit")
        head, *lines = wish.explicit.splitlines()
        mirrored = [_location(line.partition("#")[0], tools) + "#" + line.partition("#")[2] for line in lines]
        write_atomic(listed, "\n".join([head, *mirrored, ""]).encode())
        return ["--file", str(listed)]
    channels = wish.channels or miniforge_table().channels
    python = "python" if wish.python is None else f"python{_comparison(wish.python)}"
    return [
        "--override-channels",
        *(word for channel in channels for word in ("-c", _location(channel, tools))),
        python,
        *miniforge_table().packages,
        *wish.packages,
    ]


def _comparison(python: str) -> str:
    return python.replace(" ", "") if python.strip()[:1] in "<>=!~" else f"={python.strip()}"


def _location(place: str, tools: Tools) -> str:
    """A channel's name as it is, a URL as the mirrors have it; conda wants folders as file: URLs."""
    if "://" not in place:
        return place
    rewritten = tools.mirrors.rewrite(place)
    folder = local_path(rewritten)
    return folder.as_uri() if folder else rewritten
