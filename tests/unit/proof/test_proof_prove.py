"""The whole proof: a sound bundle passes, here and moved; the build tree is hidden meanwhile, and restored after all.

Hostile archives: members and links that lead out of the folder, also from part to part, bombs, two folders, a damaged
zip, no zip at all, another target.
"""

from __future__ import annotations

import shutil
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from proof_bundles import LIMITS, Original, replace_program, replace_text, zip_tree

from packager.archive.admission import Limits as UnpackLimits
from packager.archive.reading import ArchiveReader
from packager.archive.scan import scan
from packager.bundle import MANIFEST_NAME, BundleTree
from packager.cli import main
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import tree_digest
from packager.proof.prove import Check, Proof, Prover, prove_archive, prove_folder
from packager.proof.unpack import unpack
from packager.relocation import scan_leaks

needs_unzip = pytest.mark.skipif(shutil.which("unzip") is None, reason="Info-ZIP's unzip is not installed")


def test_a_sound_bundle_passes_everything_at_both_places(
    original: Original, tmp_path: Path, console: Console, reader: ArchiveReader
) -> None:
    archive = zip_tree(original.tree.root, tmp_path / "sample.zip")
    scratch = tmp_path / "scratch"
    proof = prove_archive(
        archive,
        baseline=original.baseline,
        scratch=scratch,
        hide=[original.tree.root],
        needles=[str(original.tree.root)],
        scan=scan_leaks,
        console=console,
        limits=LIMITS,
        reader=reader,
    )
    assert proof.failures() == ""
    assert proof.passed
    names = [check.name for check in proof.checks]
    assert names[:4] == ["layout", "files", "build paths", "needed libraries"]
    assert "installed package, moved" in names
    here = [name for name in names[4:] if not name.endswith(", moved")]
    assert [f"{name}, moved" for name in here] == [name for name in names if name.endswith(", moved")][1:]
    assert list(scratch.iterdir()) == []
    assert original.tree.root.is_dir()


@pytest.fixture
def lame(tree: BundleTree) -> BundleTree:
    """A small bundle whose Python does not run, so that its proof ends soon."""
    for python in tree.scripts.glob("python*"):
        replace_program(python, "#!/bin/sh\necho lame >&2; exit 9\n")
    shutil.rmtree(tree.stdlib)
    return tree


class Spy:
    """Stands where the leak scan is called, in the midst of a proof."""

    def __init__(self, hidden: Path, *, interrupt: bool = False) -> None:
        self.hidden, self.interrupt, self.seen = hidden, interrupt, [True]

    def __call__(self, root: Path, needles: Sequence[str], *, windows: bool) -> Sequence[object]:
        self.seen.append(self.hidden.exists())
        assert "proof \u00e9 space" in root.parts
        if self.interrupt:
            raise KeyboardInterrupt
        return []


def test_without_bwrap_the_build_tree_is_renamed_and_comes_back(
    lame: BundleTree, tmp_path: Path, console: Console, reader: ArchiveReader
) -> None:
    spy = Spy(lame.root)
    archive = zip_tree(lame.root, tmp_path / "lame.zip")
    proof = prove_archive(
        archive, baseline=None, scratch=tmp_path / "scratch", hide=[lame.root], needles=["/x"], scan=spy,
        console=console, limits=LIMITS, mask=False, reader=reader,
    )  # fmt: skip
    assert spy.seen == [True, False]
    assert lame.root.is_dir()
    assert [check.name for check in proof.checks if not check.passed] == ["environment", "python and pip"]
    assert "lame" in proof.failures()
    assert not any(name.name.endswith(", moved") for name in proof.checks)


