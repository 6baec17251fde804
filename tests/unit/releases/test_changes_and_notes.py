"""What changed between two locks, and how a person reads it."""

from __future__ import annotations

from dataclasses import replace

from packager.lock import Lock, LockedPackage, LockedRepository
from packager.releases.changes import lock_changes
from packager.releases.notes import changes_text, release_notes

FORGE = "https://github.com/o/c.git"


def package(name: str, version: str) -> LockedPackage:
    return LockedPackage(name=name, version=version, url=None, hashes=(), via=())


def repository(name: str, commit: str, *, url: str = FORGE, ref: str | None = None) -> LockedRepository:
    return LockedRepository(name=name, url=url, ref=ref, commit=commit * 40, tree="f" * 40)


OLD = Lock(
    version_id="r",
    recipe_digest="0" * 64,
    target="linux-x86_64",
    accelerator=None,
    runtime={"name": "host", "python": "3.12.4"},
    repositories=(repository("ComfyUI", "1", ref="v1"), repository("gone", "2")),
    packages=(package("numpy", "1.0"), package("torch", "2.9.1"), package("left", "1")),
)
NEW = replace(
    OLD,
    runtime={"name": "host", "python": "3.12.5"},
    repositories=(repository("ComfyUI", "3", ref="v2"), repository("new", "4", url="https://example.org/n")),
    packages=(package("numpy", "1.1"), package("torch", "2.9.1"), package("added", "3")),
)


def test_every_kind_of_change_is_found_and_nothing_else() -> None:
    found = lock_changes(OLD, NEW)
    assert [(it.name, it.kind) for it in found.packages] == [
        ("added", "added"),
        ("left", "removed"),
        ("numpy", "changed"),
    ]
    assert [(it.name, it.old, it.new) for it in found.repositories] == [
        ("ComfyUI", "v1 (111111111111)", "v2 (333333333333)"),
        ("gone", "222222222222", None),
        ("new", None, "444444444444"),
    ]
    assert found.python[0].new == "3.12.5"
    assert not lock_changes(OLD, OLD)
    assert changes_text(lock_changes(OLD, OLD)) == "Nothing changed.\n"


def test_a_forge_gets_a_link_to_what_lies_between() -> None:
    links = {it.name: it.link for it in lock_changes(OLD, NEW).repositories}
    assert links["ComfyUI"] == f"https://github.com/o/c/compare/{'1' * 40}...{'3' * 40}"
    assert links["new"] == links["gone"] == ""
    moved = replace(NEW, repositories=(repository("ComfyUI", "3", url="https://github.com/p/c"),))
    assert lock_changes(OLD, moved).repositories[0].link == ""


def report(target: str, *archives: str) -> dict:
    return {
        "bundle": {"name": "r", "version": "2.0", "description": "", "target": target, "accelerator": None},
        "archives": list(archives),
        "size": {"archive": 3 * 1024**3, "after": 5 * 1024**3},
        "proof": {"passed": True, "checks": [{}] * 24},
    }


def test_notes_name_files_sizes_versions_parts_and_changes() -> None:
    text = release_notes(
        reports=[report("linux-x86_64", "/o/r-part1of2.zip", "/o/r-part2of2.zip")],
        locks={"linux-x86_64": NEW},
        previous={"linux-x86_64": OLD},
        since="1.0",
    )
    assert (
        "| linux-x86_64 | as PyPI has it | `r-part1of2.zip`<br>`r-part2of2.zip` | 3.00 GiB | 5.00 GiB | 24 checks |"
        in text
    )
    assert "unzip each into the same folder" in text
    assert "## Changes since 1.0" in text
    assert "- numpy 1.0 → 1.1" in text
    assert "torch 2.9.1" in text


def test_changes_that_are_the_same_everywhere_are_told_once() -> None:
    places = ("linux-x86_64", "windows-x86_64")
    reports = [report(place, f"{place}.zip") for place in places]
    alike = release_notes(
        reports=reports, locks=dict.fromkeys(places, NEW), previous=dict.fromkeys(places, OLD), since="1.0"
    )
    assert alike.count("- numpy 1.0 → 1.1") == 1
    assert "part1of3" not in alike
    apart = release_notes(
        reports=reports, locks=dict.fromkeys(places, NEW), previous={"linux-x86_64": OLD}, since="1.0"
    )
    assert "**windows-x86_64**\n\nNew in this release." in apart


def test_names_from_outside_are_text_and_not_markup() -> None:
    evil = replace(OLD, packages=(package("<script>", "[x](javascript:1)"), package("a|b", "*1*")))
    text = changes_text(lock_changes(replace(OLD, packages=()), evil))
    assert "<script>" not in text
    assert "[x]" not in text.replace("\\[x\\]", "")
    assert "a\\|b \\*1\\*" in text
