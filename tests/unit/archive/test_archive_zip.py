"""The zip: other tools agree on it, its bytes are always the same, it grows past 4 GiB, and failures leave nothing."""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
import zipfile
import zlib
from pathlib import Path

import pytest
from archive_trees import EPOCH, expected_inventory, inventory, make_tree, real_text

from packager.archive.archive_tree import Archived, archive_tree
from packager.archive.codec import BLOCK, crc32
from packager.archive.content import Content, Effort
from packager.archive.extract import extract
from packager.archive.scan import scan
from packager.archive.zip_format import DEFLATED, STORED, dos_time
from packager.archive.zip_output import Piece, ZipOutput
from packager.archive.zip_writer import write_zip
from packager.console import Console
from packager.errors import InputError
from packager.targets import get


def _tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def _unpack_with(tool: str, archive: Path, folder: Path) -> None:
    commands = {
        "unzip": ["unzip", "-q", str(archive), "-d", str(folder)],
        # -snld: without it 7-Zip leaves out every link with `..` in it, wherever it leads, its own archives' as well
        "7z": ["7z", "x", "-y", "-bd", "-snld", f"-o{folder}", str(archive)],
        "bsdtar": ["bsdtar", "-xpf", str(archive), "-C", str(folder)],
    }
    folder.mkdir()
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    done = subprocess.run(commands[tool], check=False, capture_output=True, text=True, env=environment, umask=0o022)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("tool", ["unzip", "7z", "bsdtar"])
def test_other_tools_restore_the_tree_file_by_file(tool: str, tree: Path, archived: Archived, tmp_path: Path) -> None:
    _tool(tool)
    _unpack_with(tool, archived.archive.path, tmp_path / "out")
    assert inventory(tmp_path / "out" / "bundle") == expected_inventory(tree, archived)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bundle"]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and not path.is_symlink()]
    assert {int(path.stat().st_mtime) for path in files} == {EPOCH}


def test_python_zipfile_reads_the_same_contents_and_modes(archived: Archived) -> None:
    entries = {f"bundle/{entry.path}": entry for entry in archived.manifest.entries}
    with zipfile.ZipFile(archived.archive.path) as archive:
        assert archive.testzip() is None
        names = [member.filename.rstrip("/") for member in archive.infolist()]
        assert sorted(names) == sorted([*entries, "bundle/portable/manifest.json"])
        for member in archive.infolist():
            entry = entries.get(member.filename.rstrip("/"))
            if entry is not None:
                kind = {"file": stat.S_IFREG, "link": stat.S_IFLNK, "directory": stat.S_IFDIR}[entry.kind]
                assert member.external_attr >> 16 == kind | entry.mode
            assert member.date_time == time.gmtime(EPOCH)[:6]
            assert member.flag_bits == 0x800


def test_members_lie_in_the_bytewise_order_of_their_paths(archived: Archived) -> None:
    with zipfile.ZipFile(archived.archive.path) as archive:
        members = archive.infolist()
    paths = [member.filename.rstrip("/").encode() for member in members]
    assert paths == sorted(paths)
    assert [member.header_offset for member in members] == sorted(member.header_offset for member in members)


def test_noise_is_stored_and_text_is_packed(archived: Archived) -> None:
    with zipfile.ZipFile(archived.archive.path) as archive:
        methods = {member.filename: member.compress_type for member in archive.infolist()}
    assert methods["bundle/lib/noise.bin"] == methods["bundle/lib/package/random.bin"] == STORED
    assert methods["bundle/lib/blocks.py"] == DEFLATED


def test_same_bytes_from_other_dates_umask_order_folder_threads_and_memory(
    archived: Archived, tmp_path: Path, console: Console
) -> None:
    other = make_tree(tmp_path / "elsewhere" / "x", reverse=True)
    for path in other.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o700 if path.stat().st_mode & stat.S_IXUSR else 0o611)
            os.utime(path, (1_000_000, 1_000_000))
    for threads, memory in ((1, 1), (5, 2**30)):
        again = archive_tree(
            other,
            tmp_path / "bundle-1.0.zip",
            console=console,
            epoch=EPOCH,
            root_name="bundle",
            bundle={"name": "bundle", "version": "1.0"},
            manifest_member="portable/manifest.json",
            threads=threads,
            memory=memory,
        )
        assert again.archive.sha256 == archived.archive.sha256
        assert again.archive.path.read_bytes() == archived.archive.path.read_bytes()


def test_the_manifest_inside_is_the_one_beside_and_replaces_an_older_one(
    tree: Path, archived: Archived, tmp_path: Path, console: Console
) -> None:
    with zipfile.ZipFile(archived.archive.path) as archive:
        inside = archive.read("bundle/portable/manifest.json")
    assert inside == archived.manifest_path.read_bytes()
    assert archived.manifest_path.name == "bundle-1.0.manifest.json"
    unpacked = extract(archived.archive.path, tmp_path / "out", console=console).root
    again = archive_tree(
        unpacked / "bundle",
        tmp_path / "again.zip",
        console=console,
        epoch=EPOCH,
        bundle={"name": "bundle", "version": "1.0"},
        manifest_member="portable/manifest.json",
    )
    assert again.archive.sha256 == archived.archive.sha256