def test_ctrl_c_in_a_proof_restores_the_build_tree_and_clears_scratch(
    lame: BundleTree, tmp_path: Path, console: Console, reader: ArchiveReader
) -> None:
    before = tree_digest(lame.root)
    archive = zip_tree(lame.root, tmp_path / "lame.zip")
    with pytest.raises(KeyboardInterrupt):
        prove_archive(
            archive, baseline=None, scratch=tmp_path / "scratch", hide=[lame.root], needles=["/x"],
            scan=Spy(lame.root, interrupt=True), console=console, mask=False, reader=reader,
        )  # fmt: skip
    assert tree_digest(lame.root) == before
    assert list((tmp_path / "scratch").iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from packager.console import Console
from packager.proof.prove import prove_archive
class Reader:
    def extract(self, archive, folder):
        assert not tree.exists()
        os.kill(os.getpid(), signal.SIGKILL)
tree, archive, scratch = map(Path, sys.argv[1:])
options = {"scratch": scratch, "hide": [tree], "reader": Reader(), "mask": False, "console": Console()}
prove_archive(archive, baseline=None, needles=[], **options)
"""


def test_a_proof_killed_midway_is_mended_by_the_next(
    lame: BundleTree, tmp_path: Path, console: Console, reader: ArchiveReader
) -> None:
    before = tree_digest(lame.root)
    archive = zip_tree(lame.root, tmp_path / "lame.zip")
    other = tmp_path / "no.zip"
    other.write_bytes(b"only its own extractor knows this format")
    scratch = tmp_path / "scratch"
    ended = subprocess.run([sys.executable, "-c", KILLED, lame.root, other, scratch], check=False)
    assert ended.returncode == -9
    assert not lame.root.exists()
    (scratch / "proof \u00e9 space" / "left over").mkdir(parents=True)
    proof = prove_archive(
        archive,
        baseline=None,
        scratch=scratch,
        hide=[lame.root],
        needles=[],
        console=console,
        mask=False,
        reader=reader,
    )
    assert proof.checks[0].passed
    assert tree_digest(lame.root) == before


def test_proving_a_folder_does_not_change_it(lame: BundleTree, tmp_path: Path, console: Console) -> None:
    model = lame.app / "models" / "checkpoints" / "huge.safetensors"
    model.parent.mkdir()
    model.write_bytes(b"huge")
    before = tree_digest(lame.root)
    seen: list[bool] = []

    def look(root: Path, needles: Sequence[str], *, windows: bool) -> Sequence[object]:
        seen.extend([(root / "ComfyUI/models/checkpoints").is_dir(), (root / model.relative_to(lame.root)).exists()])
        return ["found: /x"]

    proof = prove_folder(
        lame.root, baseline=None, scratch=tmp_path / "scratch", needles=["/x"], scan=look, console=console
    )
    assert seen == [True, False]
    assert "build paths: found: /x" in proof.failures()
    assert tree_digest(lame.root) == before


def test_the_bundle_s_own_baseline_is_used_when_none_is_given(
    original: Original, lame: BundleTree, tmp_path: Path, console: Console
) -> None:
    own = original.baseline.without_machine()
    own.save(lame.portable / "baseline.json")
    given = {"starter": (), "scratch": tmp_path / "scratch"}
    prover = Prover(console=console, limits=LIMITS)
    assert prover.open(lame.root, baseline=None, **given).baseline == own
    assert prover.open(lame.root, baseline=original.baseline, **given).baseline == original.baseline


_LINK, _FILE = stat.S_IFLNK | 0o777, stat.S_IFREG | 0o644


def _zip(archive: Path, *members: tuple[str, bytes, int]) -> Path:
    """A zip of (name as it is, content, Unix mode)."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content, mode in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.create_system, info.external_attr = name, 3, mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(info, content)
    return archive


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("../outside", b"x", _FILE), "leaves the folder"),
        (("/outside", b"x", _FILE), "absolute"),
        (("bundle/../../outside", b"x", _FILE), "leaves the folder"),
        (("..\\outside", b"x", _FILE), "backslash"),
        (("C:/outside", b"x", _FILE), "absolute"),
        (("bundle/l", b"/etc/passwd", _LINK), "absolute link"),
        (("bundle/l", b"../../../../etc", _LINK), "leads out"),
        (("bundle/CON", b"x", _FILE), "device name"),
        (("bundle/file", b"x", _FILE), "twice"),
        (("bundle/zeros", bytes(1_000_000), _FILE), "100 times its own size"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_members_are_refused_before_anything_is_unpacked(
    member: tuple[str, bytes, int], said: str, tmp_path: Path, console: Console
) -> None:
    archive = _zip(tmp_path / "hostile.zip", ("bundle/file", b"x", _FILE), member)
    reader = ArchiveReader(console=console, limits=UnpackLimits(ratio_from=1000))
    folder = tmp_path / "folder"
    with pytest.raises(InputError, match=said) as caught:
        unpack(archive, folder, reader=reader, timeout=60)
    assert caught.value.exit_code == 2
    assert list(folder.iterdir()) == []
    assert not list(tmp_path.rglob("outside"))


def test_a_part_cannot_write_through_a_link_of_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    first = _zip(tmp_path / "e-part1of2.zip", ("b/portable/x", b"x", _FILE), ("b/l", str(victim).encode(), _LINK))
    _zip(tmp_path / "e-part2of2.zip", ("b/l/evil.sh", b"echo owned", _FILE))
    assert main(["verify", str(first)]) == 2
    assert "lies below b/l, which is a link" in capsys.readouterr().err
    assert list(victim.iterdir()) == []


class Trusting:
    """A reader that lets everything in, as one that takes a zip for another than unzip does."""

    def admit(self, archive: Path, folder: Path) -> int:
        return 0

    def extract(self, archive: Path, folder: Path) -> None:
        raise AssertionError

    def differences(self, root: Path) -> None:
        raise AssertionError


@needs_unzip
def test_links_that_only_unzip_makes_are_no_way_out_for_the_next_part(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    first = _zip(tmp_path / "e-part1of2.zip", ("b/l", str(victim).encode(), _LINK))
    _zip(tmp_path / "e-part2of2.zip", ("b/l/evil.sh", b"echo owned", _FILE))
    with pytest.raises(InputError, match=r"b/l is a link to .*victim, outside"):
        unpack(first, tmp_path / "folder", reader=Trusting(), timeout=60)
    assert list(victim.iterdir()) == []


def _replace_content(archive: Path, packed: bytes) -> None:
    """Other packed bytes for the only member of `archive`, whose size and CRC stay what they are."""
    data = archive.read_bytes()
    directory, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    start = 30 + sum(struct.unpack_from("<HH", data, 26))
    local, entry, last = (bytearray(piece) for piece in (data[:start], data[directory:end], data[end:]))
    struct.pack_into("<I", local, 18, len(packed))
    struct.pack_into("<I", entry, 20, len(packed))
    struct.pack_into("<I", last, 16, start + len(packed))
    archive.write_bytes(local + packed + entry + last)


@needs_unzip
def test_a_zip_that_declares_too_little_is_stopped_while_it_is_unpacked(
    tmp_path: Path, reader: ArchiveReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("packager.proof.unpack._LOOK", 0)
    monkeypatch.setattr("packager.proof.unpack._SLACK", 10_000_000)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = block * 500 + packer.flush()
    archive = _zip(tmp_path / "liar.zip", ("b/liar", b"0123456789", _FILE))
    _replace_content(archive, zeros)
    with pytest.raises(InputError, match="more than the 10 B it declares"):
        unpack(archive, tmp_path / "folder", reader=reader, timeout=60)


def test_what_is_not_as_the_manifest_says_fails_the_proof(
    lame: BundleTree, tmp_path: Path, console: Console, reader: ArchiveReader
) -> None:
    (lame.portable / "empty").mkdir()
    text = scan(lame.root, threads=1).to_json()
    (lame.portable / MANIFEST_NAME).write_text(text)
    means = {"scan": None, "needles": (), "differences": reader.differences}

    def files() -> Check:
        prover = Prover(console=console, limits=LIMITS)
        site = prover.open(lame.root, starter=(), scratch=tmp_path / "scratch", baseline=None)
        return next(check for check in prover.prove(site, **means).checks if check.name == "files")

    assert files().passed
    victim, gone = lame.portable / "bundle.json", lame.portable / "empty"
    replace_text(victim, victim.read_text() + " ")
    gone.rmdir()
    (lame.app / "evil.py").write_text("import os\n")
    assert not files().passed
    for line in ("changed: portable/bundle.json", "missing: portable/empty", "not in the manifest: ComfyUI/evil.py"):
        assert line in files().detail
    (lame.portable / MANIFEST_NAME).write_text("{}")
    with pytest.raises(InputError, match="use the manifest that came with the archive"):
        files()


def two_folders(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("one/file", "x")
        opened.writestr("two/file", "x")


def no_description(archive: Path) -> None:
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("one/file", "x")


def damaged(archive: Path) -> None:
    two_folders(archive)
    content = bytearray(archive.read_bytes())
    content[30:40] = b"0123456789"
    archive.write_bytes(content)


@needs_unzip
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (two_folders, "must hold one folder, and holds one, two"),
        (no_description, "describes no bundle"),
        (damaged, "its local header is missing"),
        (lambda path: path.write_bytes(b"no zip"), "neither a zip nor a tar.zst"),
        (lambda path: path.mkdir(), "is no file"),
        (lambda path: None, "is no file"),
    ],
)
def test_archives_that_are_no_bundle_are_bad_input(
    make: Callable[[Path], object], said: str, tmp_path: Path, console: Console, reader: ArchiveReader
) -> None:
    archive = tmp_path / "input.zip"
    make(archive)
    with pytest.raises(InputError, match=said):
        prove_archive(
            archive, baseline=None, scratch=tmp_path / "s", hide=[], needles=[], console=console, reader=reader
        )
    assert list((tmp_path / "s").iterdir()) == []


def test_without_unzip_the_reader_unpacks(
    lame: BundleTree, tmp_path: Path, console: Console, reader: ArchiveReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zip_tree(lame.root, tmp_path / "lame.zip")
    monkeypatch.setenv("PATH", str(tmp_path))
    proof = prove_archive(
        archive, baseline=None, scratch=tmp_path / "s", hide=[], needles=[], console=console, reader=reader
    )
    assert proof.checks[0].passed


def test_a_bundle_for_another_system_is_bad_input(lame: BundleTree, tmp_path: Path, console: Console) -> None:
    replace_text(lame.portable / "bundle.json", '{"format": 1, "target": "windows-x86_64", "python_version": "3.11.7"}')
    with pytest.raises(InputError, match="built for windows-x86_64"):
        prove_folder(lame.root, baseline=None, scratch=tmp_path / "s", needles=[], console=console)


def test_a_folder_that_is_no_bundle_is_bad_input(tmp_path: Path, console: Console) -> None:
    with pytest.raises(InputError, match="is no bundle"):
        prove_folder(tmp_path, baseline=None, scratch=tmp_path / "s", needles=[], console=console)


def test_scratch_in_the_bundle_is_refused(lame: BundleTree, console: Console) -> None:
    with pytest.raises(InputError, match="lies in the bundle"):
        prove_folder(lame.root, baseline=None, scratch=lame.root / "scratch", needles=[], console=console)


def test_json_ends_each_detail_with_its_remedy() -> None:
    proof = Proof(
        checks=(
            Check(name="a", passed=True, detail="fine", remedy=None, seconds=0.1),
            Check(name="b", passed=False, detail="file: cause", remedy="do this", seconds=0.1),
        )
    )
    assert proof.to_json() == {
        "passed": False,
        "checks": [
            {"name": "a", "passed": True, "detail": "fine"},
            {"name": "b", "passed": False, "detail": "file: cause\nremedy: do this"},
        ],
    }
    assert proof.failures() == "b: file: cause\nremedy: do this"
