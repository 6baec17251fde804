"""relocate: places alone are written, in one step a file, whatever they hold; macOS and Windows as computed plans."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_bundles import call, fill_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from portable import relocate
from portable.errors import HelperError
from portable.prefix_table import read_table
from portable.verify import find_damage, read_manifest

from packager import targets
from packager.archive.manifest import Entry, Manifest
from packager.bundle import BundleTree
from packager.prefix_files import PrefixFile
from packager.relocation.prefix_table import plan_prefix_table

NEUTRAL = "/portable/python"
PLACEHOLDER = "/build/" + "_placehold" * 20  # 207 characters
TEXT = f"a={NEUTRAL}/a\nown=/portable/python\nroot=/ t=/t\nb={NEUTRAL}:{NEUTRAL}"
OWN = TEXT.index("/portable/python\nroot")
BINARY = b"\xcf\xfa\xed\xfe\0" + f"{PLACEHOLDER}/x:{PLACEHOLDER}\0-I{PLACEHOLDER}\0{NEUTRAL}\0/\0".encode()


def prefixed(tree: BundleTree) -> BundleTree:
    """Fill `tree` with a text, a program and a library that hold a prefix; with its table and manifest."""
    files = {"etc/a.conf": TEXT.encode(), "bin/tool": BINARY, "lib/x.so": b"\x7fELF" + BINARY[4:]}
    known = []
    for name, content in files.items():
        path = tree.prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if name == "etc/a.conf":
            starts = [at for at in range(len(TEXT)) if TEXT.startswith(NEUTRAL, at) and at != OWN]
            places = tuple(len(TEXT) - at for at in starts)
            known.append(PrefixFile(path=name, kind="text", placeholder=NEUTRAL, from_end=places))
        else:
            known.append(PrefixFile(path=name, kind="binary", placeholder=PLACEHOLDER))
    (tree.prefix / "bin/tool").chmod(0o755)
    (tree.prefix / "lib/x.so").chmod(0o440)
    (tree.portable / "prefixes.json").write_text(json.dumps(plan_prefix_table(tree, known)), encoding="utf-8")
    entries = tuple(
        Entry(
            path=f"python/{name}",
            kind="file",
            mode=stat.S_IMODE((tree.prefix / name).stat().st_mode),
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )
        for name, content in sorted(files.items())
    )
    (tree.portable / "manifest.json").write_text(Manifest(bundle={}, entries=entries).to_json(), encoding="utf-8")
    return tree


@pytest.fixture
def bundle(make_bundle: Callable[..., BundleTree]) -> BundleTree:
    return prefixed(make_bundle())


@pytest.fixture
def mac(tmp_path: Path) -> BundleTree:
    return prefixed(fill_bundle(tmp_path / "mac", targets.get("macos-arm64")))


def expected(prefix: str) -> dict[str, bytes]:
    """By plain construction, not by code of the project."""

    def padded(text: str, width: int) -> bytes:
        return text.encode().ljust(width, b"\0")

    size = len(PLACEHOLDER)
    body = padded(f"{prefix}/x:{prefix}", 2 * size + 3) + b"\0-I" + padded(prefix, size)
    body += f"\0{NEUTRAL}\0/\0".encode()
    return {
        "etc/a.conf": f"a={prefix}/a\nown=/portable/python\nroot=/ t=/t\nb={prefix}:{prefix}".encode(),
        "bin/tool": b"\xcf\xfa\xed\xfe\0" + body,
        "lib/x.so": b"\x7fELF\0" + body,
    }


def contents(tree: BundleTree) -> dict[str, bytes]:
    return {name: (tree.prefix / name).read_bytes() for name in ("etc/a.conf", "bin/tool", "lib/x.so")}


def damage(tree: BundleTree) -> list[str]:
    return [item.path for item in find_damage(tree.root, read_manifest(tree.portable / "manifest.json"))]


def test_by_the_command_line_as_often_as_one_likes(bundle: BundleTree) -> None:
    for name in ("b", "a much longer folder with späces and 文字", "s", "s/deeper"):
        root = bundle.root.parent / name
        root.parent.mkdir(exist_ok=True)
        if name == "s/deeper":
            bundle.root.rename(bundle.root.parent / "aside")
            (bundle.root.parent / "s").mkdir()
            (bundle.root.parent / "aside").rename(root)
        else:
            bundle.root.rename(root)
        bundle = BundleTree(root=root, target=bundle.target, python_version="3.11.9")
        told = json.loads(call(root / "manage.sh", "relocate", "--dry-run", "--json").stdout)
        assert [change["path"] for change in told["changed"]] == [f"python/{name}" for name in contents(bundle)]
        done = call(root / "manage.sh", "relocate")
        assert done.stdout == "3 files were rewritten, 0 hold this place already\n", done.stderr
        assert contents(bundle) == expected(str(bundle.prefix))
        assert json.loads((root / relocate.STATE).read_text())["prefix"] == str(bundle.prefix)
        assert damage(bundle) == []
        again = json.loads(call(root / "manage.sh", "relocate", "--json").stdout)
        assert (again["changed"], again["unchanged"]) == ([], 3)


def test_dry_run_writes_nothing(bundle: BundleTree) -> None:
    before = contents(bundle)
    said = call(bundle.root / "manage.sh", "relocate", "--dry-run").stdout
    assert f"rewrite python/etc/a.conf: {NEUTRAL} -> " in said
    assert contents(bundle) == before
    assert not (bundle.root / relocate.STATE).exists()


def test_modes_stay_and_other_names_of_a_file_keep_its_content(bundle: BundleTree) -> None:
    tool, other = bundle.prefix / "bin/tool", bundle.root / "other name"
    os.link(tool, other)
    relocate.apply(relocate.make_plan(bundle.root, target="linux-x86_64"))
    assert other.read_bytes() == BINARY
    assert stat.S_IMODE(tool.stat().st_mode) == 0o755
    assert stat.S_IMODE((bundle.prefix / "lib/x.so").stat().st_mode) == 0o440
    assert not (bundle.prefix / ".relocating").exists()


def test_a_path_longer_than_the_placeholder_is_refused_with_both_lengths(bundle: BundleTree) -> None:
    deep = bundle.root.parent / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    root = bundle.root.rename(deep / "bundle")
    before = (root / "python/etc/a.conf").read_bytes()
    done = call(root / "manage.sh", "relocate")
    length = len(os.fsencode(root / "python"))
    assert done.returncode == 1
    assert f"has {length} bytes" in done.stderr
    assert f"room for {len(PLACEHOLDER)}" in done.stderr
    assert f"{length - len(PLACEHOLDER)} bytes shorter" in done.stderr
    assert (root / "python/etc/a.conf").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(path.read_bytes() + b"x"),
        lambda path: path.write_bytes(path.read_bytes().replace(b"own=", b"my =")),
        lambda path: path.write_bytes(path.read_bytes().replace(NEUTRAL.encode(), b"/somewhere/else", 1)),
        lambda path: path.write_bytes(b""),
        lambda path: (path.rename(path.with_name("z")), path.symlink_to("z")),
        lambda path: path.unlink(),
    ],
)
def test_a_file_that_somebody_changed_is_left_alone_and_named(
    bundle: BundleTree, change: Callable[[Path], Any]
) -> None:
    path = bundle.prefix / "etc/a.conf"
    change(path)
    before = path.read_bytes() if path.exists() else None
    plan = relocate.make_plan(bundle.root, target="linux-x86_64")
    relocate.apply(plan)
    assert list(plan.skipped) == ["python/etc/a.conf"]
    assert (path.read_bytes() if path.exists() else None) == before
    assert contents_of_binaries(bundle) == {k: v for k, v in expected(str(bundle.prefix)).items() if k != "etc/a.conf"}
    assert damage(bundle) == ["python/etc/a.conf"]


def contents_of_binaries(tree: BundleTree) -> dict[str, bytes]:
    return {name: (tree.prefix / name).read_bytes() for name in ("bin/tool", "lib/x.so")}


def test_damage_of_a_relocated_file_is_still_found(bundle: BundleTree) -> None:
    relocate.apply(relocate.make_plan(bundle.root, target="linux-x86_64"))
    assert damage(bundle) == []
    path = bundle.prefix / "lib/x.so"
    path.chmod(0o640)
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    (bundle.prefix / "bin/tool").chmod(0o644)
    assert damage(bundle) == ["python/bin/tool", "python/lib/x.so"]


def test_a_lost_state_is_no_loss(bundle: BundleTree) -> None:
    relocate.apply(relocate.make_plan(bundle.root, target="linux-x86_64"))
    (bundle.root / relocate.STATE).write_text("{ half")
    root = bundle.root.rename(bundle.root.with_name("next"))
    plan = relocate.make_plan(root, target="linux-x86_64")
    assert len(plan.changes) == 3
    relocate.apply(plan)
    assert json.loads((root / relocate.STATE).read_text())["prefix"] == str(root / "python")


def test_a_bundle_without_a_table(make_bundle: Callable[..., BundleTree]) -> None:
    done = call(make_bundle().root / "manage.sh", "relocate")
    assert done.stdout == "0 files were rewritten, 0 hold this place already\n"


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "../x"},
        {"path": "/etc/passwd"},
        {"path": "python/../../x"},
        {"path": "ComfyUI/main.py"},
        {"path": "python\\..\\x"},
        {"kind": "other"},
        {"places": []},
        {"places": [5, 6]},
        {"places": [-1]},
        {"places": [95]},
        {"places": None},
        {"size": "x"},
        {"placeholder": ""},
        {"kind": "binary", "strings": [{"start": 90, "length": 50, "places": [0]}]},
        {"kind": "binary", "strings": []},
    ],
)
def test_a_broken_or_hostile_table_is_refused(bundle: BundleTree, entry: dict[str, Any]) -> None:
    whole = {"path": "python/etc/a.conf", "kind": "text", "size": 100, "sha256": "0" * 64, "placeholder": "/portable"}
    table = {"format": 1, "files": [{**whole, "places": [2], **entry}], "skipped": {}}
    (bundle.portable / "prefixes.json").write_text(json.dumps(table))
    with pytest.raises(HelperError, match="cannot be used"):
        read_table(bundle.root)


def test_a_full_disk_changes_nothing(bundle: BundleTree, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real, count = contents(bundle), os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise OSError(28, "No space left on device")
        real(descriptor)

    plan = relocate.make_plan(bundle.root, target="linux-x86_64")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fsync)
        with pytest.raises(HelperError, match="No space left"):
            relocate.apply(plan)
    assert contents(bundle) == before
    assert not (bundle.prefix / ".relocating").exists()


# -- macOS: what would be signed, with a stand-in for codesign ---------------------------------------------------------


@pytest.fixture
def codesign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A codesign that notes its words and appends a signature of its own to the file, in place of an older one."""
    program, log = tmp_path / "programs" / "codesign", tmp_path / "signed"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nprintf "%s|" "$@" >>"{log}"\nfor file; do :; done\n'
        f'head -c {len(BINARY)} "$file" >"$file.new" && echo "signed $$" >>"$file.new" && mv "$file.new" "$file"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return log


