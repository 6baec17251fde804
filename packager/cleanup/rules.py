"""The clean-up rules: what may go, why, and what no rule may touch. They are data, in cleanup_rules/*.yml."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from packager import resources
from packager.cleanup.layout import Scope
from packager.cleanup.patterns import pattern_problem
from packager.document import Document, Pointer, check_schema, read_document
from packager.errors import DocumentError, Fault, InputError
from packager.targets import OS

Tier = Literal["safe", "aggressive", "opt-in"]


@dataclass(frozen=True, kw_only=True)
class Keep:
    """An exception of one rule: `pattern` stays, with all below it. `source` says where that is known from."""

    pattern: str
    reason: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What may go. Patterns are gitignore-style, from the folder of each scope.

    `beside`: a file goes only if one of these names lies in its folder, `{stem}` standing for its name without suffix.
    `targets`: the operating systems it is for. `rebuilt`: the program makes these files again by itself.
    `bundle_only`: not for a tree that no build made, where somebody may be at work on these files.
    """

    id: str
    scopes: tuple[Scope, ...]
    tier: Tier
    category: str
    why: str
    patterns: tuple[str, ...]
    keep: tuple[Keep, ...] = ()
    beside: tuple[str, ...] = ()
    targets: tuple[OS, ...] = get_args(OS)
    rebuilt: bool = False
    bundle_only: bool = False
    measured: str = ""


@dataclass(frozen=True, kw_only=True)
class Protection:
    """What no rule may touch, with all below it, except for `lifted`. `scopes` None: from the root of the tree.

    Patterns are matched without regard to case, so that a doubt keeps the file.
    """

    id: str
    scopes: tuple[Scope, ...] | None
    patterns: tuple[str, ...]
    reason: str
    source: str
    lifted: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RuleSet:
    """Rules in the order of their files; where two match, the first one takes it."""

    rules: tuple[Rule, ...]
    protections: tuple[Protection, ...]

    def select(
        self, tier: str, opt_in: Iterable[str] = (), *, os: OS | None = None, foreign: bool = False
    ) -> tuple[Rule, ...]:
        """The rules of a tier (`none`, `safe` or `aggressive`, which holds safe) and the opt-in rules named, for `os`.

        With `os` None only the rules that are for every system; with `foreign` only those that are not `bundle_only`.
        Raises InputError for an unknown tier or id.
        """
        tiers = {"none": (), "safe": ("safe",), "aggressive": ("safe", "aggressive")}.get(tier)
        if tiers is None:
            raise InputError(f"unknown tier '{tier}'", where="tier", remedy="use none, safe or aggressive")
        wanted = set(opt_in)
        known = {rule.id for rule in self.rules}
        if unknown := sorted(wanted - known):
            choices = ", ".join(sorted(rule.id for rule in self.rules if rule.tier == "opt-in"))
            raise InputError(f"no rule is called '{unknown[0]}'", where="opt_in", remedy=f"use one of {choices}")
        everywhere = len(get_args(OS))
        return tuple(
            rule
            for rule in self.rules
            if (rule.tier in tiers or rule.id in wanted)
            and (os in rule.targets if os is not None else len(rule.targets) == everywhere)
            and not (foreign and rule.bundle_only)
        )

    def with_exceptions(self, exceptions: Iterable[tuple[str, str, str]], *, source: str) -> RuleSet:
        """These rules with more of what single ones leave alone: (rule, pattern from its scope's folder, reason).

        Raises InputError for an unknown rule or a pattern that is none.
        """
        added: dict[str, list[Keep]] = {}
        known = {rule.id for rule in self.rules}
        for number, (rule, pattern, reason) in enumerate(exceptions):
            where = f"{source}: cleanup.exceptions[{number}]"
            if rule not in known:
                near = difflib.get_close_matches(rule, known, n=1)
                remedy = f"did you mean {near[0]}?" if near else "`packager rules` lists them"
                raise InputError(f"no rule is called '{rule}'", where=f"{where}.rule", remedy=remedy)
            if problem := pattern_problem(pattern):
                raise InputError(f"pattern '{pattern}' {problem[0]}", where=f"{where}.pattern", remedy=problem[1])
            added.setdefault(rule, []).append(Keep(pattern=pattern, reason=reason, source=source))
        rules = (dataclasses.replace(rule, keep=(*rule.keep, *added.get(rule.id, ()))) for rule in self.rules)
        return dataclasses.replace(self, rules=tuple(rules))

    def with_keeps(self, keeps: Iterable[tuple[str, str]], *, source: str) -> RuleSet:
        """These rules with more of what stays: (pattern from the root of the tree, reason).

        Raises InputError for a pattern that is none.
        """
        added = []
        for number, (pattern, reason) in enumerate(keeps, 1):
            if problem := pattern_problem(pattern):
                raise InputError(f"pattern '{pattern}' {problem[0]}", where=f"{source}: keep", remedy=problem[1])
            added.append(
                Protection(id=f"keep-{number}", scopes=None, patterns=(pattern,), reason=reason, source=source)
            )
        return dataclasses.replace(self, protections=(*self.protections, *added))


