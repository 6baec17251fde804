"""The table of system libraries: its schema, and what the program reads from it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from packager import binaries
from packager.binaries.system_libraries import system_libraries

_FOLDER = Path(binaries.__file__).parent
_TABLE = json.loads((_FOLDER / "system_libraries.json").read_text())


def test_the_table_follows_its_schema() -> None:
    jsonschema.validate(_TABLE, json.loads((_FOLDER / "system_libraries.schema.json").read_text()))


def test_no_library_is_in_two_groups_and_each_group_that_is_named_exists() -> None:
    names = [name for group in _TABLE["groups"].values() for name in group["sonames"]]
    assert sorted(set(names)) == sorted(names)
    assert set(_TABLE["always_present"]) <= set(_TABLE["groups"])


def test_what_every_system_has_is_never_bundled() -> None:
    table = system_libraries()
    assert table.always_present <= table.never_bundled.keys()
    assert {"libc.so.6", "ld-linux-x86-64.so.2", "libstdc++.so.6"} <= table.always_present


def test_libraries_a_minimal_debian_lacks_are_brought_although_manylinux_lists_them() -> None:
    table = system_libraries()
    assert "libexpat.so.1" in table.manylinux
    assert "libexpat.so.1" not in table.never_bundled
    assert "libexpat.so.1" not in table.always_present