def test_every_level_gives_a_whole_archive_and_higher_ones_smaller_ones(tmp_path: Path, console: Console) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "blocks").write_bytes(real_text(BLOCK + 300_000))
    sizes = []
    for level in ("fast", "default", "max"):
        info = archive_tree(root, tmp_path / f"{level}.zip", console=console, epoch=EPOCH, level=level).archive
        with zipfile.ZipFile(info.path) as archive:
            assert archive.read("root/blocks") == (root / "blocks").read_bytes()
        sizes.append(info.size)
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("count", [0xFFFE, 0xFFFF, 0x10001])
def test_more_members_than_sixteen_bits_count(count: int, tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with path.open("w+b") as stream:
        output = ZipOutput(stream, epoch=EPOCH)
        for index in range(count):
            content = b"%d" % index
            piece = Piece(crc=crc32(content), size=len(content), packed=content)
            output.add(f"m/{index:06}", mode=stat.S_IFREG | 0o644, method=STORED, piece=piece)
        assert output.finish() == count
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == count
        assert archive.read(f"m/{count - 1:06}") == b"%d" % (count - 1)
    listed = subprocess.run([_tool("unzip"), "-Z1", str(path)], check=True, capture_output=True, text=True)
    assert len(listed.stdout.splitlines()) == count
    subprocess.run([_tool("unzip"), "-tqq", str(path)], check=True, capture_output=True)


class _Sparse:
    """A file in which a block of zeros costs nothing."""

    zeros = bytes(64 * 1024 * 1024)

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")

    def write(self, data: bytes) -> int:
        if data is self.zeros:
            self._file.truncate(self._file.seek(len(data), os.SEEK_CUR))
            return len(data)
        return self._file.write(data)

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(position, whence)

    def close(self) -> None:
        self._file.close()


def test_a_member_over_4_gib_and_one_that_begins_beyond_4_gib(tmp_path: Path) -> None:
    blocks = 65
    stream = _Sparse(tmp_path / "large.zip")
    output = ZipOutput(stream, epoch=EPOCH)  # type: ignore[arg-type]
    zeros = Piece(crc=crc32(stream.zeros), size=len(stream.zeros), packed=stream.zeros)
    size = blocks * len(stream.zeros)
    output.add_pieces("large", mode=stat.S_IFREG | 0o644, method=STORED, size=size, pieces=[zeros] * blocks)
    output.add("tail", mode=stat.S_IFREG | 0o644, method=STORED, piece=Piece(crc=crc32(b"end"), size=3, packed=b"end"))
    output.finish()
    stream.close()
    with zipfile.ZipFile(tmp_path / "large.zip") as archive:
        assert [member.file_size for member in archive.infolist()] == [size, 3]
        assert archive.getinfo("tail").header_offset > 2**32
        assert archive.read("tail") == b"end"
        crc = functools.reduce(lambda crc, _: zlib.crc32(stream.zeros, crc), range(blocks), 0)
        assert crc == archive.getinfo("large").CRC
    unzipped = subprocess.run(
        [_tool("unzip"), "-p", str(tmp_path / "large.zip"), "tail"], check=True, capture_output=True
    )
    assert unzipped.stdout == b"end"


def test_windows_target_takes_no_links_and_no_reserved_names(tmp_path: Path, console: Console) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"x")
    (root / "link").symlink_to("file")
    windows = get("windows-x86_64")
    with pytest.raises(InputError, match=r"1 symbolic links.*: link"):
        archive_tree(root, tmp_path / "w.zip", console=console, epoch=EPOCH, target=windows)
    (root / "link").unlink()
    for name in ("aux.py", "ab:c", "ends."):
        (root / name).write_bytes(b"")
        with pytest.raises(InputError, match="Windows"):
            archive_tree(root, tmp_path / "w.zip", console=console, epoch=EPOCH, target=windows)
        (root / name).unlink()
    (root / "FILE").write_bytes(b"y")
    with pytest.raises(InputError, match="case does not count"):
        archive_tree(root, tmp_path / "w.zip", console=console, epoch=EPOCH, target=windows)
    archive_tree(root, tmp_path / "l.zip", console=console, epoch=EPOCH, target=get("linux-x86_64"))


def test_an_archive_inside_its_own_tree_is_refused(tree: Path, console: Console) -> None:
    with pytest.raises(InputError, match="lies inside"):
        archive_tree(tree, tree / "sub" / "x.zip", console=console, epoch=EPOCH)


