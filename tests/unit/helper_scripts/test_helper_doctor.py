"""doctor: what it tells, what it calls wrong, the masked report, and what lies outside the bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from portable.masking import mask

from packager.bundle import BundleTree

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="shell scripts are for POSIX")
MakeBundle = Callable[..., BundleTree]


def ask(root: Path, *words: str | Path, code: int = 0, **env: str) -> str:
    """What `manage doctor` prints, as a user called Anna with a home of her own."""
    home = root.parent / "home of anna"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [root / "manage.sh", "doctor", *map(str, words)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "USER": "anna", **env},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, (done.returncode, done.stderr, done.stdout)
    return done.stdout


@pytest.fixture
def described(make_bundle: MakeBundle) -> BundleTree:
    """A bundle with packages, a node and a manifest."""
    tree = make_bundle("my bündle")
    site = tree.prefix / "lib/python3.11/site-packages"
    for name, version in (("torch", "2.11.0+cu130"), ("sageattention", "2.2.0"), ("insightface", "0.7.3")):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
        (info / "RECORD").write_text("", encoding="utf-8")
    node = tree.app / "custom_nodes/my-node"
    (node / ".git").mkdir(parents=True)
    (node / ".git/HEAD").write_text("a" * 40, encoding="utf-8")
    size = (tree.app / "main.py").stat().st_size
    entry = {"path": "ComfyUI/main.py", "kind": "file", "mode": "0644", "size": size, "sha256": "", "part": 1}
    (tree.portable / "manifest.json").write_text(json.dumps({"format": 1, "entries": [entry]}), encoding="utf-8")
    return tree


def test_it_tells_versions_place_and_what_is_wrong(described: BundleTree) -> None:
    found: dict[str, Any] = json.loads(ask(described.root, "--json"))
    assert found["facts"]["packages"] == {
        "torch": "2.11.0+cu130",
        "sageattention": "2.2.0",
        "insightface": "0.7.3",
        "in all": "3",
    }
    assert found["facts"]["bundle"]["location"] == str(described.root)
    assert "moved from" not in found["facts"]["bundle"]
    assert found["facts"]["nodes"] == {"my-node": "git:" + "a" * 40}
    assert found["problems"] == []
    moved = described.root.rename(described.root.with_name("elsewhere"))
    (moved / "ComfyUI/main.py").unlink()
    (moved / "python/bin/tool").write_text("#!/old/place/python/bin/python3\nprint()\n", encoding="utf-8")
    text = ask(moved, code=1)
    assert f"moved from: {described.root}" in " ".join(text.split())
    assert "PROBLEM: ComfyUI/main.py: missing or damaged. `manage repair` puts back what was shipped." in text
    assert "note: 1 programs hold the path of this folder and fail after a move (tool)" in text
    assert f"moved from: {described.root}" in " ".join(ask(moved, code=1).split())  # and still says so


def test_the_report_names_nobody(described: BundleTree, tmp_path: Path) -> None:
    user = described.app / "user"
    user.mkdir()
    home = described.root.parent / "home of anna"
    (user / "comfyui.log").write_text(
        f"loading {described.root}/ComfyUI/models/x and {home}/pictures/x.png\n"
        "GET https://anna:pw12@example.org/x?token=abcd1234\nAuthorization: Bearer qwertyuiop\n"
        "HF_TOKEN=hf_abcdefghijklmn api_key: 'zyxwv98765' the secret-of-hers\nmail anna@example.org\n"
        "C:\\Users\\Bob Smith\\x \\\\Users\\\\ /home/carol/y by Anna\n",
        encoding="utf-8",
    )
    out = tmp_path / "out" / "report.txt"
    said = ask(described.root, "--report", out, MY_TOKEN="secret-of-hers", HTTPS_PROXY="http://u:p@proxy:1")
    assert str(out) in said
    text = out.read_text(encoding="utf-8")
    for private in (
        "anna",
        "Anna",
        str(tmp_path),
        "pw12",
        "abcd1234",
        "qwertyuiop",
        "hf_abc",
        "zyxwv",
        "secret-of",
        "carol",
        "u:p@",
    ):
        assert private not in text, private
    assert "loading <bundle>/ComfyUI/models/x and ~/pictures/x.png" in text
    assert "torch:" in text
    assert "https://<login>@example.org/x?<query>" in text
    ask(described.root, "--report")
    assert (described.root / "portable/state/report.txt").exists()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("C:\\Users\\Bob\\b\\ComfyUI", "<bundle>\\ComfyUI"),
        ("c:/users/bob/b/ComfyUI", "<bundle>/ComfyUI"),
        ('"C:\\\\Users\\\\Bob\\\\b\\\\x"', '"<bundle>\\\\x"'),
        ("C:\\Users\\Bob\\bigger", "~\\bigger"),
        ("D:\\Bob's", "D:\\<user>'s"),
        ("Bobsled", "Bobsled"),
        ("on BOX-7.", "on <host>."),
    ],
)
def test_paths_of_windows_are_masked_however_they_are_written(text: str, wanted: str) -> None:
    places = {"C:\\Users\\Bob\\b": "<bundle>", "C:\\Users\\Bob": "~"}
    assert mask(text, places, {}, users=["Bob", "x"], hosts=["BOX-7"]) == wanted


def test_nothing_lies_outside_but_what_the_user_led_there(described: BundleTree, tmp_path: Path) -> None:
    assert ask(described.root, "--footprint").startswith("nothing outside")
    home = described.root.parent / "home of anna"
    (home / ".insightface").mkdir()
    (home / ".insightface/model").write_bytes(b"x" * 5)
    (home / ".EasyOCR").mkdir()  # of a package that is not in the bundle
    cache = tmp_path / "cache"
    cache.mkdir()
    inside = described.root / "portable/cache/torch"
    found = json.loads(ask(described.root, "--footprint", "--json", HF_HOME=str(cache), TORCH_HOME=str(inside)))[
        "outside"
    ]
    assert [(item["path"], item["size"]) for item in found] == [(str(cache), 0), (str(home / ".insightface"), 5)]
    assert "HF_HOME" in found[0]["why"]


def test_missing_manifest_and_missing_packages_are_problems_not_tracebacks(make_bundle: MakeBundle) -> None:
    tree = make_bundle()
    text = ask(tree.root, code=1)
    assert "manifest.json is missing, so nothing can be compared" in text
    assert "holds no site-packages" in text
