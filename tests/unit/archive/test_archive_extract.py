"""Reading back: our own archives whole, and each kind of hostile one refused with nothing left behind."""

from __future__ import annotations

import dataclasses
import io
import random
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from archive_trees import EPOCH, expected_inventory, inventory

from packager.archive.admission import Limits
from packager.archive.archive_tree import Archived, archive_tree
from packager.archive.extract import extract
from packager.archive.publish import NoSpaceError
from packager.cli import main
from packager.console import Console
from packager.errors import InputError

_LINK = stat.S_IFLNK | 0o777
_NOISE = random.Random(4).randbytes(400_000)


def test_our_own_zip_comes_back_file_by_file(tree: Path, archived: Archived, tmp_path: Path, console: Console) -> None:
    done = extract(archived.archive.path, tmp_path / "out", console=console)
    assert inventory(tmp_path / "out" / "bundle") == expected_inventory(tree, archived)
    assert done.members == archived.archive.members
    assert done.size == archived.manifest.total_size + archived.manifest_path.stat().st_size
    assert abs((tmp_path / "out/bundle/README.txt").stat().st_mtime - EPOCH) <= 15 * 3600  # a zip knows no time zone


def test_zips_of_other_programs_come_back(tree: Path, tmp_path: Path, console: Console) -> None:
    with zipfile.ZipFile(tmp_path / "plain.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", b"x" * 1000)
        archive.writestr("a/c/", b"")
        archive.writestr("a/", b"")
    extract(tmp_path / "plain.zip", tmp_path / "plain", console=console)
    assert (tmp_path / "plain/a/b.txt").read_bytes() == b"x" * 1000
    assert (tmp_path / "plain/a/c").is_dir()


