"""What of a stranger's requirement file, or of the words on a command line, goes to pip; and why the rest does not.

Only requirements of PEP 508 pass, by name or with an https or git+https address, and wheels named on the command line.
No line can become an option of pip, name another file, or name another index.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from portable.errors import HelperError, UsageError

_MAX_BYTES = 256 * 1024
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_COMMENT = re.compile(r"(^|\s)#.*$")
_OPTION_TAIL = re.compile(r"\s+--?[a-zA-Z].*$")
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS = r"(?:\s*\[\s*[A-Za-z0-9._,\s-]*\])?"
_CLAUSE = r"(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_CLAUSES = rf"{_CLAUSE}(?:\s*,\s*{_CLAUSE})*\s*,?"
_MARKER = r"""(?:\s*;[\w\s.'"<>=!~()+*-]+)?"""
_BY_NAME = re.compile(rf"{_NAME}{_EXTRAS}\s*(?:{_CLAUSES}|\(\s*{_CLAUSES}\s*\))?{_MARKER}")
_URL = r"(?:git\+)?https://[^\s;$`{}\\\"'<>]+"
_BY_ADDRESS = re.compile(rf"(?:{_NAME}{_EXTRAS}\s*@\s*)?{_URL}(?:\s;[\w\s.'\"<>=!~()+*-]+)?")
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_PATH = re.compile(r"([a-zA-Z]:)?[./\\~]")


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A line that does not count, and why. `line` counts from 1."""

    file: str
    line: int
    text: str
    reason: str


Judge = Callable[[str], tuple[str | None, str]]
"""What is taken instead of a requirement, None for nothing; and why, empty if it is taken as it is."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What goes to pip, one requirement each, and what does not. `wheels` are files named on the command line."""

    requirements: tuple[str, ...] = ()
    wheels: tuple[Path, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def gather(words: Sequence[str], files: Sequence[str], judge: Judge = lambda line: (line, "")) -> Asked:
    """Judge the words of a command line and the lines of requirement files, these also with `judge`.

    A word that does not pass is an error (UsageError), for its user is there to mend it; a line is left out and told.
    Raises HelperError for a file that cannot be read.
    """
    requirements, wheels = [], []
    for word in words:
        if word.lower().endswith(".whl") and not word.lower().startswith(("https:", "http:", "file:")):
            wheels.append(_wheel(word))
        elif fault := fault_of(word):
            raise UsageError(
                f"{_masked(word)!r} cannot be installed: it is {fault}. Give NAME, NAME==VERSION or a wheel."
            )
        else:
            requirements.append(word.strip())
    left_out: list[LeftOut] = []
    for name in files:
        for number, text in _lines(Path(name)):
            bare = text if text.startswith("-") else _OPTION_TAIL.sub("", text)
            if fault := fault_of(bare):
                left_out.append(LeftOut(file=name, line=number, text=_masked(text), reason=fault))
                continue
            instead, why = judge(bare)
            if why:
                left_out.append(LeftOut(file=name, line=number, text=_masked(bare), reason=why))
            if instead is not None:
                requirements.append(instead)
            if bare != text:
                reason = f"an option of {bare!r}, which stays"
                left_out.append(LeftOut(file=name, line=number, text=text[len(bare) :].strip(), reason=reason))
    return Asked(requirements=tuple(requirements), wheels=tuple(wheels), left_out=tuple(left_out))


def fault_of(text: str) -> str:
    """What speaks against a requirement, as words that follow "it is"; empty if nothing does."""
    if text.strip().startswith("-"):
        return "an option, and indexes, links and flags are not taken from here"
    if not text.isprintable():
        return "written with characters that cannot be shown"
    address = text.partition("@")[2].strip() if "@" in text and not text.startswith(("http", "git+")) else text
    if _PATH.match(text) or _PATH.match(address):
        return "a path, and only wheels (*.whl) are installed from files"
    if _LOGIN.search(text):
        return "an address with a login, which would be written down; set PIP_INDEX_URL or use a wheel"
    if _BY_ADDRESS.fullmatch(text.strip()) or _BY_NAME.fullmatch(text.strip()):
        return ""
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", address):
        return "an address that is neither https nor git+https"
    return "no requirement (PEP 508)"


def names_of(words: Sequence[str]) -> list[str]:
    """Package names, as `uninstall` takes them. Raises UsageError for anything else."""
    for word in words:
        if not re.fullmatch(_NAME, word):
            raise UsageError(f"{_masked(word)!r} is no package's name.")
    return list(words)


def _wheel(word: str) -> Path:
    path = Path(word).absolute()
    if word.startswith("-") or not path.name.isprintable():
        raise UsageError(f"{word!r} is no name of a wheel.")
    if not path.is_file():
        raise UsageError(f"{path} is not there.")
    if path.name.count("-") not in (4, 5):
        raise UsageError(f"{path.name} is not named as wheels are (NAME-VERSION-PYTHON-ABI-PLATFORM.whl).")
    return path


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Lines with their number: continuations joined, comments and blanks left out (pip's rules)."""
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise HelperError(f"{file} is larger than {_MAX_BYTES // 1024} KiB: that is no requirements file.")
        content = file.read_bytes()
    except OSError as error:
        raise HelperError(f"{file} cannot be read: {error.strerror}.") from error
    pending, start = "", 0
    for number, raw in enumerate(_decode(content).replace("\0", "").splitlines(), 1):
        line = raw.strip("\ufeff")
        start = start if pending else number
        if line.rstrip().endswith("\\") and not line.lstrip().startswith("#"):
            pending += line.strip()[:-1].strip() + " "
            continue
        whole = " ".join(_COMMENT.sub("", pending + line).split())
        pending = ""
        if whole:
            yield start, whole
    if rest := _COMMENT.sub("", pending).strip():
        yield start, rest


def _decode(content: bytes) -> str:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    if content[1:2] == b"\0":
        return content.decode("utf-16-le", errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _masked(text: str) -> str:
    return _LOGIN.sub("***@", text)
