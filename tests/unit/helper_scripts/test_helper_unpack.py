"""Archives of strangers: what leads out, what passes for something else, what never ends."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from portable.errors import HelperError
from portable.unpack import check_name, unpack

LIMITS = {"unpacked_bytes": 10_000, "files": 20}


def make_zip(path: Path, *names: str | zipfile.ZipInfo, content: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, content)
    return path


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_a_folder_that_holds_all_is_the_tree_and_programs_stay_so(tmp_path: Path, place: Path) -> None:
    names = ["node-1/", "node-1/__init__.py", special("node-1/run", stat.S_IFREG | 0o4777), "node-1/web/a.js"]
    got = unpack(make_zip(tmp_path / "a.zip", *names), place, LIMITS)
    assert got.tree == place / "node-1"
    assert stat.S_IMODE((got.tree / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((got.tree / "__init__.py").stat().st_mode) == 0o644
    flat = tmp_path / "flat"
    flat.mkdir()
    assert unpack(make_zip(tmp_path / "b.zip", "__init__.py", "web/a.js"), flat, LIMITS).tree == flat


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/x", "a\\..\\x", "C:x", "a/NUL", "con.txt", "a ", "a.", "a\nb", ".git/hooks/pre-commit",
     "a/.GIT/config", "x" * 300, "..", "a/b:stream"],
)  # fmt: skip
def test_names_that_lead_astray(tmp_path: Path, place: Path, name: str) -> None:
    with pytest.raises(HelperError, match="nothing of it was taken"):
        unpack(make_zip(tmp_path / "a.zip", "good.py", name), place, LIMITS)
    assert not list(place.iterdir())
    with pytest.raises(HelperError):
        check_name(name)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(HelperError):
        unpack(tmp_path / "a.tar.gz", place, LIMITS)
    assert not list(tmp_path.glob("x*"))


def test_links_are_left_out_and_special_files_refused(tmp_path: Path, place: Path) -> None:
    got = unpack(make_zip(tmp_path / "a.zip", "a.py", special("out", stat.S_IFLNK | 0o777)), place, LIMITS)
    assert got.links == ("out",)
    assert not (place / "out").is_symlink()
    with pytest.raises(HelperError, match="special file"):
        unpack(make_zip(tmp_path / "b.zip", special("pipe", stat.S_IFIFO)), place, LIMITS)
    with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as archive:
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
        below = tarfile.TarInfo("out/passwd")
        below.size = 1
        archive.addfile(below, io.BytesIO(b"x"))
    with pytest.raises(HelperError, match="twice"):
        unpack(tmp_path / "c.tar.gz", place, LIMITS)


def _truncated(path: Path) -> None:
    make_zip(path, "a.py", content=b"abc" * 500)
    path.write_bytes(path.read_bytes()[:-30])


def _corrupt(path: Path) -> None:
    make_zip(path, "a.py", content=bytes(range(256)) * 8)
    content = bytearray(path.read_bytes())
    content[60:80] = b"\xff" * 20
    path.write_bytes(content)


def _lying(path: Path) -> None:
    """Says one byte and holds 5000."""
    make_zip(path, "a.py", content=b"y" * 5000)
    content = path.read_bytes().replace((5000).to_bytes(4, "little"), (1).to_bytes(4, "little"))
    path.write_bytes(content)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b"<html>not found</html>"),
        lambda path: path.write_bytes(b""),
        make_zip,
        lambda path: make_zip(path, *(f"{number}.py" for number in range(21))),
        lambda path: make_zip(path, "bomb", content=b"\0" * 10_001),
        lambda path: make_zip(path, "a.py", "A.py"),
        lambda path: make_zip(path, "a", "a/b"),
        _truncated,
        _corrupt,
        _lying,
    ],
)
def test_archives_that_are_broken_or_hostile(tmp_path: Path, place: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "a.zip")
    with pytest.raises(HelperError) as caught:
        unpack(tmp_path / "a.zip", place, LIMITS)
    assert "a.zip" in str(caught.value)
    assert sum(path.stat().st_size for path in place.rglob("*")) <= LIMITS["unpacked_bytes"]
