"""Conda packages for a target this machine is not: solved here without being fetched, for a lock."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from packager import targets
from packager.errors import InputError, PackagerError
from packager.filesystem import write_atomic
from packager.journal import digest
from packager.runtimes.environments import Wish, explicit_list, unmirrored, words
from packager.runtimes.installation import Tools


def solve(wish: Wish, tools: Tools, *, renew: bool) -> str:
    """The explicit list for `wish` (see Environment): the one found earlier, or a new one if `renew` asks for it.

    Raises FetchError, CommandError, InputError, and PackagerError for an answer that cannot be read.
    """
    done = tools.folder / "solutions" / f"{digest(vars(wish))[:16]}.txt"
    with tools.alone():
        if renew or not done.is_file():
            tools.console.info(f"solving the conda environment for {wish.target.name}")
            solver = tools.solver(targets.current(), wish.miniforge_version)
            prefix = done.with_suffix(".prefix")  # never made
            command = [str(solver), "create", "-y", "--dry-run", "--json", "-p", str(prefix)]
            said = tools.run([*command, *words(wish, prefix, tools)], wish.target, foreign=True).stdout
            found = explicit_list(planned_packages(said, where=str(solver)), prefix)
            done.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(done, unmirrored(found, wish, tools).encode())
    return done.read_text(encoding="utf-8")


def planned_packages(said: str, *, where: str) -> list[dict[str, Any]]:
    """The records in what `create --dry-run --json` printed, whose `actions` are alike in conda and mamba.

    Under LINK is all that would be there: mamba says addresses and hashes of it, conda only under FETCH, what would be
    fetched. Sources: conda/cli/common.py `stdout_json_success`, libmamba `MTransaction::log_json`.
    Raises PackagerError.
    """
    try:
        value, _ = json.JSONDecoder().raw_decode(said[said.index("{") :])
        actions = value["actions"]
        records = {str(item["name"]): item for item in [*actions["LINK"], *actions.get("FETCH", ())]}
    except (ValueError, KeyError, TypeError) as error:
        raise PackagerError(
            f"said nothing of what it would install: {said[:300]!r}",
            where=where,
            remedy="name another release as `miniforge:` in the recipe",
        ) from error
    return list(records.values())


def python_version(explicit: str) -> str:
    """The version of Python in an explicit list: of `URL/python-3.12.11-h9e4cc4f_0.conda#sha256:...`, 3.12.11.

    Raises InputError if there is none.
    """
    for line in explicit.splitlines()[1:]:
        name, version, _ = (*PurePosixPath(unquote(urlsplit(line).path)).name.rsplit("-", 2), "", "")[:3]
        if name == "python":
            return version
    raise InputError("the environment holds no Python", where="conda_packages", remedy="do not exclude python")
