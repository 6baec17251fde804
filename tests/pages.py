"""The project's pages as tests see them: blocks, commands, code spans, links and anchors; and what the source says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`` (.+?) ``|`([^`\n]+(?:\n[^`\n]+)?)`")
_LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
_HOLE = "\0"  # stands for what a message fills in


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: `kind` is the word after the fence, `line` counts from 1 and is that of its first line."""

    page: Path
    line: int
    kind: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT).as_posix()}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """What follows `$ `, comments and all; a backslash at the end goes on in the next line."""
        joined = self.text.replace("\\\n", " ")
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def blocks(*kinds: str) -> list[Block]:
    """Every fenced block of these kinds, of all pages, in their order."""
    return [block for page in PAGES for block in _blocks(page) if block.kind in kinds]


def spans(page: Path) -> list[str]:
    """The code spans of a page, line breaks as spaces; fenced blocks have none."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [" ".join((found[1] or found[2]).split()) for found in _SPAN.finditer(prose)]


def links(page: Path) -> list[str]:
    return [found["target"] for found in _LINK.finditer(_FENCE.sub("", page.read_text(encoding="utf-8")))]


def anchors(page: Path) -> set[str]:
    """The anchors GitHub gives a page's headings."""
    prose = _FENCE.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def _blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    assert text.count("\n```") % 2 == 0, f"{page}: a fence is not closed"
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        yield Block(page=page, line=line, kind=found["kind"], text=found["text"])


@cache
def messages() -> tuple[str, ...]:
    """Every text of packager/ and helper_scripts/ that may be shown, with _HOLE where something is filled in."""
    texts = []
    for folder in (ROOT / "packager", ROOT / "helper_scripts"):
        for path in sorted(folder.rglob("*")):
            if path.suffix == ".py":
                texts += _strings(ast.parse(path.read_text(encoding="utf-8")))
            elif path.suffix in (".sh", ".bat", ".json", ".yml", ".template"):
                texts.append(path.read_text(encoding="utf-8"))
    return tuple(texts)


def is_said(message: str) -> bool:
    """Whether some text of the source says `message`, in which `...` stands for anything."""
    pieces = [piece for piece in message.split("...") if piece]
    return any(_holds(text, pieces) for text in messages())


def _holds(text: str, pieces: list[str]) -> bool:
    """Whether `text` holds the pieces in their order."""
    end = 0
    for piece in pieces:
        found = text.find(piece, end)
        if found < 0:
            return False
        end = found + len(piece)
    return True


def _strings(tree: ast.Module) -> Iterator[str]:
    names = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(_part(value, names) for value in node.values)


def _part(value: ast.expr, names: dict[str, str]) -> str:
    """A piece of an f-string; a constant of the module is filled in."""
    if isinstance(value, ast.Constant):
        return str(value.value)
    if isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name):
        return names.get(value.value.id, _HOLE)
    return _HOLE
