"""What a probe answered, as data that two trees can be compared by: facts, and the files of the tree it touched."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PYC = re.compile(r"^(?P<stem>[^.]+)\.[\w-]+(\.opt-\d)?\.pyc(\.\d+)?$")  # PEP 3147, PEP 488; .123: while it is written
OK = "ok"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """`facts`: what must be the same after; `outcome` is "ok" or the error.

    Paths are relative to the tree's root: `touched` were opened, listed or looked for by Python, `seen` by anything;
    neither has to be there. `wanted` are module names that were looked for.
    """

    facts: Mapping[str, str]
    touched: frozenset[str] = field(default_factory=frozenset)
    seen: frozenset[str] = field(default_factory=frozenset)
    wanted: frozenset[str] = field(default_factory=frozenset)

    @property
    def is_ok(self) -> bool:
        return self.facts.get("outcome", OK) == OK

    @property
    def lasts(self) -> bool:
        """Whether it may be remembered: a failure may come from what no key tells, such as a machine that was busy."""
        return self.is_ok and self.facts.get("exit code", "0") == "0" and "IMPORT FAILED" not in self.facts.values()

    def to_json(self) -> dict[str, Any]:
        return {
            "facts": dict(self.facts),
            **{name: sorted(getattr(self, name)) for name in ("touched", "seen", "wanted")},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Observation:
        return cls(facts=value["facts"], **{name: frozenset(value[name]) for name in ("touched", "seen", "wanted")})


class Places:
    """From paths of this machine to paths from the tree's root.

    `copies` maps a folder of this machine to the part of the tree it stands for; below `bytecode` lies what Python
    compiles (PYTHONPYCACHEPREFIX).
    """

    def __init__(self, root: Path, *, bytecode: Path, copies: Mapping[Path, str]) -> None:
        self._roots = [(f"{os.path.realpath(place)}/", f"{part}/" if part else "") for place, part in copies.items()]
        self._roots += [(f"{place}/", "") for place in dict.fromkeys((os.path.realpath(root), str(root)))]
        self.copies = tuple(copies)
        self._bytecode = str(bytecode)
        self._parents: dict[str, str] = {}

    def relative(self, path: str) -> set[str]:
        """The path in the tree, and what it is a link to; nothing for one outside. Bytecode becomes its source."""
        path = os.path.normpath(path)
        if path.startswith(self._bytecode + "/"):
            path = path[len(self._bytecode) :]
        folder, name = os.path.split(path)
        if match := _PYC.match(name):
            folder = folder[: -len("/__pycache__")] if folder.endswith("/__pycache__") else folder
            name = f"{match['stem']}.py"
        place = f"{self._real(folder)}/{name}"
        found = {self._inside(place)}
        if Path(place).is_symlink():
            found.add(self._inside(os.path.realpath(place)))
        return {one for one in found if one}

    def all_of(self, paths: Iterable[str]) -> set[str]:
        return {found for path in paths for found in self.relative(path)}

    def neutral(self, text: str) -> str:
        """`text` without the places of this machine, also as the app makes module names of them."""
        for place, part in self._roots:
            folder = place.rstrip("/")
            for written in (folder, folder.replace(".", "_x_")):
                text = text.replace(written, f"<tree>/{part}".rstrip("/"))
        return text

    def _real(self, folder: str) -> str:
        if folder not in self._parents:
            self._parents[folder] = os.path.realpath(folder)
        return self._parents[folder]

    def _inside(self, path: str) -> str:
        for root, part in self._roots:
            if path.startswith(root):
                return part + path[len(root) :]
        return ""


def observe(answer: Mapping[str, Any], places: Places, *, straced: Iterable[str]) -> Observation:
    """The observation of what watch.py answered about a module or the app."""
    errors = answer["errors"]
    facts = {"outcome": places.neutral(_told(errors)) if errors else OK}
    facts |= {f"module {places.neutral(name)}": "loaded" for name in answer["modules"]}
    facts |= {f"flag {name}": value for name, value in answer.get("flags", {}).items()}
    facts |= {f"node class {name}": "there" for name in answer.get("classes", ())}
    if answer["exit"] is not None:
        facts["exit code"] = str(answer["exit"])
    looked = places.all_of(answer["looked"]) | places.all_of(answer["opened"])
    named = places.all_of(error["filename"] for error in errors if "filename" in error)
    return Observation(
        facts=facts,
        touched=frozenset((looked - _ancestors(looked)) | places.all_of(answer["listed"]) | named),
        seen=frozenset(places.all_of(straced)),
        wanted=frozenset([*answer["wanted"], *(error["name"] for error in errors if "name" in error)]),
    )


def _told(errors: Iterable[Mapping[str, str]]) -> str:
    return "; caused by ".join(
        f"{error['type']}: {error['message']}" + (f" ({error['where']})" if error["where"] else "") for error in errors
    )


def _ancestors(paths: Iterable[str]) -> set[str]:
    """Folders that were passed through on the way to something in them."""
    found: set[str] = set()
    for path in paths:
        folder = path.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A fact of a probe that is not as before. None: was not there, is not there."""

    fact: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        if self.fact == "outcome":
            return self.after or "no answer"
        return f"{self.fact}: was {self.before or 'missing'}, is {self.after or 'missing'}"


def differences(before: Observation, after: Observation) -> list[Difference]:
    """What got worse or other, sorted. Of a probe that failed before nothing is asked: it may fail otherwise."""
    if not before.is_ok:
        return []
    if not after.is_ok:
        return [Difference(fact="outcome", before=OK, after=after.facts["outcome"])]
    return [
        Difference(fact=fact, before=before.facts.get(fact), after=after.facts.get(fact))
        for fact in sorted({*before.facts, *after.facts})
        if before.facts.get(fact) != after.facts.get(fact)
    ]