def _zip(*members: tuple[str, bytes, int]) -> bytes:
    """A zip of (name, content, Unix mode with kind)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in members:
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is: the constructor would make it harmless
            info.create_system = 3
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


def _file(name: str, content: bytes = b"x") -> tuple[str, bytes, int]:
    return name, content, stat.S_IFREG | 0o644


def _link(name: str, target: str) -> tuple[str, bytes, int]:
    return name, target.encode(), _LINK


def _overlapping() -> bytes:
    """Two entries of the directory that use one local header and its bytes (the flat zip bomb)."""
    data = bytearray(_zip(_file("a", b"y" * 100), _file("b", b"y" * 100)))
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    struct.pack_into("<I", data, second + 42, struct.unpack_from("<I", data, first + 42)[0])
    return bytes(data)


def _at_directory(offset: int, layout: str, value: int) -> bytes:
    """A zip of one file with a field of its directory entry overwritten."""
    data = bytearray(_zip(_file("victim", b"z" * 5000)))
    struct.pack_into(layout, data, data.index(b"PK\x01\x02") + offset, value)
    return bytes(data)


def _damaged_content() -> bytes:
    data = bytearray(_zip(_file("victim", _NOISE[:5000])))
    data[2000] ^= 0xFF
    return bytes(data)


def _other_local_name() -> bytes:
    data = bytearray(_zip(_file("victim")))
    at = data.index(b"victim")
    data[at : at + 6] = b"attack"
    return bytes(data)


def _nul_in_name() -> bytes:
    return _zip(_file("safeXevil")).replace(b"safeXevil", b"safe\0evil")


_HOSTILE: dict[str, tuple[bytes, str]] = {
    "zip-slip": (_zip(_file("../evil")), "leaves the folder"),
    "zip-slip inside": (_zip(_file("a/../../evil")), "leaves the folder"),
    "absolute": (_zip(_file("/tmp/evil")), "absolute"),
    "drive": (_zip(_file("C:/evil")), "absolute"),
    "drive relative": (_zip(_file("C:evil")), "absolute"),
    "unc": (_zip(_file("//server/share/evil")), "absolute"),
    "backslash": (_zip(_file("..\\evil")), "backslash"),
    "empty name": (_zip(_file("")), "empty"),
    "dot": (_zip(_file("./evil")), "plain form"),
    "double slash": (_zip(_file("a//evil")), "plain form"),
    "NUL in name": (_nul_in_name(), "control character"),
    "newline in name": (_zip(_file("a\nb")), "control character"),
    "CON": (_zip(_file("a/CON")), "device name"),
    "nul.txt": (_zip(_file("nul.txt")), "device name"),
    "COM1": (_zip(_file("com1.tar.gz")), "device name"),
    "COM superscript": (_zip(_file("COM\u00b9")), "device name"),
    "AUX folder": (_zip(_file("aux/x")), "device name"),
    "alternate stream": (_zip(_file("file:stream")), "reserves"),
    "final dot": (_zip(_file("evil.")), "dot or a space"),
    "long path": (_zip(_file("/".join(["d" * 200] * 25))), "longer than"),
    "deep path": (_zip(_file("a/" * 128 + "x")), "more than 128 components"),
    "long name": (_zip(_file("n" * 300)), "cannot be made"),
    "absolute link": (_zip(_link("l", "/etc/passwd")), "absolute link"),
    "link out": (_zip(_link("l", "../../etc/passwd")), "leads out"),
    "link chain out": (_zip(_link("a/b/c", ".."), _link("a/up", "b/c/../.."), _link("out", "a/up/../x")), "leads out"),
    "link to backslash": (_zip(_link("l", "..\\x")), "backslash"),
    "link to nothing": (_zip(_link("l", "")), "empty"),
    "link loop": (_zip(_link("a", "b"), _link("b", "a")), "circle"),
    "write through a link": (_zip(_link("d", "."), _file("d/evil")), "lies below d"),
    "write through a link, file first": (_zip(_file("d/evil"), _link("d", "..")), "twice"),
    "long link": (_zip(_link("l", "a/" * 3000)), "link or folder with a content"),
    "below a file": (_zip(_file("a"), _file("a/b")), "lies below a, which is a file"),
    "duplicate": (_zip(_file("a"), _file("b")).replace(b"b", b"a"), "twice"),
    "fifo": (_zip(("p", b"", stat.S_IFIFO | 0o644)), "neither a file"),
    "device": (_zip(("p", b"", stat.S_IFBLK | 0o644)), "neither a file"),
    "overlapping": (_overlapping(), "overlap"),
    "offset beyond": (_at_directory(42, "<I", 0x7FFFFFFF), "overlap"),
    "encrypted": (_at_directory(8, "<H", 1), "encrypted"),
    "unknown method": (_at_directory(10, "<H", 99), "packed by method 99"),
    "wrong CRC": (_at_directory(16, "<I", 0xDEADBEEF), "damaged|CRC"),
    "declares too little": (_at_directory(24, "<I", 10), "damaged|CRC"),
    "declares too much": (_at_directory(24, "<I", 9000), "ends after 5000 of 9000|damaged"),
    "content runs into the directory": (_at_directory(20, "<I", 100_000), "central directory"),
    "damaged content": (_damaged_content(), "damaged"),
    "other local name": (_other_local_name(), "damaged"),
    "cut short": (_zip(_file("a", b"x" * 1000))[:-30], "not a whole zip"),
    "only an end": (b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 9, 9, 500, 500, 0), "not a whole zip"),
    "a directory larger than memory": (
        b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, 2**62, 2**61)
        + b"PK\x06\x07" + struct.pack("<IQI", 0, 0, 1)
        + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0),
        "not a whole zip",
    ),
    "not an archive": (b"MZ" + bytes(1000), "neither a zip nor a tar.zst"),
    "empty file": (b"", "neither a zip nor a tar.zst"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), _HOSTILE.values(), ids=_HOSTILE)
def test_a_hostile_zip_is_refused_and_leaves_nothing(
    content: bytes, message: str, tmp_path: Path, console: Console
) -> None:
    _refused(content, message, tmp_path, console)


def _refused(content: bytes, message: str, tmp_path: Path, console: Console, limits: Limits | None = None) -> None:
    folder = tmp_path / "in" / "folder"
    folder.mkdir(parents=True)
    (folder / "archive").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        extract(folder / "archive", folder / "out", console=console, limits=limits)
    assert caught.value.exit_code == 2
    str(caught.value).encode()
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    assert left == ["in", "in/folder", "in/folder/archive"]


_SMALL = Limits(ratio_from=1000, ratio=50)


@pytest.mark.parametrize(
    ("content", "message", "limits"),
    [
        (_zip(_file("zeros", bytes(1_000_000))), "50 times its own size", _SMALL),
        (_zip(_file("a", b"x" * 600), _file("b", b"x" * 600)), "more than 1000 bytes", Limits(total_size=1000)),
        (_zip(*(_file(f"m{index}") for index in range(11))), "more than 10 members", Limits(members=10)),
        (_zip(_file("Name"), _file("name")), "case does not count", Limits(case_insensitive=True)),
        (_zip(_file("Dir/a"), _file("dir/b")), "case does not count", Limits(case_insensitive=True)),
        (_zip(_file("\u00e9"), _file("e\u0301")), "case does not count", Limits(case_insensitive=True)),
        (_zip(_link("D", "."), _link("l", "d/../etc")), "leads out", Limits(case_insensitive=True)),
        (_zip(_link("\u00e9", "."), _link("l", "E\u0301/../etc")), "leads out", Limits(case_insensitive=True)),
        (_zip(_link("d", "."), _link("l", "d./../etc")), "dot or a space", Limits(windows_names=True)),
        (_zip(_link("d", "."), _link("l", "d /../etc")), "dot or a space", Limits(windows_names=True)),
        (_zip(_link("longfolder", "."), _link("l", "LONGFO~1/../etc")), "short name", Limits(windows_names=True)),
        (_zip(_link("l", "nul")), "device name", Limits(windows_names=True)),
        (_zip(_file("a" * 90 + "/b")), "more than 100 B of names", Limits(names=100)),
        (_zip(_link("l", "a" * 100)), "more than 100 B of names", Limits(names=100)),
    ],
)
def test_limits_hold(content: bytes, message: str, limits: Limits, tmp_path: Path, console: Console) -> None:
    _refused(content, message, tmp_path, console, limits)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file system that takes such names")
def test_what_a_linux_bundle_may_hold(tmp_path: Path, console: Console) -> None:
    members = [_file("aux.py"), _file("man3/Foo::Bar.3"), _file("n/x"), _file("N/x"), _link("l", "n/x")]
    (tmp_path / "a.zip").write_bytes(_zip(*members))
    extract(
        tmp_path / "a.zip",
        tmp_path / "out",
        console=console,
        limits=Limits(windows_names=False, case_insensitive=sys.platform == "darwin"),
    )
    assert (tmp_path / "out/man3/Foo::Bar.3").read_bytes() == b"x"


def _tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.TarFile(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _entry(name: str, *, kind: bytes = tarfile.REGTYPE, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info, b"x" if kind == tarfile.REGTYPE else b""


def _packed(data: bytes, **parameters: int) -> bytes:
    """One whole frame that does not tell its content's size: the decoder then goes by the window it asks for."""
    chosen = zstandard.ZstdCompressionParameters.from_level(3, write_checksum=True, **parameters)
    packer = zstandard.ZstdCompressor(compression_params=chosen).compressobj()
    return packer.compress(data) + packer.flush()


