"""What the pages say is so: links lead somewhere, recipes load, messages are said, commands and options exist."""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pages
import pytest
import yaml

from packager import cleanup, targets
from packager.cli import _parser
from packager.document import read_document
from packager.helpers import readme_words
from packager.recipe import load_recipe, schema
from packager.resources import data_root, helper_scripts
from packager.settings import load_settings

sys.path.insert(0, str(helper_scripts()))

from portable import cli as portable_cli

MINIMAL = {"schema_version": 2, "version_id": "trial", "comfy": {"repo": "https://example.org/ComfyUI"}}
MAKE_TARGETS = set(re.findall(r"^([a-z][\w-]*):", (data_root() / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def name(page: Path) -> str:
    return page.relative_to(pages.ROOT).as_posix()


@pytest.mark.parametrize("page", pages.PAGES, ids=name)
def test_relative_links_lead_to_a_file_and_an_anchor(page: Path) -> None:
    wrong = []
    for link in pages.links(page):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), link
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        if not target.exists() or (anchor and anchor not in pages.anchors(target)):
            wrong.append(link)
    assert not wrong


def test_a_wrong_anchor_would_be_seen() -> None:
    assert "where-things-come-from" in pages.anchors(pages.ROOT / "docs" / "building.md")
    assert "where-things-went" not in pages.anchors(pages.ROOT / "docs" / "building.md")


@pytest.mark.parametrize("block", pages.blocks("yaml"), ids=lambda block: block.place)
def test_yaml_is_a_recipe_a_piece_of_one_or_a_document_of_ours(block: pages.Block, tmp_path: Path) -> None:
    path = tmp_path / "snippet.yml"
    path.write_text(block.text, encoding="utf-8")
    fields = set(yaml.safe_load(block.text))
    if fields <= {"sources", "mirrors"}:
        assert load_settings(environ={"PACKAGER_CONFIG": str(path)}).sources
    elif fields <= {"rules", "protected"}:
        path.write_text(f"format: 1\n{block.text}", encoding="utf-8")
        assert cleanup.load_rules(tmp_path).rules
    else:
        assert fields <= set(schema()["properties"])
        recipe = {**MINIMAL, **read_document(path).value}
        path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
        assert load_recipe(path).version_id == recipe["version_id"]


def test_python_compiles_and_no_other_kind_of_block_is_used() -> None:
    kinds = {block.kind for page in pages.PAGES for block in pages._blocks(page)}
    assert kinds <= {"console", "yaml", "text", "python"}
    for block in pages.blocks("python"):
        compile(block.text, block.place, "exec")


TROUBLE = re.findall(
    r"^### (?:`` (.+) ``|`(.+)`)$",
    (pages.ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"),
    re.MULTILINE,
)


@pytest.mark.parametrize("message", [one or two for one, two in TROUBLE])
def test_what_troubleshooting_quotes_is_still_said(message: str) -> None:
    assert pages.is_said(message)


def test_troubleshooting_has_messages_and_nothing_is_said_that_is_not() -> None:
    assert len(TROUBLE) >= 30
    assert not pages.is_said("the moon is ... made of cheese")


def options_of(parser: argparse.ArgumentParser) -> dict[str, Any]:
    return next(item.choices for item in parser._actions if isinstance(item, argparse._SubParsersAction))


def fault_of(words: list[str], parser: argparse.ArgumentParser) -> str | None:
    """The first word that is no command or option of `parser`."""
    while words and any(isinstance(item, argparse._SubParsersAction) for item in parser._actions):
        if not re.fullmatch(r"[a-z][a-z-]*", words[0]):  # a placeholder, or an option of the command before it
            break
        if words[0] not in options_of(parser):
            return words[0]
        parser, words = options_of(parser)[words[0]], words[1:]
    if "--" in words:
        words = words[: words.index("--")]
    known = parser._option_string_actions
    wrong = [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
    return wrong[0] if wrong else None


@pytest.mark.parametrize("page", pages.PAGES, ids=name)
def test_commands_within_the_text_exist(page: Path) -> None:
    packager, portable, wrong = _parser(), portable_cli._parser(), []
    for span in pages.spans(page):
        try:
            words = shlex.split(span.replace("[", " ").replace("]", " "))
        except ValueError:
            continue
        fault = None
        if words[:1] == ["packager"]:
            fault = fault_of(words[1:], packager)
        elif words and re.fullmatch(r"(\./)?manage(\.sh|\.bat)?", words[0]):
            fault = fault_of([word for word in words[1:] if word != "|"], portable)
        elif words[:1] == ["make"] and len(words) > 1:
            fault = None if words[1] in MAKE_TARGETS else words[1]
        if fault:
            wrong.append(f"{span}: {fault}")
    assert not wrong


def test_a_command_that_is_none_would_be_seen() -> None:
    assert fault_of(["build", "RECIPE", "--fast"], _parser()) == "--fast"
    assert fault_of(["bild"], _parser()) == "bild"
    assert fault_of(["models", "fetch"], portable_cli._parser()) is None


def test_every_workflow_input_is_documented() -> None:
    workflow = yaml.safe_load((pages.ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))
    inputs = set(workflow[True]["workflow_dispatch"]["inputs"])  # YAML 1.1 takes `on` for true
    page = (pages.ROOT / "docs" / "releasing.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == inputs
    assert set(re.findall(r"-f (\w+)=", page)) <= inputs


def test_each_recipe_of_contributing_is_short() -> None:
    text = (pages.ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert len(sections) >= 5
    assert all(section.startswith("Add a") and section.count("\n") <= 20 for section in sections)


def test_every_room_and_module_is_in_the_architecture() -> None:
    page = (pages.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w*]+(?:\.py|/)", page))
    patterns = [re.compile(word.replace(".", r"\.").replace("*", ".*")) for word in named]
    folder = pages.ROOT / "packager"
    own = [path.name for path in folder.glob("*.py") if not path.name.startswith("__")]
    rooms = [f"{path.name}/" for path in folder.iterdir() if (path / "__init__.py").is_file()]
    assert [item for item in [*own, *rooms] if not any(it.fullmatch(item) for it in patterns)] == []
    gone = [word for word in named if word.endswith(".py") and not list(pages.ROOT.rglob(word))]
    assert gone == []


@pytest.mark.parametrize("target", sorted(targets.TARGETS))
def test_readme_txt_speaks_of_its_own_system(target: str) -> None:
    facts = {"name": "n", "version": "1", "root": "n", "python_version": "3.12.1", "glibc_floor": None}
    words = readme_words(targets.get(target), facts)
    text = (helper_scripts() / "README.txt.template").read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace(f"${word}", value)
    windows = targets.get(target).is_windows
    assert (".bat" in text, ".sh" in text) == (windows, not windows)
    assert "$" not in text
    assert max(len(line) for line in text.splitlines()) <= 100
