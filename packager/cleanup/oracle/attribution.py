"""From what a probe touched, and how it failed, to what was removed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from packager.cleanup.oracle.gone import Finding, Gone
from packager.cleanup.oracle.observation import Difference, Observation
from packager.cleanup.oracle.resolver import Resolver

_FILE_NAME = re.compile(r"[\w.+-]+\.\w+|[\w+-]{3,}")
_FEW = 3  # files of one name that an error text may mean


def traced(observations: Mapping[str, Observation], gone: Gone) -> list[Finding]:
    """What probes of the whole tree used of what is to go; sorted by path, each path with the first probe that did."""
    found: dict[str, Finding] = {}
    for probe, observation in observations.items():
        for path in _used(observation, gone):
            if path not in found:
                evidence = f"`{probe}` uses it while the tree is whole"
                found[path] = _finding(path, gone, how="trace", probe=probe, evidence=evidence)
    return [found[path] for path in sorted(found)]


def blamed(
    probe: str,
    after: Observation,
    differences: Sequence[Difference],
    gone: Gone,
    resolver: Resolver,
    files: Iterable[str],
) -> list[Finding]:
    """What was removed and accounts for `differences`; nothing if that cannot be told from names.

    First what the probe looked for (files it opened or asked for, modules it imported or no longer has), else a file
    whose name an error text holds.
    """
    names = [*after.wanted, *_missing_modules(differences)]
    paths = {path for name in names for path in resolver.named(name)} | set(_used(after, gone))
    if not paths:
        words = {word for one in differences for word in _FILE_NAME.findall(one.after or "")}
        paths = _named(words, gone, files)
    evidence = f"`{probe}` without it: {_first_line(str(differences[0]))}"
    return [_finding(path, gone, how="probe", probe=probe, evidence=evidence) for path in sorted(paths)]


def _missing_modules(differences: Iterable[Difference]) -> Iterator[str]:
    for one in differences:
        if one.fact.startswith("module ") and one.after is None:
            yield one.fact.removeprefix("module ")


def _used(observation: Observation, gone: Gone) -> Iterator[str]:
    for path in sorted(observation.touched | observation.seen):
        if not gone.may_take(path):
            continue
        removal = gone.removal(path)
        if removal is None or gone.is_rebuilt(removal):
            continue
        # Python's import system looks at every folder it passes, and strace cannot tell who looked.
        if path in observation.touched or not gone.is_folder(path):
            yield path


def _named(words: set[str], gone: Gone, files: Iterable[str]) -> set[str]:
    by_name: dict[str, list[str]] = {}
    for path in files:
        name = path.rpartition("/")[2]
        if name in words and gone.removal(path) is not None:
            by_name.setdefault(name, []).append(path)
    return {path for paths in by_name.values() if len(paths) <= _FEW for path in paths}


def _finding(path: str, gone: Gone, *, how: str, probe: str, evidence: str) -> Finding:
    removal = gone.removal(path)
    return Finding(path=path, rule=removal.rule if removal else "", how=how, probe=probe, evidence=evidence)


def _first_line(text: str) -> str:
    return text.splitlines()[0][:300] if text else ""
