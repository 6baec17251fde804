"""Windows launchers in Scripts/, as bytes: recognised, made relative, and made, on any operating system.

Kind 1 (pip, distlib, pypa/installer): a stub, `#!` and a path, a zip with `__main__.py`. The stub replaces
`<launcher_dir>\\` in the path by its own folder (distlib docs, "relative shebangs").
Kind 2 (conda, setuptools): `x.exe` reads `x-script.py`; see `scripts.without_shebang`.
Kind 3 (uv): the path lies in a resource of the program or, before uv 0.8, behind it.
"""

from __future__ import annotations

import enum
import functools
import importlib.resources
import io
import re
import struct
import zipfile
from dataclasses import dataclass
from typing import Literal

from packager.errors import InputError
from packager.relocation.entry_points import ScriptEntryPoint
from packager.relocation.pe import PeFacts, read_pe

WINDOWS_PYTHON = "..\\python.exe"  # from Scripts\
Arch = Literal["x86_64", "x86", "arm64"]

_STUBS: dict[Arch, str] = {"x86_64": "64", "x86": "32", "arm64": "64-arm"}
_ARCHS: dict[int, Arch] = {0x8664: "x86_64", 0x14C: "x86", 0xAA64: "arm64"}
_UV_RESOURCES = {"UV_TRAMPOLINE_KIND", "UV_PYTHON_PATH"}
_UV_TRAILERS = (b"UVSC", b"UVPY")
_STUB_SAYS = ("Fatal error in launcher", "<launcher_dir>\\")
_SHEBANG = re.compile(rb"#!\s*(?:/usr/bin/env\s+(?:-S\s+)?)?(?:\"([^\"]+)\"|(.+?\.exe(?=\s|$)|\S+))(.*)", re.IGNORECASE)
_MAX_MAIN = 16 * 1024 * 1024  # bytes of a `__main__.py`, which is a few hundred
_REINSTALL = "install the distribution that owns it anew, with pip or uv"


@dataclass(frozen=True, kw_only=True)
class _Archive:
    """`own_offsets`: they count from the archive's start, not from the start of the whole file."""

    start: int
    own_offsets: bool


class LauncherKind(enum.Enum):
    DISTLIB = "distlib"
    UV = "uv"


def launcher_kind(content: bytes) -> LauncherKind | None:
    """Which launcher `content` is; None for any other file. Raises InputError for a damaged Windows program."""
    facts = read_pe(content)
    if facts is None:
        return None
    if facts.resource_names & _UV_RESOURCES or content.endswith(_UV_TRAILERS):
        return LauncherKind.UV
    overlay = content[facts.image_end : facts.image_end + 2]
    stub = content[: facts.image_end]
    says = any(_holds(stub, text) for text in _STUB_SAYS)
    # A program such as uv.exe holds stubs in its data, but has nothing behind its image; a real stub is small.
    return LauncherKind.DISTLIB if overlay == b"#!" or (says and len(stub) < 1024 * 1024) else None


def relocatable_launcher(content: bytes, *, python: str = WINDOWS_PYTHON) -> bytes | None:
    """A launcher of kind 1 that starts `python`, a path from its own folder; None where nothing is to change.

    The interpreter's flags are kept; `pythonw.exe` stays `pythonw.exe`. A stub that is older than `<launcher_dir>` is
    replaced. Raises InputError for what is no launcher of kind 1, or whose archive cannot be found.
    """
    facts = read_pe(content)
    if facts is None:
        raise InputError("is no Windows program")
    found = _find_archive(content, facts.image_end)
    flags, windowed = _read_shebang(content[facts.image_end : found.start])
    stub = content[: facts.image_end]
    if not _holds(stub, _STUB_SAYS[1]):
        stub = _read_stub(_arch_of(facts), gui=facts.gui)
    archive = content[found.start :] if found.own_offsets else _rewritten(content)
    made = stub + _shebang(python, gui=windowed, flags=flags) + archive
    return None if made == content else made


def make_launcher(entry: ScriptEntryPoint, *, arch: Arch, python: str = WINDOWS_PYTHON) -> bytes:
    """A launcher of kind 1 for `entry` on Windows of the architecture `arch`. Equal inputs give equal bytes."""
    return (
        _read_stub(arch, gui=entry.gui)
        + _shebang(python, gui=entry.gui, flags=b"")
        + _zip_of({"__main__.py": entry.source()})
    )


