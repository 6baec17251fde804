"""What can go wrong, as a person meets it: an exit code, what happened, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INTERRUPTED = 130


class PackagerError(Exception):
    """Base of every error the program raises on purpose.

    `where` names the file, field, member or URL; `remedy` is one sentence the reader can act on. `details` go into the
    object that --json prints.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        remedy: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(what)
        self.details = dict(details or {})
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  remedy: {self.remedy}" if self.remedy else text


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing wrong with a document. `line` counts from 1; None where the format keeps no lines."""

    where: str
    line: int | None
    field: str
    what: str
    remedy: str

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}:{self.line}"
        return f"{place}: {self.field}: {self.what}\n  remedy: {self.remedy}"


class InputError(PackagerError):
    """Bad input or usage: recipe, rule file, archive, argument."""

    exit_code = 2


class DocumentError(InputError):
    """A document with one or more faults, all of them listed."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class FetchError(PackagerError):
    """Bytes from elsewhere did not arrive, or were not the right ones."""

    exit_code = 3


class MismatchError(FetchError):
    """Other bytes came than those that a hash names."""


class ResolveError(PackagerError):
    """The wanted set of packages does not exist."""

    exit_code = 4


class ProofError(PackagerError):
    """The bundle does not keep a promise; it does not ship."""

    exit_code = 5
