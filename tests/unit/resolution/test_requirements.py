"""Requirement files as nodes really have them: encodings, options, links, typos. Nothing may raise or get through."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from packager.resolution.requirements import Requirements, decode, parse_requirements, read_requirements


def read(folder: Path, content: bytes | str, name: str = "requirements.txt") -> Requirements:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_requirements(path, root=folder)


def kept(found: Requirements) -> list[str]:
    return [line.requirement for line in found.kept]


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode("utf-8"),
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-32"),
        lambda text: text.replace("\n", "\r\n").encode(),
    ],
)
def test_every_encoding_reads_the_same(tmp_path: Path, encode: object) -> None:
    found = read(tmp_path, encode("numpy>=1.25\nPillow\n"))  # type: ignore[operator]
    assert kept(found) == ["numpy>=1.25", "Pillow"]
    assert not found.removed


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--extra-index-url https://evil.example/simple", "an option"),
        ("-i https://evil.example/simple", "an option"),
        ("--find-links /tmp", "an option"),
        ("-e .", "an option"),
        ("--no-binary :all:", "an option"),
        ("./local", "a path"),
        ("../up", "a path"),
        ("/abs/path.whl", "a path"),
        ("C:\\wheels\\x.whl", "a path"),
        ("~/x.whl", "a path"),
        ("name @ file:///home/me/x.whl", "not https"),
        ("name @ http://example.org/x.whl", "not https"),
        ("name @ git+ssh://git@example.org/x", "not https"),
        ("name @ C:\\wheels\\x.whl", "a path"),
        ("name @ ./x.whl", "a path"),
        ("name@/abs/x.whl", "a path"),
        ("file:///home/me/x.whl", "not https"),
        ("git+ssh://git@example.org/x.git", "not https"),
        ("git+https://example.org/--upload-pack=x", "tells no package name"),
        ("numpy<1.24>=1.18", "not a requirement"),
        ("https://example.org/archive.tar.gz", "tells no package name"),
        ("torch = 2.0", "not a requirement"),
        ("numpy>=1.0,,<2", "not a requirement"),
        ("$(id)", "not a requirement"),
        ("name; python_version", "not a requirement"),
    ],
)
def test_what_cannot_be_shipped_is_left_out_with_the_reason(tmp_path: Path, line: str, reason: str) -> None:
    found = read(tmp_path, f"einops\n{line}\n")
    assert kept(found) == ["einops"]
    assert [(item.line, item.text) for item in found.removed] == [(2, line)]
    assert reason in found.removed[0].reason


def test_logins_are_refused_and_never_repeated(tmp_path: Path) -> None:
    text = (
        "--extra-index-url https://bot:hunter2@pypi.example/simple\na @ https://bot:hunter2@example.org/a.whl\n"
        "git+https://bot:hunter2@example.org/b\nc --index-url=https://bot:hunter2@example.org/\n"
    )
    found = read(tmp_path, text)
    assert kept(found) == ["c"]
    assert len(found.removed) == 4
    assert "hunter2" not in str(found)


def test_comments_continuations_hashes_and_markers(tmp_path: Path) -> None:
    text = (
        "# head\n\nopencv-python  # for video\ntorch>=2 \\\n  ,<3\nx==1 --hash=sha256:00\n"
        "y ; sys_platform == 'win32'\nz[extra]~=1.0\nurl @ https://example.org/a-1.0-py3-none-any.whl#sha256=00\n"
    )
    assert kept(read(tmp_path, text)) == [
        "opencv-python",
        "torch>=2 ,<3",
        "x==1",
        "y ; sys_platform == 'win32'",
        "z[extra]~=1.0",
        "url @ https://example.org/a-1.0-py3-none-any.whl#sha256=00",
    ]


def test_options_behind_a_requirement_are_on_record(tmp_path: Path) -> None:
    found = read(tmp_path, "onnxruntime-gpu --extra-index-url https://evil.example/simple\nx==1 --hash=sha256:00\n")
    assert kept(found) == ["onnxruntime-gpu", "x==1"]
    assert [(item.line, item.text) for item in found.removed] == [
        (1, "--extra-index-url https://evil.example/simple"),
        (2, "--hash=sha256:00"),
    ]


WORDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
ADDRESSES = st.builds(
    lambda kind, path, end, reference, egg, folder, marker: (
        f"{kind}https://a.example/{path}{end}{reference}"
        + (f"#egg={egg}&subdirectory={folder}" if egg and folder else f"#egg={egg}" if egg else "")
        + marker
    ),
    st.sampled_from(["", "git+", "name @ ", "name @ git+"]),
    WORDS,
    st.sampled_from(["", "/", ".git", "-1.0-py3-none-any.whl", ".zip", "?x=1"]),
    st.sampled_from(["", "@main", "@v1.0"]),
    st.just("") | WORDS,
    st.just("") | WORDS,
    st.sampled_from(["", "; os_name == 'nt'", " ;python_version>'3'", "; nonsense", "  --hash=sha256:00"]),
)


@given(st.text(max_size=80) | ADDRESSES | st.from_regex(r"[a-z@+:/.#=<>\[\]; -]{0,60}", fullmatch=True))
def test_what_is_kept_stays_as_it_is(text: str) -> None:
    """Sanitising is idempotent: what passed once passes again, unchanged and with nothing left out."""
    once = parse_requirements([(1, text)], file="x")
    again = parse_requirements([(line.line, line.requirement) for line in once.kept], file="x")
    assert again == Requirements(kept=once.kept)


@pytest.mark.parametrize(
    ("line", "requirement"),
    [
        ("https://a.example/torch_x/kit-0.17-cp311-cp311-win_amd64.whl", "kit @ LINE"),
        (
            'https://a.example/kit-1-cp311-cp311-win_amd64.whl; (python_version >= "3.11" and os_name == "nt")',
            'kit @ https://a.example/kit-1-cp311-cp311-win_amd64.whl ; (python_version >= "3.11" and os_name == "nt")',
        ),
        ("git+https://a.example/org/some_repo.git@v1", "some_repo @ LINE"),
        ("git+https://a.example/org/some_repo/", "some_repo @ git+https://a.example/org/some_repo/"),
        ("git+https://a.example/org/x#egg=real-name", "real-name @ git+https://a.example/org/x"),
        (
            "git+https://a.example/org/x.git@main#egg=part&subdirectory=src/part",
            "part @ git+https://a.example/org/x.git@main#subdirectory=src/part",
        ),
        (
            "git+https://a.example/org/many.git@main#subdirectory=submodules/one-of-many",
            "one-of-many @ git+https://a.example/org/many.git@main#subdirectory=submodules/one-of-many",
        ),
        ("qrcode[pil]", "qrcode[pil]"),
        ("kit[made-up]", "kit[made-up]"),
        ("kit[timm]>=4.50.0,!=4.50.*", "kit[timm]>=4.50.0,!=4.50.*"),
        ("ninja~=1.11.1.4", "ninja~=1.11.1.4"),
        ("A_B.c", "A_B.c"),
        (
            "kit>=0.50,<1; (sys_platform == 'linux' and platform_machine == 'x86_64') or sys_platform == 'darwin'",
            "LINE",
        ),
    ],
)
def test_odd_lines_of_real_nodes(tmp_path: Path, line: str, requirement: str) -> None:
    """Each kind was met in a public node's file; names and addresses are ours. LINE is the line itself."""
    found = read(tmp_path, f"{line}\r\n")
    assert kept(found) == [requirement.replace("LINE", line)]
    assert not found.removed
    Requirement(kept(found)[0])


