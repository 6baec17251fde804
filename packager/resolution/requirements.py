"""Reading requirement files of strangers: what is kept, and what is left out with the reason why.

A node's file may hold anything (options, `-r`, `file:` links, UTF-16, typos). Only PEP 508 requirements with an
https or git+https address, if any, pass; every other line is answered by a `Removed` that says why.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

MAX_BYTES = 256 * 1024
_MAX_INCLUDES = 20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_INCLUDE = re.compile(r"^(?:-r|--requirement)(?:\s+|\s*=\s*|(?=[^\s-]))(?P<file>.+)$")
_OPTION_TAIL = re.compile(r"\s+--?[a-zA-Z].*$")  # `package==1.0 --hash=sha256:...`
_LOGIN = re.compile(r"(?<=https://)[^/\s@]+@|(?<=//)[^/\s@:]+:[^/\s@]*@")  # a token, or user:password
_ADDRESS = re.compile(r"^(?P<url>(git\+)?https://\S+?)(?P<marker>(\s+;|;\s).*)?$")
_ADDRESSES = ("https://", "git+https://")
_PATH = re.compile(r"^([a-zA-Z]:)?[./\\~]")
_COMMENT = re.compile(r"(^|\s)#.*$")


@dataclass(frozen=True, kw_only=True)
class Line:
    """One requirement and where it stands. `line` counts from 1."""

    file: str
    line: int
    requirement: str


@dataclass(frozen=True, kw_only=True)
class Removed:
    """A line that does not count, and why."""

    file: str
    line: int
    text: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Requirements:
    kept: tuple[Line, ...] = ()
    removed: tuple[Removed, ...] = ()


def read_requirements(file: Path, *, root: Path) -> Requirements:
    """The requirements in `file` and in what it includes, as long as that lies inside `root`.

    Names in the result are relative to `root`. Nothing in the file can raise; what is not understood is in `removed`.
    """
    kept: list[Line] = []
    removed: list[Removed] = []
    for item in _read(file, root.resolve(), []):
        if isinstance(item, Line):
            kept.append(item)
        else:
            removed.append(item)
    return Requirements(kept=tuple(kept), removed=tuple(removed))


def parse_requirements(lines: Sequence[tuple[int, str]], *, file: str) -> Requirements:
    """The same for requirements that stand in another kind of file: the line and the text of each."""
    judged = [item for number, text in lines for item in _judge(file, number, " ".join(text.split()))]
    return Requirements(
        kept=tuple(item for item in judged if isinstance(item, Line)),
        removed=tuple(item for item in judged if isinstance(item, Removed)),
    )


def decode(content: bytes) -> str:
    """Text of a requirements file: by its byte order mark, else UTF-8, else Latin-1, which any bytes are."""
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    if content[1:2] == b"\0":
        return content.decode("utf-16-le", errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _read(file: Path, root: Path, seen: list[Path]) -> Iterator[Line | Removed]:
    name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
    seen.append(file)
    if file.stat().st_size > MAX_BYTES:
        yield Removed(file=name, line=1, text="(whole file)", reason=f"larger than {MAX_BYTES // 1024} KiB")
        return
    for number, text in _logical_lines(decode(file.read_bytes())):
        if include := _INCLUDE.match(text):
            yield from _include(name, number, text, (file.parent / include["file"].strip("\"' ")), root, seen)
        else:
            yield from _judge(name, number, text)


def _include(name: str, number: int, text: str, wanted: Path, root: Path, seen: list[Path]) -> Iterator[Line | Removed]:
    def no(reason: str) -> Removed:
        return Removed(file=name, line=number, text=text, reason=reason)

    try:
        included = wanted.resolve()
        is_file = included.is_file()
    except (OSError, ValueError, RuntimeError):
        yield no("names no readable file")
        return
    if not included.is_relative_to(root):
        yield no("includes a file outside the repository")
    elif not is_file:
        yield no("includes a file that is not there")
    elif included in seen:
        yield no("includes a file that was read already")
    elif len(seen) > _MAX_INCLUDES:
        yield no(f"more than {_MAX_INCLUDES} files included")
    else:
        yield from _read(included, root, seen)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their number, backslash continuations joined, comments and blanks left out (pip's rules)."""
    pending, start = "", 0
    for number, raw in enumerate(text.replace("\0", "").splitlines(), 1):
        line = raw.strip("\ufeff")
        if not pending:
            start = number
        if line.rstrip().endswith("\\") and not line.lstrip().startswith("#"):
            pending += line.strip()[:-1].strip() + " "
            continue
        whole = " ".join(_COMMENT.sub("", pending + line).split())
        pending = ""
        if whole:
            yield start, whole
    if rest := _COMMENT.sub("", pending).strip():
        yield start, rest


