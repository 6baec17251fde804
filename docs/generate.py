"""Write the reference pages that follow from data: `make docs`. With --check, only tell which do not.

recipe.md comes from packager/recipe.schema.json, cleanup-rules.md from cleanup_rules/.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from packager import cleanup
from packager.recipe import schema

DOCS = Path(__file__).parent
NOTE = "<!-- Written by docs/generate.py; change its source and run `make docs`. -->\n\n"


def main(arguments: Sequence[str]) -> int:
    pages = {"recipe.md": recipe_page(), "cleanup-rules.md": rules_page()}
    stale = [name for name, text in pages.items() if not _same(DOCS / name, text)]
    if "--check" in arguments:
        print("\n".join(f"docs/{name} is stale: run `make docs`" for name in stale), end="\n" if stale else "")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).write_text(pages[name], encoding="utf-8")
        print(f"docs/{name}")
    return 0


def recipe_page() -> str:
    """One row a field, nested fields with a dot, and the definitions they share written out where they are used."""
    required = ", ".join(f"`{name}`" for name in schema()["required"])
    lines = [
        "# The recipe\n\n",
        NOTE,
        f"{schema()['description']} Required: {required}.\n",
        "[recipe.schema.json](../packager/recipe.schema.json) has the exact patterns; editors with a YAML language\n",
        "server check a recipe that begins with `# yaml-language-server: $schema=PATH`. `packager validate` shows\n",
        "every fault at once.\n",
    ]
    for name, value in schema()["properties"].items():
        resolved = _resolved(value)
        lines.append(f"\n## {name}\n\n{_sentence(resolved)}\n")
        lines += [f"\n{row}.\n" for row in _facts(resolved)]
        if fields := list(_fields(resolved, "")):
            lines.append("\n| field | what it is |\n|---|---|\n")
            lines += [f"| `{field}` | {_cell(text)} |\n" for field, text in fields]
        if "examples" in resolved:
            lines.append(f"\n```yaml\n{_yaml(name, resolved['examples'][0])}```\n")
    return "".join(lines)


def rules_page() -> str:
    """Every rule with what it takes and why that is safe, and every protection with what broke without it."""
    found = cleanup.rules_json(cleanup.load_rules())
    lines = [
        "# The clean-up rules\n\n",
        NOTE,
        "From [cleanup_rules/](../cleanup_rules), as `packager rules` lists them.\n",
    ]
    for title, rows in found.items():
        if not (isinstance(rows, (list, tuple)) and rows and isinstance(rows[0], dict)):
            continue
        lines.append(f"\n## {title.replace('_', ' ').capitalize()}\n")
        for row in rows:
            lines.append(f"\n### {row['id']}\n\n")
            lines += [f"- {key}: {_value(value)}\n" for key, value in row.items() if key != "id" and value]
    return "".join(lines)


def _resolved(value: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    shared = schema()["$defs"][value["$ref"].rsplit("/", 1)[-1]]
    return {**shared, **{key: item for key, item in value.items() if key != "$ref"}}


def _fields(value: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    inner = _resolved(value)
    if inner.get("type") == "array":
        inner, prefix = _resolved(inner["items"]), f"{prefix}[]"
    for name, item in inner.get("properties", {}).items():
        field = f"{prefix}.{name}".lstrip(".")
        resolved = _resolved(item)
        needed = " (required)" if name in inner.get("required", ()) else ""
        text = " ".join([_sentence(resolved) + needed, *(f"{row}." for row in _facts(resolved))])
        yield field, text.strip()
        yield from _fields(resolved, field)


def _sentence(value: dict[str, Any]) -> str:
    text = value.get("description", "")
    return f"{text}." if text and not text.endswith(".") else text


def _facts(value: dict[str, Any]) -> list[str]:
    facts = []
    if allowed := value.get("enum"):
        facts.append("One of " + ", ".join(f"`{item}`" for item in allowed))
    if "default" in value:
        facts.append(f"Default: `{json.dumps(value['default'], ensure_ascii=False)}`")
    return facts


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{key} {_value(item)}" for key, item in value.items() if item)
    text = " ".join(str(value).split())
    return f"`{text}`" if any(letter in text for letter in "*/") and " " not in text else text


def _yaml(name: str, value: Any) -> str:
    """The field as a recipe has it: its items in block style, what is in them in one line."""
    if isinstance(value, list):
        items = [yaml.safe_dump(item, sort_keys=False, allow_unicode=True, default_flow_style=True) for item in value]
        return f"{name}:\n" + "".join(
            f"  - {item.removesuffix(chr(10)).removesuffix('...').strip()}\n" for item in items
        )
    return yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, default_flow_style=False, width=100)


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
