"""The tables of rules.yml."""

from __future__ import annotations

import functools
import importlib.resources
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import yaml

Form = Literal["neutral", "pkgconfig", "script", "sysconfig"]


@dataclass(frozen=True, kw_only=True)
class TextRule:
    """How a text file named like `pattern` is freed from the build path."""

    pattern: str
    form: Form
    reason: str


@dataclass(frozen=True, kw_only=True)
class LeakRules:
    """`min_length` is in characters; `archives` are lower-case suffixes; `allow` are patterns of paths."""

    generic: frozenset[str]
    min_length: int
    archives: tuple[str, ...]
    allow: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Skip:
    """Files that need not be in the prefix table."""

    pattern: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rules:
    neutral_prefix: str
    texts: tuple[TextRule, ...]
    skips: tuple[Skip, ...]
    leaks: LeakRules

    def text_rule(self, name: str) -> TextRule | None:
        """The first rule for a file, given by its path from the bundle's root with forward slashes."""
        return next((rule for rule in self.texts if fnmatchcase(name, rule.pattern)), None)

    def skip_rule(self, name: str) -> Skip | None:
        """The first rule that leaves a file out of the prefix table; `name` as above."""
        return next((rule for rule in self.skips if fnmatchcase(name, rule.pattern)), None)


@functools.cache
def load_rules() -> Rules:
    """The rules that come with the program."""
    text = importlib.resources.files(__package__).joinpath("rules.yml").read_text(encoding="utf-8")
    value = yaml.safe_load(text)
    leaks = value["leaks"]
    return Rules(
        neutral_prefix=value["neutral_prefix"],
        texts=tuple(TextRule(**rule) for rule in value["texts"]),
        skips=tuple(Skip(**rule) for rule in value["prefixes"]["skip"]),
        leaks=LeakRules(
            generic=frozenset(leaks["generic"]),
            min_length=leaks["min_length"],
            archives=tuple(leaks["archives"]),
            allow=tuple(rule["pattern"] for rule in leaks["allow"]),
        ),
    )
