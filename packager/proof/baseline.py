"""What an installed Python can do, as one value: taken before clean-up, compared with that of the unpacked bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from packager.errors import InputError
from packager.filesystem import write_json

OK = "ok"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """`modules`: name -> "ok" or the error; `distributions` and `listed` (by pip): name -> version.

    `scripts`: console scripts, name -> object reference, of those whose file is there; `host_libraries`: module -> the
    libraries it mapped from outside the bundle that no bundle may expect. Paths of the tree are written as `<bundle>`,
    so that two trees with the same content give the same value.
    """

    python: str
    pip: str
    modules: Mapping[str, str]
    distributions: Mapping[str, str]
    listed: Mapping[str, str]
    scripts: Mapping[str, str]
    entry_points: tuple[str, ...]
    pip_check: tuple[str, ...]
    host_libraries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Baseline:
        """The value that `to_json` gave. Raises ValueError if `value` is something else."""
        fields = dict(value) if isinstance(value, Mapping) else {}
        if fields.pop("format", None) != _FORMAT:
            raise ValueError(f"no baseline of format {_FORMAT}")
        try:
            for name in ("entry_points", "pip_check"):
                fields[name] = tuple(fields[name])
            fields["host_libraries"] = {name: tuple(paths) for name, paths in fields["host_libraries"].items()}
            return cls(**fields)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a baseline with another field: {error}") from error

    def save(self, path: Path) -> None:
        write_json(path, self.to_json())

    def without_machine(self) -> Baseline:
        """What of it does not depend on the machine it was taken on: fit to travel in a bundle built twice alike."""
        modules = {name: OK if outcome == OK else "did not import" for name, outcome in self.modules.items()}
        return replace(self, modules=modules, host_libraries={})

    @property
    def imported(self) -> frozenset[str]:
        """The modules that import."""
        return frozenset(name for name, outcome in self.modules.items() if outcome == OK)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing of `kind` (a field of Baseline) that is not as before. None: was not there, is not there."""

    kind: str
    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: was {_first_line(self.before)}, is {_first_line(self.after)}"


def load_baseline(path: Path) -> Baseline:
    """The value saved at `path`. Raises InputError if the file holds something else."""
    try:
        return Baseline.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"is no baseline: {error}", where=str(path), remedy="delete it and build again") from error


def compare(before: Baseline, after: Baseline) -> list[Difference]:
    """What got worse or merely other, by kind and name. A module that failed before may fail otherwise or work now."""
    found = [
        Difference(kind="module", name=name, before=OK, after=after.modules.get(name))
        for name in sorted(before.imported)
        if after.modules.get(name) != OK
    ]
    for kind in ("distributions", "listed", "scripts"):
        old, new = getattr(before, kind), getattr(after, kind)
        found += [
            Difference(kind=kind, name=name, before=old.get(name), after=new.get(name))
            for name in sorted({*old, *new})
            if old.get(name) != new.get(name)
        ]
    for kind in ("entry_points", "pip_check"):
        found += _line_differences(kind, getattr(before, kind), getattr(after, kind))
    return found


def _line_differences(kind: str, before: Sequence[str], after: Sequence[str]) -> list[Difference]:
    gone = [Difference(kind=kind, name=line, before="there", after=None) for line in before if line not in after]
    new = [Difference(kind=kind, name=line, before=None, after="there") for line in after if line not in before]
    return gone + new


def _first_line(text: str | None) -> str:
    return "missing" if text is None else text.splitlines()[0] if text else "empty"