def replace_trampoline(content: bytes, entry: ScriptEntryPoint) -> bytes:
    """The launcher of kind 1 that does what uv's trampoline `content` does. Raises InputError for a damaged one."""
    facts = read_pe(content)
    if facts is None:
        raise InputError("is no Windows program")
    return make_launcher(entry, arch=_arch_of(facts))


def _holds(stub: bytes, text: str) -> bool:
    return text.encode() in stub or text.encode("utf-16-le") in stub


def _arch_of(facts: PeFacts) -> Arch:
    if facts.machine not in _ARCHS:
        raise InputError(f"is a launcher for a machine of the unknown kind {facts.machine:#x}", remedy=_REINSTALL)
    return _ARCHS[facts.machine]


@functools.cache
def _read_stub(arch: Arch, *, gui: bool) -> bytes:
    name = f"{'w' if gui else 't'}{_STUBS[arch]}.exe"
    return importlib.resources.files("distlib").joinpath(name).read_bytes()


def _shebang(python: str, *, gui: bool, flags: bytes) -> bytes:
    name = python.replace("python.exe", "pythonw.exe") if gui else python
    return f"#!<launcher_dir>\\{name}".encode() + flags + b"\r\n"


def _read_shebang(line: bytes) -> tuple[bytes, bool]:
    """The interpreter's flags with a leading blank (or empty), and whether it is pythonw."""
    match = _SHEBANG.fullmatch(line.rstrip(b"\r\n"))
    if not match or b"\n" in line.rstrip(b"\r\n"):
        raise InputError(
            "looks like a launcher, but no line that names its Python stands before its archive", remedy=_REINSTALL
        )
    name = re.split(rb"[\\/]", match[1] or match[2])[-1].lower()
    if not name.startswith(b"python"):
        shown = name.decode("utf-8", "replace")
        raise InputError(f"is a launcher that starts '{shown}', not Python", remedy=_REINSTALL)
    flags = match[3].strip()
    return (b" " + flags if flags else b""), name.startswith(b"pythonw")


def _find_archive(content: bytes, after: int) -> _Archive:
    """The zip that ends `content` and begins at `after` or later. Raises InputError.

    Found from the end of central directory record (APPNOTE 4.3.16), so that bytes which merely look like the start of a
    member, in the stub or in a comment, do not mislead.
    """
    position = len(content)
    while (position := content.rfind(b"PK\5\6", after, position)) >= 0:
        if position + 22 > len(content):
            continue
        _, _, here, entries, size, offset, comment = struct.unpack_from("<HHHHIIH", content, position + 4)
        directory = position - size
        if position + 22 + comment != len(content) or here != entries or not entries or directory < after:
            continue
        if content[directory : directory + 4] == b"PK\1\2":
            start = _first_member(content, after, directory)
            return _Archive(start=start, own_offsets=offset == directory - start)
    raise InputError(
        "looks like a launcher, but the archive that should end it cannot be found: truncated or damaged",
        remedy=_REINSTALL,
    )


def _first_member(content: bytes, after: int, directory: int) -> int:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            start = min(member.header_offset for member in archive.infolist())  # zipfile makes it count from byte 0
            whole = after <= start < directory and content[start : start + 4] == b"PK\3\4"
            if whole and "__main__.py" in archive.namelist():
                return start
    except (zipfile.BadZipFile, ValueError, struct.error):
        pass
    raise InputError("looks like a launcher, but its archive is damaged", remedy=_REINSTALL)


def _rewritten(content: bytes) -> bytes:
    """The archive of `content` with offsets that count from its own start, so that what precedes it may change."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > _MAX_MAIN:
            raise InputError(f"is a launcher whose archive holds more than {_MAX_MAIN} bytes", remedy=_REINSTALL)
        return _zip_of({name: archive.read(name) for name in archive.namelist()})


def _zip_of(members: dict[str, bytes]) -> bytes:
    """A zip with offsets from its own start and the oldest time the format knows, so that equal inputs are equal."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()