def _header(kind: bytes, payload: bytes) -> bytes:
    info = tarfile.TarInfo("header")
    info.type, info.size = kind, len(payload)
    return info.tobuf(tarfile.USTAR_FORMAT) + payload + bytes(-len(payload) % 512)


def _pax(kind: bytes = tarfile.XHDTYPE, **fields: str) -> bytes:
    """A pax header before an entry, or a global one (POSIX.1-2008, pax, "pax Header Block")."""
    records = b""
    for key, value in fields.items():
        text = f" {key}={value}\n".encode()
        length = next(size for size in range(len(text), len(text) + 9) if len(str(size)) + len(text) == size)
        records += str(length).encode() + text
    return _header(kind, records)


def _timed(mtime: int) -> bytes:
    """A tar of one file of that time, which no header of digits can hold."""
    info = tarfile.TarInfo("a")
    info.mtime = mtime
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def _greedy_header() -> bytes:
    """A pax header that claims to be 8 GiB long, to be read at one go."""
    info = tarfile.TarInfo("x")
    info.type = tarfile.XHDTYPE
    info.size = 8 * 1024**3 - 1
    return info.tobuf(tarfile.USTAR_FORMAT) + bytes(10240)


def _flipped(data: bytes) -> bytes:
    changed = bytearray(data)
    changed[len(changed) // 2] ^= 0xFF
    return bytes(changed)


_HOSTILE_TARS: dict[str, tuple[bytes, str]] = {
    "zip-slip": (_packed(_tar(_entry("../evil"))), "leaves the folder"),
    "absolute": (_packed(_tar(_entry("/tmp/evil"))), "absolute"),
    "duplicate": (_packed(_tar(_entry("a"), _entry("a"))), "twice"),
    "link out": (_packed(_tar(_entry("l", kind=tarfile.SYMTYPE, target="../x"))), "leads out"),
    "through a link": (_packed(_tar(_entry("d", kind=tarfile.SYMTYPE, target="."), _entry("d/x"))), "lies below"),
    "hard link": (_packed(_tar(_entry("h", kind=tarfile.LNKTYPE, target="/etc/passwd"))), "no file before it"),
    "hard link to a link": (
        _packed(_tar(
            _entry("l", kind=tarfile.SYMTYPE, target="a"), _entry("a"), _entry("h", kind=tarfile.LNKTYPE, target="l")
        )), "no file before it",
    ),
    "hard link ahead": (_packed(_tar(_entry("h", kind=tarfile.LNKTYPE, target="a"), _entry("a"))), "no file before it"),
    "fifo": (_packed(_tar(_entry("p", kind=tarfile.FIFOTYPE))), "neither a plain file"),
    "device": (_packed(_tar(_entry("p", kind=tarfile.CHRTYPE))), "neither a plain file"),
    "greedy header": (_packed(_greedy_header()), "damaged: a header claims"),
    "not a tar": (_packed(b"hello" * 1000), "damaged"),
    "flipped byte": (_flipped(_packed(_tar((tarfile.TarInfo("n"), _NOISE[:9000])))), "damaged"),
    "cut tar": (_packed(_tar(_entry("a"), (tarfile.TarInfo("b"), b"y" * 9000))[:5000]), "damaged|ends after"),
    "no end of the tar": (_packed(_tar(_entry("a"))[:1024]), "end is missing"),
    "cut zstd": (_packed(_tar((tarfile.TarInfo("n"), _NOISE)))[:-9000], "damaged|ends after"),
    "more after the end": (_packed(_tar(_entry("a")) + b"more"), "goes on after"),
    "padding without end": (_packed(_tar(_entry("a")) + bytes(5_000_000)), "goes on after"),
    "window too large": (_packed(_tar((tarfile.TarInfo("n"), _NOISE)), window_log=28), "too much memory"),
    "time is no number": (_packed(_pax(mtime="nan") + _tar(_entry("a"))), "its time is not one"),
    "time beyond all": (_packed(_pax(mtime="inf") + _tar(_entry("a"))), "its time is not one"),
    "time too large": (_packed(_pax(mtime="1e300") + _tar(_entry("a"))), "its time is not one"),
    "time in base 256": (_packed(_timed(2**80)), "its time is not one"),
    "negative size": (_packed(_pax(size="-500000") + _tar(_entry("a"))), "size is negative"),
    "a chain of pax headers": (_packed(_pax(comment="x") * 1500 + _tar(_entry("a"))), "too many or too large headers"),
    "a chain of long names": (
        _packed(_header(tarfile.GNUTYPE_LONGNAME, b"n\0") * 1500 + _tar(_entry("a"))), "too many or too large headers",
    ),
    "many global headers": (
        _packed(b"".join(
            _pax(tarfile.XGLTYPE, **{f"k{number}": "x" * 30_000}) + _tar(_entry(f"f{number}"))[:1024]
            for number in range(9)
        ) + bytes(1024)), "global headers",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), _HOSTILE_TARS.values(), ids=_HOSTILE_TARS)
def test_a_hostile_tar_zst_is_refused_and_leaves_nothing(
    content: bytes, message: str, tmp_path: Path, console: Console
) -> None:
    _refused(content, message, tmp_path, console)


def test_a_tar_zst_bomb_is_stopped_on_the_way(tmp_path: Path, console: Console) -> None:
    bomb = _packed(_tar(*((tarfile.TarInfo(f"zeros{index}"), bytes(100_000)) for index in range(20))))
    _refused(bomb, "50 times its own size", tmp_path, console, _SMALL)


@pytest.mark.parametrize(
    "prepare",
    [
        lambda out: out.write_bytes(b"x"),
        lambda out: (out.mkdir(), (out / "x").write_bytes(b"x")),
        lambda out: out.symlink_to(out.parent),
    ],
    ids=["a file", "a folder with a file", "a link"],
)
def test_nothing_that_exists_is_written_over(
    prepare: Callable[[Path], object], tmp_path: Path, console: Console
) -> None:
    (tmp_path / "a.zip").write_bytes(_zip(_file("x", b"new")))
    prepare(tmp_path / "out")
    with pytest.raises(InputError, match="not an empty folder"):
        extract(tmp_path / "a.zip", tmp_path / "out", console=console)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_an_empty_folder_is_taken_and_set_id_bits_are_dropped(tmp_path: Path, console: Console) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "a.zip").write_bytes(_zip(("tool", b"x", stat.S_IFREG | 0o6755)))
    extract(tmp_path / "a.zip", tmp_path / "out", console=console)
    assert stat.S_IMODE((tmp_path / "out/tool").stat().st_mode) == 0o755


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_ctrl_c_while_unpacking_leaves_nothing(archived: Archived, tmp_path: Path) -> None:
    program = (
        "import sys, _thread; from pathlib import Path; from packager.console import Console\n"
        "from packager.archive import extract\n"
        "write = extract._write\n"
        "def stopped(*words):\n"
        "    write(*words)\n"
        "    _thread.interrupt_main()\n"
        "extract._write = stopped\n"
        "extract.extract(Path(sys.argv[1]), Path(sys.argv[2]), console=Console(quiet=True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(archived.archive.path), str(tmp_path / "out")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "KeyboardInterrupt" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_limits_have_defaults_that_let_a_large_bundle_in() -> None:
    assert dataclasses.asdict(Limits())["total_size"] >= 20 * 1024**3


def test_a_zip_is_refused_before_an_object_is_made_of_each_of_its_entries(tmp_path: Path, console: Console) -> None:
    count = 100_000
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        archive.writestr("a", b"")
    data = (tmp_path / "many.zip").read_bytes()
    at, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    directory = data[at:end] * count
    # the end record tells of one entry: programs go by the directory's size
    last = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(directory), at, 0)
    (tmp_path / "many.zip").write_bytes(data[:at] + directory + last)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="more than 1000 members"):
            extract(tmp_path / "many.zip", tmp_path / "out", console=console, limits=Limits(members=1000))
        assert tracemalloc.get_traced_memory()[1] < 4 * len(directory)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.DIRTYPE])
