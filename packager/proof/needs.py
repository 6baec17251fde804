"""What a bundle may take from the machine, and what to do when it wants more: the table system_needs.yml."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

from packager.binaries.elf import is_elf, read_elf
from packager.binaries.system_libraries import system_libraries
from packager.document import check_schema, read_document
from packager.errors import DocumentError

_TABLE = Path(__file__).with_name("system_needs.yml")


@dataclass(frozen=True, kw_only=True)
class Need:
    """`pattern` found in an error text or library name means that `wants` is missing; `remedy` may use its groups."""

    pattern: re.Pattern[str]
    wants: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class SystemNeeds:
    """The table. `programs` are names on PATH, `accidental_modules` top-level names that are not worth an import."""

    host_libraries: tuple[re.Pattern[str], ...]
    programs: tuple[str, ...]
    accidental_modules: frozenset[str]
    needs: tuple[Need, ...]

    def allows(self, library: str) -> bool:
        """Whether a Linux machine may be expected to have `library`, a soname or the absolute path of a file."""
        path = Path(library)
        names = {path.name, library}
        if path.is_absolute() and is_elf(path):
            names.add(_soname(path) or path.name)
        always = system_libraries().always_present
        return any(name in always or any(pattern.fullmatch(name) for pattern in self.host_libraries) for name in names)

    def remedy(self, text: str) -> str | None:
        """What to do about the error `text`; None if the table does not know it."""
        for need in self.needs:
            if found := need.pattern.search(text):
                return f"{found.expand(need.remedy)} (wanted: {need.wants})"
        return None


@functools.cache
def _soname(path: Path) -> str | None:
    """The loaded file is called libc-2.31.so on some machines; what asks for it says libc.so.6."""
    return read_elf(path).soname


@functools.cache
def system_needs() -> SystemNeeds:
    """The table that ships with the program. Raises DocumentError if it does not fit its schema."""
    document = read_document(_TABLE)
    schema = json.loads(_TABLE.with_suffix(".schema.json").read_text(encoding="utf-8"))
    if faults := check_schema(document, schema):
        raise DocumentError(faults)
    value = document.value
    return SystemNeeds(
        host_libraries=tuple(re.compile(item["pattern"]) for item in value["host_libraries"]),
        programs=tuple(value["programs"]),
        accidental_modules=frozenset(value["accidental_modules"]),
        needs=tuple(
            Need(pattern=re.compile(item["pattern"]), wants=item["wants"], remedy=item["remedy"])
            for item in value["needs"]
        ),
    )
