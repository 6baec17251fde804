"""The leak scan finds a build path however it is written down, wherever, and says where."""

from __future__ import annotations

import io
import json
import marshal
import zipfile
from pathlib import Path
from urllib.parse import quote

import jsonschema
import pytest
import yaml
from relocation_trees import STUB

from packager.errors import InputError
from packager.relocation import leaks as leaks_module
from packager.relocation import rules
from packager.relocation.leaks import scan_leaks

POSIX = "/home/author/.cache/packager/bündle 7"
WINDOWS = "C:\\Users\\Author\\packager\\Bündle 7"


def scan(root: Path, needle: str = POSIX, *, windows: bool = False, processes: int = 1) -> list[tuple[str, int, str]]:
    found = scan_leaks(root, [needle], windows=windows, processes=processes)
    assert {leak.needle for leak in found} <= {needle}
    return [(leak.path, leak.offset, leak.encoding) for leak in found]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (POSIX.encode(), "utf-8"),
        (POSIX.encode("utf-16-le"), "utf-16-le"),
        (POSIX.replace("/", "\\").encode(), "backslash utf-8"),
        (json.dumps(POSIX).strip('"').encode(), "json utf-8"),
        (POSIX.replace("/", "\\/").encode(), "escaped slash utf-8"),
        (quote(POSIX).encode(), "url utf-8"),
        (quote(POSIX, safe="").encode("utf-16-le"), "url component utf-16-le"),
    ],
)
@pytest.mark.parametrize("where", [0, 1, 777])
def test_every_spelling_of_a_posix_path_is_found_at_its_place(
    tmp_path: Path, content: bytes, encoding: str, where: int
) -> None:
    (tmp_path / "file").write_bytes(b"x" * where + content + b"/bin")
    assert scan(tmp_path) == [("file", where, encoding)]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (WINDOWS, "backslash"),
        (WINDOWS.upper(), "backslash"),
        (WINDOWS.lower(), "backslash"),
        (WINDOWS.replace("\\", "/"), ""),
        (WINDOWS.replace("\\", "\\\\"), "escaped"),
        (json.dumps(WINDOWS).strip('"'), "json backslash"),
        ("c:/users/aUTHOR/packager/b%C3%BCndle%207", "url"),
    ],
)
@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le"])
def test_every_spelling_of_a_windows_path_is_found_in_any_case(
    tmp_path: Path, text: str, encoding: str, codec: str
) -> None:
    (tmp_path / "file").write_bytes(b"x" + text.encode(codec) + b"x")
    assert scan(tmp_path, WINDOWS, windows=True) == [("file", 1, f"{encoding} {codec}".strip())]
    if text == WINDOWS.upper():
        assert scan(tmp_path, WINDOWS) == []


def test_near_misses_are_no_leaks(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(f"{POSIX[:-1]} {POSIX.upper()} {POSIX[6:]} packager {POSIX[:-3]}9".encode())
    (tmp_path / "empty").write_bytes(b"")
    assert scan(tmp_path) == []


@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("shift", range(-60, 8, 4))
def test_path_across_the_border_of_two_blocks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, windows: bool, shift: int
) -> None:
    monkeypatch.setattr(leaks_module, "_BLOCK", 1000)
    for name, codec in (("a", "utf-8"), ("b", "utf-16-le")):
        (tmp_path / name).write_bytes(b"." * (2000 + shift) + POSIX.encode(codec) + b"." * 1500)
    assert [(path, offset) for path, offset, _ in scan(tmp_path, windows=windows)] == [
        ("a", 2000 + shift),
        ("b", 2000 + shift),
    ]


def test_names_links_and_bytecode_are_looked_at(tmp_path: Path) -> None:
    copied = tmp_path / "cache" / POSIX.lstrip("/") / "x.py"
    copied.parent.mkdir(parents=True)
    copied.write_text("")
    (tmp_path / "quoted").mkdir()
    (tmp_path / "quoted" / f"file_{quote(POSIX, safe='')}").write_text("")
    (tmp_path / "link").symlink_to(f"{POSIX}/python")
    code = compile("def f(): pass", f"{POSIX}/x.py", "exec")
    (tmp_path / "x.pyc").write_bytes(b"\0" * 16 + marshal.dumps(code))
    found = {path.partition("/")[0]: encoding for path, _, encoding in scan(tmp_path)}
    assert found == {
        "cache": "name utf-8",
        "quoted": "name url component utf-8",
        "link": "link utf-8",
        "x.pyc": "utf-8",
    }