def test_what_is_remembered_of_a_link_or_folder_are_not_its_headers(
    kind: bytes, tmp_path: Path, console: Console
) -> None:
    header = _pax(comment="x" * 300_000)
    entries = b"".join(header + _entry(f"n{number}", kind=kind, target="t")[0].tobuf() for number in range(60))
    (tmp_path / "a.tar.zst").write_bytes(_packed(entries + bytes(1024)))
    tracemalloc.start()
    try:
        assert extract(tmp_path / "a.tar.zst", tmp_path / "out", console=console).members == 60
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_modes_and_times_of_folders_and_links_come_back(tmp_path: Path, console: Console) -> None:
    folder, file, link = tarfile.TarInfo("d"), tarfile.TarInfo("d/e/f"), tarfile.TarInfo("d/l")
    inner, closed = tarfile.TarInfo("d/e"), tarfile.TarInfo("d/closed")
    folder.type = inner.type = closed.type = tarfile.DIRTYPE
    folder.mode, inner.mode, closed.mode = 0o750, 0o555, 0o000
    link.type, link.linkname = tarfile.SYMTYPE, "e/f"
    members = [folder, inner, file, link, closed]
    for number, info in enumerate(members):
        info.mtime = EPOCH + 1000 * number
    (tmp_path / "a.tar.zst").write_bytes(_packed(_tar(*((info, b"") for info in members))))
    extract(tmp_path / "a.tar.zst", tmp_path / "out", console=console)
    found = {info.name: (tmp_path / "out" / info.name).lstat() for info in members}
    assert {name: status.st_mtime for name, status in found.items()} == {info.name: info.mtime for info in members}
    # a folder stays open to its owner, who may want to remove it
    assert [stat.S_IMODE(found[name].st_mode) for name in ("d", "d/e", "d/closed")] == [0o750, 0o755, 0o700]


