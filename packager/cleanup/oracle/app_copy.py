"""A copy of the app to start: a start writes settings, logs and data bases beside the code, which must not ship."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_LARGEST = 64 * 1024 * 1024  # bytes
_MODEL = 256 * 1024  # bytes; of the models folder only what is smaller: lists and placeholders
_LEFT_OUT = {".git", "__pycache__"}


def copy_app(app: Path, folder: Path) -> Path:
    """Copy `app` into `folder` under its own name, without history, bytecode and models; returns the copy."""
    copy = folder / app.name
    for place, folders, files in os.walk(app):
        folders[:] = sorted(name for name in folders if name not in _LEFT_OUT)
        inside = Path(place).relative_to(app)
        limit = _MODEL if inside.parts[:1] == ("models",) else _LARGEST
        (copy / inside).mkdir(parents=True, exist_ok=True)
        for name in sorted(files):
            source = Path(place, name)
            if source.is_symlink() or source.stat().st_size <= limit:
                shutil.copy2(source, copy / inside / name, follow_symlinks=False)
        for name in [name for name in folders if Path(place, name).is_symlink()]:
            (copy / inside / name).symlink_to(Path(place, name).resolve())
            folders.remove(name)
    return copy


def is_copied(path: str) -> bool:
    """Whether a copy can have the file: that the app looked for history in vain tells nothing."""
    return _LEFT_OUT.isdisjoint(path.split("/"))
