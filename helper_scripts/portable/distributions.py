"""The packages installed in the bundle, read from their metadata (PEP 376, PEP 627); nothing of them runs."""

from __future__ import annotations

import csv
import email.parser
import io
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from portable.bundle import site_packages_of
from portable.errors import HelperError

_REQUIREMENT_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_VERSION = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>a|b|c|rc|alpha|beta|pre|preview)[-_.]?(?P<pre_n>\d*))?"
    r"(?:-(?P<post_bare>\d+)|[-_.]?(?P<post>post|rev|r)[-_.]?(?P<post_n>\d*))?"
    r"(?:[-_.]?(?P<dev>dev)[-_.]?(?P<dev_n>\d*))?(?:\+(?P<local>.*))?",
    re.IGNORECASE,
)
_LAST = 10**9


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """An installed package. `name` is normalised (PEP 503); `info` its .dist-info folder.

    `requires` are its Requires-Dist lines that name no extra.
    """

    name: str
    shown_name: str
    version: str
    info: Path
    requires: tuple[str, ...]

    @property
    def required_names(self) -> frozenset[str]:
        found = (_REQUIREMENT_NAME.match(line) for line in self.requires)
        return frozenset(normalise(match[1]) for match in found if match)

    def record(self) -> list[str]:
        """The paths that RECORD lists, as they stand there. Raises HelperError if there is none."""
        try:
            text = (self.info / "RECORD").read_bytes().decode("utf-8", "surrogateescape")
        except OSError:
            raise HelperError(
                f"{self.shown_name} {self.version} lists no files of its own ({self.info / 'RECORD'} is missing), so "
                "it cannot be replaced or removed safely."
            ) from None
        return [row[0] for row in csv.reader(io.StringIO(text, newline="")) if row and row[0]]

    def files(self, root: Path) -> list[str]:
        """Its files that are there, from the bundle's `root`, sorted: those of RECORD, their bytecode, its metadata.

        What RECORD lists outside python/ is left out: no package may have that touched.
        """
        site = self.info.parent
        found = {path for path in self.info.rglob("*") if path.is_file() or path.is_symlink()}
        for name in self.record():
            path = Path(os.path.normpath(site / name))
            if path.is_relative_to(root / "python"):
                found.update([path, *bytecode_of(path)])
        return sorted(path.relative_to(root).as_posix() for path in found if path.is_file() or path.is_symlink())

    def modules(self) -> list[str]:
        """The names under which it is imported: top packages and modules, below a namespace the first real one."""
        return modules_of(self.record())


def installed(root: Path) -> dict[str, Distribution]:
    """The packages in the bundle in `root`, by normalised name."""
    found = {}
    for info in sorted(site_packages_of(root).glob("*.dist-info")):
        try:
            text = (info / "METADATA").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        fields = email.parser.HeaderParser().parsestr(text)
        name, version = fields.get("Name"), fields.get("Version")
        if name and version:
            found[normalise(name)] = Distribution(
                name=normalise(name),
                shown_name=name.strip(),
                version=version.strip(),
                info=info,
                requires=tuple(line for line in fields.get_all("Requires-Dist", []) if "extra ==" not in line),
            )
    return found


def bytecode_of(path: Path) -> list[Path]:
    """The compiled files that Python keeps beside a module."""
    return list((path.parent / "__pycache__").glob(f"{path.stem}.*.pyc")) if path.suffix == ".py" else []


def modules_of(record: Iterable[str]) -> list[str]:
    """The modules among the paths of a RECORD, relative to site-packages."""
    names = [PurePosixPath(name) for name in record if not name.startswith(("..", "/"))]
    packages = {name.parent for name in names if name.name == "__init__.py"}
    found = set()
    for name in names:
        if any(not part.isidentifier() for part in name.parts[:-1]):
            continue
        stem = name.name.split(".")[0]
        if name.suffix == ".py" and name.name != "__init__.py":
            module = [*name.parent.parts, stem]
        elif name.name == "__init__.py":
            module = list(name.parent.parts)
        elif name.suffix in (".so", ".pyd"):
            module = [*name.parent.parts, stem]
        else:
            continue
        inside = any(parent in packages for parent in PurePosixPath(*module).parents) if module else True
        # A plain module in a folder without __init__.py is data more often than a namespace's.
        if not inside and all(part.isidentifier() for part in module) and (len(module) == 1 or "__init__" in name.name):
            found.add(".".join(module))
    return sorted(found)


def needed_by(names: Iterable[str], there: Mapping[str, Distribution]) -> dict[str, list[str]]:
    """Of each of `names` the packages in `there`, not among `names`, that ask for it."""
    going = set(names)
    return {
        name: [other.shown_name for other in there.values() if other.name not in going and name in other.required_names]
        for name in sorted(going)
    }


def normalise(name: str) -> str:
    """A package's name as all spellings of it compare (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def version_key(version: str) -> tuple[object, ...]:
    """Sorts as PEP 440 orders versions; a text that is no version comes first. Local labels compare as text."""
    found = _VERSION.fullmatch(version.strip())
    if not found:
        return (-1, (), (), 0, 0, version)
    release = [int(part) for part in found["release"].split(".")]
    while len(release) > 1 and release[-1] == 0:
        release.pop()
    names = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}
    has_post = bool(found["post"] or found["post_bare"])
    post = int(found["post_bare"] or found["post_n"] or 0) + 1 if has_post else 0
    dev = int(found["dev_n"] or 0) if found["dev"] else _LAST
    if found["pre"]:
        word = found["pre"].lower()
        pre: tuple[str, int] = (names.get(word, word), int(found["pre_n"] or 0))
    else:
        pre = ("", 0) if found["dev"] and not has_post else ("z", 0)
    return (int(found["epoch"] or 0), tuple(release), pre, post, dev, found["local"] or "")