def _judge(name: str, number: int, text: str) -> Iterator[Line | Removed]:
    """What becomes of one line: itself, or the reason why not; options behind a requirement are answered apart."""
    bare = text if text.startswith("-") else _OPTION_TAIL.sub("", text)
    reason = _objection(bare)
    if reason:
        yield Removed(file=name, line=number, text=_LOGIN.sub("***@", text), reason=reason)
        return
    requirement = bare if not _ADDRESS.match(bare) else _named_address(bare)
    if requirement is None:
        reason = "an address that tells no package name; write `name @ URL`"
        yield Removed(file=name, line=number, text=text, reason=reason)
        return
    yield Line(file=name, line=number, requirement=requirement)
    if tail := text[len(bare) :].strip():
        reason = f"an option of '{requirement}', which stays: hashes and build flags are the lock's to choose"
        yield Removed(file=name, line=number, text=_LOGIN.sub("***@", tail), reason=reason)


def _objection(text: str) -> str | None:
    """Why a line is no requirement that can be shipped; None if there is nothing to say against it."""
    if text.startswith("-"):
        return "an option: indexes, links and flags are the recipe's to choose"
    if _PATH.match(text) or _PATH.match(text.partition("@")[2].strip()):
        return "a path: only packages from an index or an https address can be shipped"
    if _LOGIN.search(text):
        return "an address with a login, which the lock would make public"
    if _ADDRESS.match(text):
        return None
    if re.match(r"^[a-zA-Z][a-zA-Z0-9+.-]*:", text):
        return "an address that is not https: it would not be found on another machine"
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        return f"not a requirement (PEP 508): {str(error).splitlines()[0]}"
    if requirement.url and not requirement.url.startswith(_ADDRESSES):
        return "an address that is not https: it would not be found on another machine"
    return None


def _named_address(text: str) -> str | None:
    """`https://.../name-1.0-py3-none-any.whl` and `git+https://...#egg=name` tell their package's name; what lies in a
    subdirectory of a repository is most often called like it. A marker behind the address stays."""
    found = _ADDRESS.match(text)
    if found is None:
        return None
    url, marker = found["url"], (found["marker"] or "").strip(" ;")
    place, _, fragment = url.partition("#")
    path = place.split("?")[0].removesuffix("/")
    words = dict(word.partition("=")[::2] for word in fragment.split("&"))
    subdirectory = words.get("subdirectory", "").strip("/")
    kept = f"{place}#subdirectory={subdirectory}" if subdirectory else place
    if egg := re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", words.get("egg", "")):
        return _requirement(egg[0], kept, marker)
    if path.endswith(".whl") and len(parts := path.rsplit("/", 1)[-1].split("-")) >= 5:
        return _requirement(parts[0], url, marker)
    if url.startswith("git+"):
        name = subdirectory.rsplit("/", 1)[-1] or path.rsplit("/", 1)[-1].split("@")[0].removesuffix(".git")
        return _requirement(name, kept, marker)
    return None


def _requirement(name: str, url: str, marker: str) -> str | None:
    """`name @ url` if that is a requirement."""
    text = f"{name} @ {url} ; {marker}" if marker else f"{name} @ {url}"
    try:
        Requirement(text)
    except InvalidRequirement:
        return None
    return text
