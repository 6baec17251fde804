"""Where the bundle lay when it was last started: how `doctor` knows that it was moved."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

from portable.changes import STATE

_FILE = "place.json"


def note(root: Path) -> str | None:
    """Remember where the bundle lies now; returns where it lay before it was moved, None if that is not known.

    Not written where nothing has changed, nor on media that cannot be written.
    """
    path = root / STATE / _FILE
    here, before = str(root), None
    with contextlib.suppress(OSError, ValueError, AttributeError):
        known = json.loads(path.read_text(encoding="utf-8"))
        before = known.get("before")
        if known.get("here") == here:
            return str(before) if before else None
        before = known.get("here")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".tmp")
        value = {"here": here, "before": before, "since": time.strftime("%Y-%m-%d")}
        fresh.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
        fresh.replace(path)
    return str(before) if before else None
