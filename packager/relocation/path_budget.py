"""How deep a folder the bundle can be unzipped into on a system that limits the length of paths.

Source: Microsoft, "Maximum Path Length Limitation": 260 characters with the drive and the final NUL, and for a folder
room for a file name of 8.3 besides (248); counted in UTF-16 code units.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packager.targets import Target

_ROOM_IN_FOLDER = 12  # an 8.3 name


@dataclass(frozen=True, kw_only=True)
class PathBudget:
    """Lengths in UTF-16 code units. `longest` is the member that leaves least room; `folder` the longest folder the
    bundle can be unzipped into, without a final separator: None where there is no limit, negative where none will do.
    """

    longest: str
    length: int
    folder: int | None


def path_budget(names: Iterable[str], target: Target) -> PathBudget:
    """The budget of an archive with these member names: `/` between folders, one at the end of a folder's own name."""
    needs = {"": 0}
    for name in names:
        member = name.rstrip("/")
        needs[member] = _units(member) + (_ROOM_IN_FOLDER if name.endswith("/") else 0)
        parent = member.rpartition("/")[0]
        needs[parent] = _units(parent) + (_ROOM_IN_FOLDER if parent else 0)
    longest = min(needs, key=lambda name: (-needs[name], name))
    # drive and folder, one separator, the member
    folder = None if target.max_path is None else target.max_path - 1 - needs[longest]
    return PathBudget(longest=longest, length=_units(longest), folder=folder)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
