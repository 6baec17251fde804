"""What `uv pip compile` printed, as locked packages."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit, urlunsplit

from packager.lock import PACKAGE_NAME, LockedPackage


def parse_compiled(text: str) -> list[LockedPackage]:
    """The packages in what `uv pip compile --generate-hashes` printed (requirements.txt form, annotations split)."""
    packages: list[LockedPackage] = []
    for block in re.split(r"\n(?=[^\s#])", "\n" + text):
        lines = [line.strip().rstrip("\\").strip() for line in block.strip().splitlines()]
        if not lines or not lines[0] or lines[0].startswith(("#", "-")):
            continue
        pin = lines[0].split(" ; ")[0]
        name, separator, url = pin.partition(" @ ")
        version = ""
        if not separator:
            name, _, version = pin.partition("==")
        if not PACKAGE_NAME.match(name):
            raise ValueError(f"uv printed a line that is no pin: {lines[0]!r}")
        packages.append(
            LockedPackage(
                name=name,
                version=version,
                url=url or None,
                hashes=tuple(line.removeprefix("--hash=") for line in lines if line.startswith("--hash=")),
                via=_via(lines),
                index=_index(lines),
            )
        )
    return sorted(packages, key=lambda package: package.name)


def _via(lines: list[str]) -> tuple[str, ...]:
    """Who asked: the words after `# via`, on its line or below it; `-r ComfyUI.txt` is ComfyUI. What the recipe lays
    down (`-c`, `--override`) asks for nothing."""
    asked: list[str] = []
    for line in lines:
        if not line.startswith("#") or line.startswith("# from "):
            continue
        word = line.lstrip("# ").removeprefix("via").strip()
        if word and not word.startswith(("-c ", "--")):
            asked.append(re.sub(r"^-r |\.txt$", "", word))
    return tuple(asked)


def _index(lines: list[str]) -> str | None:
    """The address after `# from`, without credentials; of a folder of this machine its name alone."""
    found = next((line.removeprefix("# from ") for line in lines if line.startswith("# from ")), None)
    return None if found is None else public_index(found)


def public_index(address: str) -> str:
    """An index as a lock names it: without credentials; a folder of this machine by its name alone."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        return PurePosixPath(unquote(parts.path).replace("\\", "/")).name
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