def _zeros(folder: Path, console: Console) -> Path:
    """An archive of our own, of a tree that packs to far less than a hundredth."""
    (folder / "tree").mkdir()
    (folder / "tree/zeros").write_bytes(bytes(3_000_000))
    return archive_tree(folder / "tree", folder / "zeros.zip", console=console, epoch=EPOCH).archive.path


@pytest.mark.parametrize("strict", [Limits(ratio_from=1000), Limits(total_size=1000)])
def test_an_archive_that_its_checksums_confirm_may_be_dense_and_large(
    strict: Limits, tmp_path: Path, console: Console
) -> None:
    archive = _zeros(tmp_path, console)
    extract(archive, tmp_path / "out", console=console, limits=strict)
    assert (tmp_path / "out/tree/zeros").stat().st_size == 3_000_000
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{'0' * 64}  {archive.name}\n")
    with pytest.raises(InputError, match="when unpacked") as caught:
        extract(archive, tmp_path / "other", console=console, limits=strict)
    sums.unlink()
    with pytest.raises(InputError, match="when unpacked"):
        extract(archive, tmp_path / "other", console=console, limits=strict)
    assert "--max-ratio" in str(caught.value.remedy)
    assert not (tmp_path / "other").exists()


def test_no_checksum_lets_in_more_than_the_disk_takes(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = _zeros(tmp_path, console)
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**7, 10**7 - 2**20, 2**20))
    with pytest.raises(NoSpaceError, match=r"1\.0 MiB are free"):
        extract(archive, tmp_path / "out", console=console, limits=Limits(ratio_from=1000))
    assert not (tmp_path / "out").exists()


def test_the_limits_are_options_of_the_command(
    tmp_path: Path, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = _zeros(tmp_path, console)
    (tmp_path / "SHA256SUMS").unlink()
    assert main(["extract", str(archive), "-o", str(tmp_path / "out"), "--max-size", "1MiB"]) == 2
    assert "more than 1048576 bytes when unpacked" in capsys.readouterr().err
    assert main(["extract", str(archive), "-o", str(tmp_path / "out"), "--max-size", "4MiB"]) == 0


@pytest.mark.parametrize(
    "name", ["n-part1of2 (1).zip", "n-part2of2(1).zip", "n-part1of2 - Copy.zip", "n-part1of2-2.zip"]
)
def test_a_part_that_a_browser_renamed_is_no_whole_archive(name: str, tmp_path: Path, console: Console) -> None:
    (tmp_path / name).write_bytes(_zip(_file("x")))
    with pytest.raises(InputError, match=r"name it n-part.of2\.zip"):
        extract(tmp_path / name, tmp_path / "out", console=console)
