"""Text files that name the prefix they were installed to, by the forms of rules.yml.

`pkgconfig`: relative to `${pcfiledir}`. `neutral`: a path that exists nowhere. `sysconfig`: neutral, and put right by
the module itself when it is imported. `script`: its first line as any script's.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from packager.relocation.places import BuildPlaces
from packager.relocation.rules import Form, load_rules
from packager.relocation.scripts import relocatable_script

_SYSCONFIG = """
import sys
build_time_vars = {{
    name: value.replace({neutral!r}, sys.base_prefix) if isinstance(value, str) else value
    for name, value in build_time_vars.items()
}}
"""


def relocatable_text(content: bytes, path: Path, form: Form, places: BuildPlaces) -> bytes | None:
    """`content` of the file at `path` in the given form, None where nothing is to change."""
    if form == "script":
        python = places.prefix / places.tree.target.python_executable()
        return relocatable_script(content, python=Path(os.path.relpath(python, path.parent)).as_posix())
    if form == "pkgconfig":
        up = places.replace(
            content, lambda place: "${pcfiledir}/" + Path(os.path.relpath(place, path.parent)).as_posix()
        )
        return None if up == content else up
    neutral = load_rules().neutral_prefix

    def spell(place: Path) -> str:
        return posixpath.normpath(posixpath.join(neutral, Path(os.path.relpath(place, places.prefix)).as_posix()))

    changed = places.replace(content, spell)
    if changed == content:
        return None
    tail = _SYSCONFIG.format(neutral=neutral).encode()
    return changed + tail if form == "sysconfig" and not changed.endswith(tail) else changed
