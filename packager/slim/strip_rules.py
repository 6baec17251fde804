"""What strip.yml says: the programs that strip, and which files stay as they are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pathspec

from packager.document import check_schema, read_document
from packager.errors import DocumentError
from packager.process import run

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class StripTool:
    """A program on this machine. `version`: the first line it says of itself; `arguments` hold {input} and {output}."""

    program: Path
    version: str
    arguments: tuple[str, ...]

    def command(self, source: Path, output: Path) -> list[str]:
        return [str(self.program), *(word.format(input=source, output=output) for word in self.arguments)]


@dataclass(frozen=True, kw_only=True)
class StripRules:
    """`keep` are pairs of gitignore-style pattern, from the root of the tree, and reason. `tool` None: none is here."""

    tool: StripTool | None
    keep: tuple[tuple[str, str], ...]

    def reason_to_keep(self, path: str) -> str | None:
        """Why the file stays as it is, if a pattern names it or a folder above it."""
        for pattern, reason in self.keep:
            if pathspec.GitIgnoreSpec.from_lines([pattern]).match_file(path):
                return re.sub(r"\s+", " ", reason).strip()
        return None


def load_strip_rules(extra: Iterable[tuple[str, str]] = ()) -> StripRules:
    """The rules of this program, and those `extra` ones of a recipe. Raises DocumentError for a faulty file."""
    document = read_document(_FOLDER / "strip.yml")
    schema = json.loads((_FOLDER / "strip.schema.json").read_text(encoding="utf-8"))
    if faults := check_schema(document, schema):
        raise DocumentError(faults)
    value = document.value
    keep = [(item["pattern"], item["reason"]) for item in value["keep"]]
    return StripRules(tool=_find_tool(value["tools"]), keep=(*keep, *extra))


def _find_tool(tools: Iterable[dict[str, object]]) -> StripTool | None:
    for tool in tools:
        found = shutil.which(str(tool["program"]))
        if found:
            said = run([found, "--version"], check=False, timeout=20).stdout.strip().splitlines()
            arguments = tool["arguments"]
            assert isinstance(arguments, list)
            return StripTool(program=Path(found), version=next(iter(said), found), arguments=tuple(arguments))
    return None
