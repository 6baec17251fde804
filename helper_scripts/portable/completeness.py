"""Whether all parts were unzipped of a bundle that came in several zips: told before anything fails for want of one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from portable.errors import HelperError

MANIFEST = "portable/manifest.json"
_PART = re.compile(rb'"part": ?(\d+)\}')
_LONGEST_HEAD = 1024 * 1024  # bytes
_SAMPLES = 7  # files looked for of each part; a user may delete one, hardly all


def read_head(root: Path) -> dict[str, Any]:
    """What the manifest says before its entries, which make it long. Empty if it is missing or broken."""
    try:
        with (root / MANIFEST).open("rb") as stream:
            head: Any = json.loads(stream.readline(_LONGEST_HEAD).rstrip() + b"]}")
    except (OSError, ValueError):
        return {}
    return head if isinstance(head, dict) else {}


def missing_parts(root: Path) -> list[str]:
    """Names of the zips of which nothing seems to be in the bundle in `root`. Quick: looks for a few files of each.

    The manifest lies in part 1, so part 1 is never among them.
    """
    names = read_head(root).get("parts") or []
    if not isinstance(names, list) or len(names) < 2:
        return []
    lines: dict[int, list[bytes]] = {}
    with (root / MANIFEST).open("rb") as stream:
        for line in stream:
            found = _PART.search(line)
            if found and b'"directory"' not in line:
                lines.setdefault(int(found[1]), []).append(line)
    return [
        str(name)
        for number, name in enumerate(names, 1)
        if lines.get(number) and not any(_is_there(root, line) for line in _spread(lines[number]))
    ]


def require_all_parts(root: Path) -> None:
    """Raise HelperError that names each zip which was not unzipped."""
    if missing := missing_parts(root):
        them, each = ("it", "") if len(missing) == 1 else ("them", "each of ")
        raise HelperError(
            f"This bundle came in several zips, and nothing of {', '.join(missing)} is here: unzip {each}{them} into "
            f"the same folder as part 1, {root.parent}. Every zip of the same version is needed."
        )


def _spread(lines: list[bytes]) -> list[bytes]:
    return lines[:: max(1, len(lines) // _SAMPLES)]


def _is_there(root: Path, line: bytes) -> bool:
    try:
        path = root / str(json.loads(line.strip().rstrip(b","))["path"])
    except (ValueError, LookupError, TypeError):
        return True  # `verify` tells what is wrong with the manifest
    return path.is_symlink() or path.exists()
