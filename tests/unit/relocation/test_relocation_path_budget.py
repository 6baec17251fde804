"""How deep a folder the bundle can go into on Windows."""

from __future__ import annotations

import pytest

from packager import targets
from packager.relocation.path_budget import path_budget

WINDOWS = targets.get("windows-x86_64")


def test_file_may_end_at_character_259() -> None:
    budget = path_budget(["root/", "root/" + "f" * 95, "root/short"], WINDOWS)
    assert (budget.longest, budget.length, budget.folder) == ("root/" + "f" * 95, 100, 158)
    assert budget.folder is not None
    assert budget.folder + 1 + budget.length == 259


@pytest.mark.parametrize("names", [["d" * 100 + "/"], ["d" * 100 + "/f"]])
def test_folder_needs_room_for_a_short_name(names: list[str]) -> None:
    """CreateDirectory takes 247 characters, whether the archive has an entry for the folder or just a file in it."""
    budget = path_budget(names, WINDOWS)
    assert (budget.longest, budget.folder) == ("d" * 100, 247 - 101)


def test_characters_outside_the_basic_plane_count_twice() -> None:
    assert path_budget(["é" * 10], WINDOWS).length == 10
    assert path_budget(["😀" * 10], WINDOWS).length == 20


def test_member_that_fits_nowhere_leaves_a_negative_budget() -> None:
    folder = path_budget(["f" * 300], WINDOWS).folder
    assert folder is not None
    assert folder < 0


def test_no_limit_elsewhere_and_an_empty_archive_has_a_budget() -> None:
    assert path_budget(["f" * 300], targets.get("linux-x86_64")).folder is None
    assert path_budget([], WINDOWS).folder == 258