def test_a_file_that_grows_or_shrinks_after_the_scan_is_refused_and_the_older_archive_stays(
    tmp_path: Path, console: Console
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"x" * 1000)
    content = Content(root=root, root_name="r", manifest=scan(root, threads=1), epoch=EPOCH)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.zip").write_bytes(b"older")
    for size in (999, 1001):
        (root / "file").write_bytes(b"x" * size)
        with pytest.raises(InputError, match="changed"):
            write_zip(content, tmp_path / "out" / "a.zip", effort=Effort(level=6, threads=2), console=console)
        assert (tmp_path / "out" / "a.zip").read_bytes() == b"older"
        assert len(list((tmp_path / "out").iterdir())) == 1


_PROGRAM = """
    import resource, sys
    from pathlib import Path
    from packager.archive.archive_tree import archive_tree
    from packager.console import Console
    from packager.errors import PackagerError
    if len(sys.argv) > 4:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
    try:
        tree, archive = Path(sys.argv[1]), Path(sys.argv[2])
        archive_tree(tree, archive, console=Console(quiet=True), epoch=0, level=sys.argv[3], threads=2)
    except PackagerError as error:
        print(error)
        sys.exit(error.exit_code)
"""


def _program(*words: str | Path) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(_PROGRAM), *map(str, words)]


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits and signals are POSIX")
@pytest.mark.parametrize("name", ["a.zip", "a.tar.zst"])
def test_a_full_quota_names_the_folder_and_the_bytes_and_leaves_nothing(name: str, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(_program(tree, out / name, "fast", "1000000"), check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert str(out) in done.stdout
    assert "bytes) are needed" in done.stdout
    assert list(out.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a tmpfs needs root on Linux")
def test_a_full_disk_names_the_folder_and_leaves_nothing(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "full"
    out.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(out)], check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let us mount a tmpfs")
    try:
        done = subprocess.run(_program(tree, out / "a.zip", "fast"), check=False, capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        assert "no space left" in done.stdout
        assert str(out) in done.stdout
        assert list(out.iterdir()) == []
    finally:
        subprocess.run(["umount", str(out)], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is POSIX")
@pytest.mark.parametrize("name", ["a.zip", "a.tar.zst"])
def test_ctrl_c_leaves_nothing_behind(name: str, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    process = subprocess.Popen(_program(tree, out / name, "max"), stderr=subprocess.PIPE, text=True)
    while not any(out.iterdir()) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert list(out.iterdir()) == []


def test_times_outside_the_dos_years_are_brought_into_them() -> None:
    assert dos_time(0) == (1 << 5 | 1) << 16
    assert dos_time(2**40) >> 25 == 127


_MEASURED = """
import re, sys
from pathlib import Path
from packager.archive.archive_tree import archive_tree
from packager.console import Console
def peak():  # of this process alone; ru_maxrss begins with what the process that started it had
    return int(re.search(r"VmHWM:\\s*([0-9]+) kB", Path("/proc/self/status").read_text())[1]) * 1024
before = peak()
archive_tree(Path(sys.argv[1]), Path(sys.argv[2]), console=Console(quiet=True), epoch=0, level="fast",
             threads=int(sys.argv[4]), memory=int(sys.argv[3]))
print(before, peak())
"""


_NOISE = random.Random(1).randbytes(BLOCK)  # is stored: what waits to be written is as large as can be
_HARDLY = _NOISE.translate(bytes(i % 200 for i in range(256)))  # about 7.6 bits a byte: packed, to hardly less


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("name", "block", "count", "threads", "memory"),
    [
        ("a.zip", _NOISE, 66, 2, 128),
        ("a.zip", _HARDLY, 8, 2, 48),
        ("a.tar.zst", b"", 26, 8, 384),
    ],
    ids=["noise", "hardly-packed", "tar.zst"],
)
def test_memory_stays_bounded(name: str, block: bytes, count: int, threads: int, memory: int, tmp_path: Path) -> None:
    """What is read and packed ahead costs at most `memory`, in MiB, and the rest does not grow with the file."""
    root = tmp_path / "root"
    root.mkdir()
    with (root / "large").open("wb") as stream:
        for _ in range(count):
            stream.write(block or os.urandom(BLOCK))  # zstd finds what is there again within its window
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(root), str(tmp_path / name), str(memory * 2**20), str(threads)],
        check=True,
        capture_output=True,
        text=True,
    )
    before, peak = map(int, done.stdout.split())
    assert peak - before < (memory + 64) * 2**20


@pytest.mark.parametrize("threads", ["0", "-1"])
def test_no_number_of_threads(threads: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_text("a")
    words = ["archive", str(tmp_path / "tree"), "-o", str(tmp_path / "a.zip"), "--threads", threads]
    done = subprocess.run([sys.executable, "-m", "packager", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--threads: " in done.stderr
    assert not (tmp_path / "a.zip").exists()
