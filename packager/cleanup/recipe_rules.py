"""The rules of a build: those that come with the program, and what its recipe adds to them or takes back."""

from __future__ import annotations

from packager.cleanup.rules import RuleSet, load_rules
from packager.document import Document, Pointer, read_document
from packager.errors import InputError
from packager.recipe import Recipe


def rules_of(recipe: Recipe) -> RuleSet:
    """All rules for `recipe`, with its exceptions and what it keeps; tier and opt-ins are checked.

    Raises DocumentError for a faulty rule file or rule, InputError for an unknown rule or pattern that is none.
    """
    wanted = recipe.cleanup
    where = str(recipe.path)
    files = [recipe.path.parent / item for item in wanted.rules if isinstance(item, str)]
    inline = [_written_in(recipe)] if any(isinstance(item, dict) for item in wanted.rules) else []
    rules = load_rules(extra=files, documents=inline)
    rules = rules.with_exceptions(
        [(item.rule, item.pattern, item.reason) for item in wanted.exceptions], source=where
    ).with_keeps([(keep.pattern, keep.reason) for keep in wanted.keep], source=where)
    rules.select(wanted.tier, wanted.opt_in)
    return rules


def _written_in(recipe: Recipe) -> Document:
    """The rules that stand in the recipe itself as a rule file, whose lines are the recipe's."""
    recipe_lines = _lines_of(recipe)
    values: list[object] = []
    lines: dict[Pointer, int] = {}
    for number, item in enumerate(recipe.cleanup.rules):
        if isinstance(item, dict):
            for pointer, line in recipe_lines.items():
                if pointer[:3] == ("cleanup", "rules", number):
                    place: Pointer = ("rules", len(values), *pointer[3:])
                    lines[place] = line
            values.append(item)
    return Document(where=str(recipe.path), value={"format": 1, "rules": values}, lines=lines)


def _lines_of(recipe: Recipe) -> dict[Pointer, int]:
    try:
        return read_document(recipe.path).lines
    except InputError:  # it was read from elsewhere, or is gone by now
        return {}