def test_mac_programs_are_signed_and_others_not(mac: BundleTree, codesign: Path) -> None:
    for name in ("one", "two longer", "3"):
        root = mac.root.rename(mac.root.with_name(name))
        mac = BundleTree(root=root, target=mac.target, python_version="3.11.9")
        plan = relocate.make_plan(root, target="macos-arm64")
        assert [change.file.path for change in plan.changes if change.sign] == ["python/bin/tool"]
        assert "sign    python/bin/tool" in list(plan.lines())
        relocate.apply(plan)
        signed = (mac.prefix / "bin/tool").read_bytes()
        assert signed.startswith(expected(str(mac.prefix))["bin/tool"])
        assert b"signed" in signed
        assert damage(mac) == []
    words = codesign.read_text().split("|")
    assert words[:4] == ["--force", "--sign", "-", "--preserve-metadata=entitlements"]
    assert words[4].endswith("/tool")
    assert len(words) == 3 * 5 + 1
    (mac.prefix / "bin/tool").write_bytes(signed[:-1] + b"!")
    assert damage(mac) == ["python/bin/tool"]


def test_mac_run_cut_short_after_signing_leaves_files_that_are_known(
    mac: BundleTree, codesign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relocate.apply(relocate.make_plan(mac.root, target="macos-arm64"))
    root = mac.root.rename(mac.root.with_name("next"))
    mac = BundleTree(root=root, target=mac.target, python_version="3.11.9")
    plan = relocate.make_plan(root, target="macos-arm64")
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name == "tool":
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            relocate.apply(plan)
    assert damage(mac) == []  # with the signature of the first run
    relocate.apply(relocate.make_plan(root, target="macos-arm64"))
    assert (mac.prefix / "bin/tool").read_bytes().startswith(expected(str(mac.prefix))["bin/tool"])
    assert damage(mac) == []


def test_mac_without_codesign_or_with_one_that_fails_changes_nothing(
    mac: BundleTree, codesign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(mac)
    plan = relocate.make_plan(mac.root, target="macos-arm64")
    program = codesign.parent / "programs" / "codesign"
    program.write_text("#!/bin/sh\necho no identity >&2\nexit 1\n")
    with pytest.raises(HelperError, match="no identity"):
        relocate.apply(plan)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HelperError, match="codesign is missing"):
        relocate.apply(plan)
    assert contents(mac) == before


def test_windows_paths_have_forward_slashes() -> None:
    assert relocate.prefix_of(Path("C:\\Comfy UI"), windows=True).startswith(b"C:/Comfy UI")


# -- any prefix after any other ----------------------------------------------------------------------------------------

_PREFIXES = st.lists(
    st.text(st.characters(blacklist_characters="\0\n\r", blacklist_categories=["Cs"]), min_size=1, max_size=40)
    .map(lambda text: "/" + text)
    .filter(lambda text: len(text.encode()) <= len(PLACEHOLDER)),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(prefixes=_PREFIXES)
def test_every_prefix_replaces_every_other_and_the_shipped_file_can_be_had_back(
    tmp_path_factory: pytest.TempPathFactory, prefixes: list[str]
) -> None:
    tree = fill_bundle(tmp_path_factory.mktemp("any") / "bundle", targets.get("linux-x86_64"))
    table = read_table(prefixed(tree).root)
    shipped, held = contents(tree), contents(tree)
    for prefix in prefixes:
        for name, content in held.items():
            file = table[f"python/{name}"]
            old = file.current(content)
            assert old is not None
            held[name] = file.rewritten(content, old, prefix.encode())
            assert file.is_as_shipped(held[name])
        assert held == expected(prefix)
    for name, content in held.items():
        file = table[f"python/{name}"]
        assert file.rewritten(content, prefixes[-1].encode(), file.placeholder) == shipped[name]
