"""A copy of the app to start: a start writes settings, logs and data bases beside the code, which must not ship.

Nor may it write where links of the app lead: what they point to outside of the app is copied too, if it is small.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_LARGEST = 64 * 1024 * 1024  # bytes
_MODEL = 256 * 1024  # bytes; of the models folder only what is smaller: lists and placeholders
_LINKED_BYTES, _LINKED_FILES = 256 * 1024 * 1024, 20_000  # of all that links lead to
_LEFT_OUT = {".git", "__pycache__"}


@dataclass(kw_only=True)
class AppCopy:
    """`place` is the copy. `bound` are folders that are still linked from it, and which must be made read-only before
    it is started; `left_out` are links, relative to the app, that it does not have."""

    place: Path
    bound: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def copy_app(app: Path, folder: Path, *, can_bind: bool) -> AppCopy:
    """Copy `app` into `folder` under its own name, without history, bytecode, models and what is no regular file.

    A linked folder that is too large to copy stays a link where folders can be bound read-only (`can_bind`).
    """
    copying = _Copying(
        app=Path(os.path.realpath(app)),
        copy=AppCopy(place=folder / app.name),
        can_bind=can_bind,
        bytes=_LINKED_BYTES,
        files=_LINKED_FILES,
    )
    copying.folder(copying.app, Path(), ())
    return copying.copy


@dataclass(kw_only=True)
class _Copying:
    """`bytes` and `files` are how much more of what links lead to may be copied."""

    app: Path
    copy: AppCopy
    can_bind: bool
    bytes: int
    files: int

    def folder(self, source: Path, inside: Path, links: tuple[Path, ...]) -> None:
        """`inside`: where in the app; `links`: the linked folders on the way."""
        (self.copy.place / inside).mkdir(parents=True, exist_ok=True)
        for place in sorted(source.iterdir()):
            if place.is_symlink():
                self.link(place, inside / place.name, links)
            elif place.is_dir():
                if place.name not in _LEFT_OUT:
                    self.folder(place, inside / place.name, links)
            elif _is_wanted(place, inside):
                shutil.copy2(place, self.copy.place / inside / place.name)

    def link(self, place: Path, inside: Path, links: tuple[Path, ...]) -> None:
        target = Path(os.path.realpath(place))
        copy = self.copy.place / inside
        if target.is_relative_to(self.app):
            copy.symlink_to(self.copy.place / target.relative_to(self.app))
        elif target.is_dir():
            try:
                self.linked_folder(target, inside, links)
            except OSError:  # it may not be read
                shutil.rmtree(copy, ignore_errors=True)
                self.copy.left_out.append(inside.as_posix())
        elif _is_wanted(target, inside.parent) and os.access(target, os.R_OK):
            shutil.copy2(target, copy)

    def linked_folder(self, target: Path, inside: Path, links: tuple[Path, ...]) -> None:
        if target in links:
            return  # a circle
        sizes = _sizes(target, inside)
        count = size = 0
        for one in sizes:
            count, size = count + 1, size + one
            if count > self.files or size > self.bytes:
                break
        else:
            self.files, self.bytes = self.files - count, self.bytes - size
            self.folder(target, inside, (*links, target))
            return
        if self.can_bind:
            (self.copy.place / inside).symlink_to(target)
            self.copy.bound.append(target)
        else:
            self.copy.left_out.append(inside.as_posix())


def _sizes(folder: Path, inside: Path) -> Iterator[int]:
    """Bytes of each file and link that would be copied, 0 for each folder: an endless one comes to an end too."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        yield 0
        below = inside / Path(place).relative_to(folder)
        for file in (Path(place, name) for name in files):
            yield file.lstat().st_size if not file.is_symlink() and _is_wanted(file, below) else 0


def _is_wanted(file: Path, inside: Path) -> bool:
    """Whether it is copied into the folder `inside` of the app."""
    limit = _MODEL if inside.parts[:1] == ("models",) else _LARGEST
    return file.is_file() and file.stat().st_size <= limit


def is_copied(path: str) -> bool:
    """Whether a copy can have the file: that the app looked for history in vain tells nothing."""
    return _LEFT_OUT.isdisjoint(path.split("/"))