def load_rules(
    folder: Path | None = None, *, extra: Sequence[Path] = (), documents: Sequence[Document] = ()
) -> RuleSet:
    """All rules of `folder` (None: the ones that come with the program), of the rule files `extra` and of `documents`.

    Raises DocumentError with every fault of every file, each with its line.
    """
    folder = folder if folder is not None else resources.cleanup_rules()
    files = sorted(folder.glob("*.yml"))
    if not files:
        raise InputError("holds no rule files (*.yml)", where=str(folder), remedy="give a folder of rules")
    schema = json.loads((resources.cleanup_rules() / "schema.json").read_text(encoding="utf-8"))
    rules: list[Rule] = []
    protections: list[Protection] = []
    faults: list[Fault] = []
    first_use: dict[str, str] = {}
    own = len(files)
    for number, document in enumerate((*map(read_document, (*files, *extra)), *documents)):
        found = check_schema(document, schema)
        if not found:
            found = [*_check_patterns(document), *_check_ids(document, first_use)]
            found += _check_rebuilt(document) if number >= own else ()
        faults += found
        if not found:
            rules += [_rule(value) for value in document.value.get("rules", ())]
            protections += [_protection(value) for value in document.value.get("protected", ())]
    if faults:
        raise DocumentError(faults)
    return RuleSet(rules=tuple(rules), protections=tuple(protections))


def _rule(value: dict[str, Any]) -> Rule:
    return Rule(
        id=value["id"],
        scopes=tuple(value["scope"]),
        tier=value["tier"],
        category=value["category"],
        why=value["why"],
        patterns=tuple(value["patterns"]),
        keep=tuple(Keep(**exception) for exception in value.get("keep", ())),
        beside=tuple(value.get("beside", ())),
        targets=tuple(value.get("targets", get_args(OS))),
        rebuilt=value.get("rebuilt", False),
        bundle_only=value.get("bundle_only", False),
        measured=value.get("measured", ""),
    )


def _protection(value: dict[str, Any]) -> Protection:
    return Protection(
        id=value["id"],
        scopes=tuple(value.get("scope", get_args(Scope))),
        patterns=tuple(value["patterns"]),
        lifted=tuple(value.get("lifted", ())),
        reason=value["reason"],
        source=value["source"],
    )


def _items(document: Document) -> Iterator[tuple[Pointer, dict[str, Any]]]:
    for part in ("rules", "protected"):
        for number, value in enumerate(document.value.get(part, ())):
            yield (part, number), value


def _check_patterns(document: Document) -> Iterator[Fault]:
    for pointer, value in _items(document):
        places: list[tuple[Pointer, str]] = []
        for key in ("patterns", "lifted"):
            places += [((*pointer, key, number), text) for number, text in enumerate(value.get(key, ()))]
        for number, keep in enumerate(value.get("keep", ())):
            places.append(((*pointer, "keep", number, "pattern"), keep["pattern"]))
        for place, pattern in places:
            if problem := pattern_problem(pattern):
                yield document.fault(place, f"'{pattern}' {problem[0]}", problem[1])


def _check_rebuilt(document: Document) -> Iterator[Fault]:
    """What is rebuilt is asked of no oracle and listed in no record: only rules proved with the program may say so."""
    for pointer, value in _items(document):
        if "rebuilt" in value:
            yield document.fault(
                (*pointer, "rebuilt"),
                "is for the rules that come with the program",
                "leave it out: the oracle then sees whether something needs these files",
            )


def _check_ids(document: Document, first_use: dict[str, str]) -> Iterator[Fault]:
    for pointer, value in _items(document):
        place = f"{document.where}:{document.lines.get(pointer, 0)}"
        if earlier := first_use.get(value["id"]):
            yield document.fault((*pointer, "id"), f"'{value['id']}' is taken, first in {earlier}", "choose another id")
        first_use.setdefault(value["id"], place)
