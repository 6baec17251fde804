"""The prefix table: only places that were seen are in it. Scripts whose first line names another interpreter."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from packager import targets
from packager.bundle import BundleTree
from packager.prefix_files import PrefixFile, from_json, to_json
from packager.relocation.apply import apply_relocation
from packager.relocation.plan import plan_relocation
from packager.relocation.prefix_table import plan_prefix_table

PLACEHOLDER = "/build/" + "p" * 60
NEUTRAL = "/portable/python"


@pytest.fixture
def tree(tmp_path: Path) -> BundleTree:
    return BundleTree(root=tmp_path / "bundle", target=targets.get("linux-x86_64"), python_version="3.11.9")


def write(tree: BundleTree, name: str, content: str) -> PrefixFile:
    """A text file in the prefix, all of whose neutral prefixes are places."""
    path = tree.prefix / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    size = len(content.encode())
    starts = [at for at in range(len(content)) if content.startswith(NEUTRAL, at)]
    from_end = tuple(size - len(content[:at].encode()) for at in starts)
    return PrefixFile(path=name, kind="text", placeholder=NEUTRAL, from_end=from_end)


def binary(tree: BundleTree, name: str, content: bytes) -> PrefixFile:
    path = tree.prefix / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return PrefixFile(path=name, kind="binary", placeholder=PLACEHOLDER)


def test_places_of_texts_and_strings_of_binaries(tree: BundleTree) -> None:
    text = write(tree, "etc/ä.conf", f"ä={NEUTRAL}/a:{NEUTRAL}\n")
    content = f"\0{PLACEHOLDER}/a:{PLACEHOLDER}\0\0-L{PLACEHOLDER}/b\0{PLACEHOLDER}".encode()
    table = plan_prefix_table(tree, from_json(to_json([text, binary(tree, "lib/x.so", content)])))
    size = len(PLACEHOLDER)
    assert table["files"][0]["places"] == [3, 3 + len(NEUTRAL) + 3]
    assert table["files"][1]["strings"] == [
        {"start": 1, "length": 2 * size + 3, "places": [0, size + 3]},
        {"start": 2 * size + 8, "length": size + 2, "places": [0]},  # the last has no NUL, so it is no string
    ]
    assert table["files"][1]["sha256"] == hashlib.sha256(content).hexdigest()


def test_places_stay_true_when_relocation_changes_the_start_of_a_script(tree: BundleTree) -> None:
    script = write(tree, "bin/x", f"#!{tree.prefix}/bin/python\nPREFIX = '{NEUTRAL}'\n")
    apply_relocation(plan_relocation(tree, build_paths=[]))
    (entry,) = plan_prefix_table(tree, [script])["files"]
    content = (tree.prefix / "bin/x").read_bytes()
    assert content.startswith(b"#!/bin/sh\n")
    assert [content[place:][: len(NEUTRAL)] for place in entry["places"]] == [NEUTRAL.encode()]


def test_what_was_replaced_removed_or_made_a_link_is_left_out(tree: BundleTree) -> None:
    replaced = write(tree, "etc/replaced", f"{NEUTRAL}\n")
    (tree.prefix / "etc/replaced").write_text("an installer wrote this\n")
    removed = write(tree, "etc/removed", f"{NEUTRAL}\n")
    (tree.prefix / "etc/removed").unlink()
    linked = write(tree, "etc/linked", f"{NEUTRAL}\n")
    (tree.prefix / "etc/linked").rename(tree.prefix / "etc/other")
    (tree.prefix / "etc/linked").symlink_to("other")
    shorter = replace(write(tree, "etc/short", "x"), from_end=(100,))
    other = binary(tree, "lib/new.so", b"\0another build\0")
    assert plan_prefix_table(tree, [replaced, removed, linked, shorter, other])["files"] == []


def test_what_nothing_needs_is_counted_by_reason(tree: BundleTree) -> None:
    files = [write(tree, name, NEUTRAL) for name in ("share/man/x.1", "share/doc/x.txt")]
    files.append(binary(tree, "lib/x.a", PLACEHOLDER.encode() + b"\0"))
    table = plan_prefix_table(tree, files)
    assert table["files"] == []
    assert table["skipped"] == {
        "a static library's paths are those of its sources, for a debugger": 1,
        "documentation": 2,
    }


def test_windows_programs_have_no_prefix(tree: BundleTree) -> None:
    windows = replace(tree, target=targets.get("windows-x86_64"))
    files = [binary(windows, "Library/bin/x.dll", PLACEHOLDER.encode() + b"\0"), write(windows, "etc/x", NEUTRAL)]
    assert [entry["path"] for entry in plan_prefix_table(windows, files)["files"]] == ["python/etc/x"]


@pytest.mark.parametrize(
    ("name", "first", "made"),
    [
        ("libexec/deep/x", "#!{}/bin/python3.11 -s\nimport sys\n", '$PWD/../../bin/python"\n)" -s "$0"'),
        ("bin/x", "#!{}/bin/perl\n1;\n", "#!/usr/bin/env perl\n1;\n"),
        ("share/x.pl", "#! {}/bin/perl -w -T\n1;\n", "#!/usr/bin/env -S perl -w -T\n1;\n"),
        ("bin/y", "#!{}/bin/tclsh8.6\r\nputs 1\r\n", "#!/usr/bin/env tclsh8.6\nputs 1\r\n"),
    ],
)
def test_first_lines_that_name_an_interpreter_of_the_prefix(tree: BundleTree, name: str, first: str, made: str) -> None:
    write(tree, name, first.format(tree.prefix))
    apply_relocation(plan_relocation(tree, build_paths=[]))
    content = (tree.prefix / name).read_bytes().decode()
    assert made in content
    assert str(tree.prefix) not in content
    assert not plan_relocation(tree, build_paths=[]).edits


@pytest.mark.parametrize(
    ("first", "made"),
    [
        ("#!{}/python.exe -s\nimport sys\n", "import sys\n"),
        ("#!{}\\perl.exe -w\n1;\n", "#!/usr/bin/env -S perl -w\n1;\n"),
    ],
)
def test_first_lines_on_windows(tree: BundleTree, first: str, made: str) -> None:
    windows = replace(tree, target=targets.get("windows-x86_64"))
    write(windows, "Library/libexec/x", first.format(tree.prefix))
    apply_relocation(plan_relocation(windows, build_paths=[]))
    assert (tree.prefix / "Library/libexec/x").read_text() == made


@pytest.mark.parametrize("first", ["#!/usr/bin/perl\n", "#!/bin/sh\n", "no script\n"])
def test_other_first_lines_stay(tree: BundleTree, first: str) -> None:
    write(tree, "libexec/x", first + f"# made in {tree.prefix}\n")
    assert not plan_relocation(tree, build_paths=[]).edits