def zipped(name: str, content: bytes, comment: bytes = b"") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
        archive.comment = comment
    return stream.getvalue()


def test_compressed_members_of_launchers_wheels_and_archives_in_archives_are_looked_at(tmp_path: Path) -> None:
    padded = b"x" * 100 + POSIX.encode()
    (tmp_path / "pip.exe").write_bytes(STUB + b"#!python.exe\r\n" + zipped("__main__.py", padded))
    (tmp_path / "x-1.WHL").write_bytes(zipped("x/RECORD", padded))
    (tmp_path / "deep.zip").write_bytes(zipped("in.zip", zipped("f", padded)))
    (tmp_path / "name.zip").write_bytes(zipped(f"a{POSIX}/f", b""))
    assert scan(tmp_path) == [
        ("deep.zip!/in.zip!/f", 100, "utf-8"),
        ("name.zip", 31, "utf-8"),
        (f"name.zip!/a{POSIX}/f", 2, "name utf-8"),
        ("pip.exe!/__main__.py", 100, "utf-8"),
        ("x-1.WHL!/x/RECORD", 100, "utf-8"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"PK\5\6" + b"\0" * 18,
        b"PK\5\6" + b"\xff" * 18,
        zipped("f", b"y" * 1000).replace(b"PK\1\2", b"PK\1\3"),
        zipped("f", bytes(range(256)) * 9)[:60] + b"\xff" * 30 + zipped("f", bytes(range(256)) * 9)[90:],
        zipped("f", b"x").replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0"),
    ],
)
def test_broken_zip_is_searched_as_it_is(tmp_path: Path, content: bytes) -> None:
    """Hostile: an empty end record, absurd offsets, a broken directory, a broken stream, an unknown compression."""
    (tmp_path / "broken.zip").write_bytes(POSIX.encode() + content)
    assert scan(tmp_path) == [("broken.zip", 0, "utf-8")]


def test_archive_that_claims_to_unpack_to_more_than_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks_module, "_MAX_UNPACKED", 10_000)
    (tmp_path / "bomb.zip").write_bytes(zipped("zeros", b"\0" * 10_001))
    with pytest.raises(InputError, match="holds more than"):
        scan(tmp_path)


def test_two_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks_module, "_SPARE_CPU_FROM", 0)
    for number in range(20):
        (tmp_path / f"f{number:02}").write_bytes(b"x" * number + (POSIX.encode() if number % 3 == 0 else b""))
    found = scan(tmp_path, processes=2)
    assert found == scan(tmp_path, processes=1)
    assert len(found) == 7


@pytest.mark.parametrize(
    "needle", ["/", "//", "/usr", "/usr/", "/usr/local", "/root", "/tmp", "/a/b", "relative/path/x", "", "C:\\", "c:"]
)
def test_needle_that_says_nothing_is_refused(tmp_path: Path, needle: str) -> None:
    with pytest.raises(InputError, match="build path") as raised:
        scan_leaks(tmp_path, ["/home/author/build", needle], windows=False)
    assert raised.value.exit_code == 2


def test_allow_table_excepts_files_by_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "known").write_text(POSIX)
    (tmp_path / "other").write_text(POSIX)
    assert rules.load_rules().leaks.allow == (), "nothing is excepted by default"
    monkeypatch.setattr(leaks_module, "_allowed", lambda name: name == "known")
    assert [path for path, _, _ in scan(tmp_path)] == ["other"]


def test_rules_follow_their_schema() -> None:
    folder = Path(rules.__file__).parent
    value = yaml.safe_load((folder / "rules.yml").read_text(encoding="utf-8"))
    schema = json.loads((folder / "rules.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(value, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**value, "surprise": 1}, schema)
