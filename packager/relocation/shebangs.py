"""Scripts that name an interpreter of the prefix by its build path and are no console scripts of Python.

They lie outside the scripts folder (`libexec/`, `lib/python3.x/` of conda packages), or are for a perl or bash that a
package brought along.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from packager.relocation.edits import Edit, Rewrite
from packager.relocation.places import BuildPlaces
from packager.relocation.scripts import relocatable_script, without_shebang

_MAX_LINE = 4608  # bytes, as in scripts.py
_INTERPRETER = re.compile(
    rb"#![ \t]*(?:[A-Za-z]:)?[\\/][^\s\0]*[\\/](?P<name>[^\s\\/\0]+?)(?:\.exe)?"
    rb"(?P<options>[ \t]+[^\r\n]*?)?[ \t\r]*\n?"
)


def plan_shebang(path: Path, name: PurePosixPath, places: BuildPlaces) -> Edit | None:
    """The edit for a script in the prefix whose first line names a build path; None for any other file.

    Python is found from the script's own place; on Windows, where nothing reads that line, it goes. Any other
    interpreter is looked up on PATH, where the bundle's programs come first in every environment that the helpers make.
    Raises InputError for flags that cannot be carried over.
    """
    if not path.is_relative_to(places.prefix):
        return None
    with path.open("rb") as stream:
        if stream.read(2) != b"#!":
            return None
        first = b"#!" + stream.readline(_MAX_LINE)
    if not places.found_in(first):
        return None
    content = path.read_bytes()
    python = places.prefix / places.tree.target.python_executable()
    if places.tree.target.is_windows:
        made = without_shebang(content)
    else:
        made = relocatable_script(content, python=Path(os.path.relpath(python, path.parent)).as_posix())
    reason = "its first line names its Python by an absolute path"
    if made is None:
        found = _INTERPRETER.fullmatch(first)
        if not found:
            return None
        options = found["options"] or b""
        made = (
            b"#!/usr/bin/env " + (b"-S " if options else b"") + found["name"] + options + b"\n" + content[len(first) :]
        )
        reason = "its first line names its interpreter by an absolute path"
    return Rewrite(path=name, kind="script", reason=reason, content=made)
