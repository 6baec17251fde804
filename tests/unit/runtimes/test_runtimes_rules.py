"""The table of what comes along from a host Python, and the edits that undo Debian's layout."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

import packager.runtimes
from packager.errors import InputError
from packager.runtimes.apply import nowhere
from packager.runtimes.rules import Edit, host_rules

_FOLDER = Path(packager.runtimes.__file__).parent


def test_the_table_follows_its_schema() -> None:
    table = yaml.safe_load((_FOLDER / "host.yml").read_text())
    jsonschema.validate(table, json.loads((_FOLDER / "host.schema.json").read_text()))


@pytest.mark.parametrize(
    "path",
    [
        "site-packages/",
        "json/__pycache__/",
        "os.pyc",
        "config-3.11-x86_64-linux-gnu/",
        "EXTERNALLY-MANAGED",
        "sitecustomize.py",
    ],
)
def test_stays_behind(path: str) -> None:
    assert host_rules().reason_to_leave_out(path)


@pytest.mark.parametrize(
    "path", ["os.py", "json/", "test/site-packages/", "idlelib/config-main.def", "lib-dynload/", "LICENSE.txt"]
)
def test_comes_along(path: str) -> None:
    assert host_rules().reason_to_leave_out(path) is None


def test_an_edit_goes_before_its_line() -> None:
    edit = Edit(files=("a.py",), reason="r", text="new = 1\n", before="def f():")
    assert edit.apply("a = 1\ndef f():\n    pass\n", where="a.py") == "a = 1\nnew = 1\ndef f():\n    pass\n"


@pytest.mark.parametrize("content", ["a = 1\n", "\ndef f():\n\ndef f():\n", "\n    def f():\n", ""])
def test_an_edit_that_does_not_find_its_line_once_is_refused(content: str) -> None:
    with pytest.raises(InputError, match=r"a\.py: the line 'def f\(\):' is there"):
        Edit(files=("a.py",), reason="r", text="new = 1\n", before="def f():").apply(content, where="a.py")


def test_what_is_added_is_python() -> None:
    for addition in host_rules().debian_additions:
        ast.parse(addition.text)
    for edit in host_rules().debian_edits:
        ast.parse(edit.text)


@pytest.mark.parametrize("path", [b"/root/.pyenv/versions/3.11.7", b"/opt/py", b"/a/b", b"/home/u/py"])
def test_a_compiled_in_prefix_is_overwritten_at_equal_length(path: bytes) -> None:
    content = b"\0" + path + b"\0" + path + b"/lib\0" + path + b"0/lib\0"
    changed = nowhere(content, path)
    assert len(changed) == len(content)
    assert changed.endswith(path + b"0/lib\0"), "another path that begins alike is left alone"
    assert changed.count(path) == 1


def test_a_string_stored_as_the_end_of_the_prefix_survives() -> None:
    """Linkers merge them: without care Python forgets that it is 3.11.7."""
    assert nowhere(b"\0/opt/pythons/3.11.7\0", b"/opt/pythons/3.11.7").endswith(b"/3.11.7\0")