def test_includes_stay_inside_the_repository(tmp_path: Path) -> None:
    root = tmp_path / "node"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "outside.txt").write_text("evil\n")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    (root / "sub" / "more.txt").write_text("scipy\n-r ../requirements.txt\n")
    text = "-r sub/more.txt\n-rsub/more.txt\n-r ../outside.txt\n-r link.txt\n-r missing.txt\n-r /etc/passwd\n"
    text += "--requirement=sub\n"
    found = read(root, text)
    assert kept(found) == ["scipy"]
    reasons = [(item.file, item.line, item.reason) for item in found.removed]
    assert ("sub/more.txt", 2, "includes a file that was read already") in reasons
    assert [reason for _, _, reason in reasons].count("includes a file outside the repository") == 3
    assert [reason for _, _, reason in reasons].count("includes a file that is not there") == 2


def test_include_loop_and_huge_file_end(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number}.txt").write_text(f"-r {number + 1}.txt\np{number}\n")
    found = read(tmp_path, "-r 0.txt\n")
    assert any("more than" in item.reason for item in found.removed)
    assert "larger than" in read(tmp_path, b"a\n" * 200_000).removed[0].reason


def test_dependencies_of_a_project_table_go_through_the_same_gate() -> None:
    found = parse_requirements([(4, "numpy"), (5, "-r x"), (6, "a @ file:///x")], file="pyproject.toml")
    assert kept(found) == ["numpy"]
    assert [item.line for item in found.removed] == [5, 6]


@given(st.binary(max_size=400))
def test_any_bytes_are_answered(content: bytes) -> None:
    """Nothing raises, and what is kept is a requirement that names neither a file nor an option."""
    found = parse_requirements(list(enumerate(decode(content).splitlines(), 1)), file="x")
    for line in found.kept:
        requirement = Requirement(line.requirement)
        assert requirement.url is None or requirement.url.startswith(("https://", "git+https://"))
        assert not line.requirement.startswith("-")
