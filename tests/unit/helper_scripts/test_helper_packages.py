"""install and uninstall: with a real pip and real wheels, held by the lock, safe against options in names, movable."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fake_bundles import REPOSITORY, call, make_wheel
from portable import pip
from portable.distributions import Distribution
from portable.resolution import Holds, read_report

from packager.bundle import BundleTree


def installed(tree: BundleTree) -> dict[str, str]:
    listed = json.loads(call(tree.root / "manage.sh", "list", "--json").stdout)
    return {entry["name"]: entry["version"] for entry in listed}


def protect(tree: BundleTree, name: str, why: str) -> None:
    (tree.portable / "protected.json").write_text(
        json.dumps({"format": 1, "packages": [{"name": name, "why": why}]}), encoding="utf-8"
    )


def test_install_holds_the_lock_and_scripts_survive_a_move(pip_bundle: BundleTree, tmp_path: Path) -> None:
    """One road, since pip is slow: conflict, --force, a wheel folder, requirement files, move, uninstall."""
    root = pip_bundle.root
    wheels = tmp_path / "the wheels"
    for version in ("1.0", "2.0"):
        make_wheel(wheels, "locked", version)
    wheel = make_wheel(tmp_path, "wanted", requires=("locked>=1",))
    (pip_bundle.portable / "lock.txt").write_text("Locked==1.0\n", encoding="utf-8")
    install = root / "install_package.sh"

    done = call(install, "--wheels-dir", wheels, wheel.name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert installed(pip_bundle)["locked"] == "1.0"

    refused = call(install, "--wheels-dir", "the wheels", "locked==2.0", cwd=tmp_path)
    assert refused.returncode == 1
    assert "upgrade   locked 1.0 -> 2.0   (the lock holds 1.0)" in refused.stderr
    assert "--force" in refused.stderr
    assert installed(pip_bundle)["locked"] == "1.0"

    wish = tmp_path / "my requirements.txt"
    wish.write_text("locked==2.0\n", encoding="utf-8")
    make_wheel(wheels, "picky", requires=("locked<2",))
    assert call(install, "--wheels-dir", wheels, "picky").returncode == 0
    forced = call(install, "--force", "--wheels-dir", wheels, "-r", wish)
    assert forced.returncode == 0, forced.stderr
    assert installed(pip_bundle)["locked"] == "2.0"
    assert "picky 1.0 has requirement locked<2, but you have locked 2.0." in forced.stderr

    moved = tmp_path / "moved & 'gone'"
    root.rename(moved)
    script = moved / "python/bin/wanted"
    assert call(script, cwd=tmp_path).stdout == f"wanted 1.0 on {moved}/python/bin/python\n"
    link = tmp_path / "link"
    link.symlink_to(script)
    assert call(link).stdout == f"wanted 1.0 on {moved}/python/bin/python\n"
    assert str(root).encode() not in script.read_bytes()
    assert not list((moved / "python").rglob("direct_url.json"))
    removed = call(moved / "manage.sh", "exec", "--", "python", "-m", "pip", "uninstall", "-y", "wanted")
    assert removed.returncode == 0
    assert not script.exists()


def test_uninstall_keeps_what_others_need(pip_bundle: BundleTree, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "basis_x")
    make_wheel(wheels, "user", requires=("basis_x",))
    manage = pip_bundle.root / "manage.sh"
    assert call(manage, "install", "--wheels-dir", wheels, "user").returncode == 0
    refused = call(manage, "uninstall", "basis_x")
    assert refused.returncode == 1
    assert "basis-x is needed by user" in refused.stderr
    assert "not-there is not installed" in call(manage, "uninstall", "not-there").stderr
    done = call(manage, "uninstall", "basis_x", "user", "--json", "--no-smoke")
    assert done.returncode == 0, done.stderr
    assert [step["action"] for step in json.loads(done.stdout)["changes"]] == ["remove", "remove"]
    assert not {"basis_x", "basis-x", "user"} & set(installed(pip_bundle))
    assert not list((pip_bundle.root / "python").rglob("basis*"))


def test_failures_are_explained_and_change_nothing(pip_bundle: BundleTree, tmp_path: Path) -> None:
    """A name that does not exist, a wheel for Windows, an empty wheel folder, a lost lock, a protected package."""
    install = pip_bundle.root / "install_package.sh"
    foreign = make_wheel(tmp_path, "foreign").rename(tmp_path / "foreign-1.0-cp39-cp39-win_amd64.whl")
    wheels = make_wheel(tmp_path / "wheels", "thing").parent
    make_wheel(wheels, "thing", "2.0")
    assert call(install, "--wheels-dir", wheels, "thing==1.0", "--no-smoke").returncode == 0
    protect(pip_bundle, "Thing", "made for one accelerator")
    before = installed(pip_bundle)
    for words, code, said in (
        (["--wheels-dir", wheels, "no-such-thing"], 1, "Check the spelling"),
        ([foreign], 1, "for another system"),
        (["--wheels-dir", tmp_path / "empty", "x"], 1, "holds no wheels"),
        (["-r", tmp_path / "none.txt"], 1, "cannot be read"),
        (["--wheels-dir", wheels, "thing==2.0"], 1, "protected: made for one accelerator"),
        (["--wheels-dir", wheels, "thing==2.0", "--dry-run"], 1, "protected: made for one accelerator"),
        ([tmp_path / "gone-1.0-py3-none-any.whl"], 2, "is not there"),
        ([], 2, "name a package"),
    ):
        finished = call(install, *words)
        assert finished.returncode == code, (words, finished.stderr)
        assert said in finished.stderr, words
        assert "Traceback" not in finished.stderr
    (pip_bundle.portable / "lock.txt").unlink()
    assert "lock.txt is missing" in call(install, wheels / "thing-1.0-py3-none-any.whl").stderr
    assert installed(pip_bundle) == before


HOSTILE = [
    "--target=/x",
    "-e.",
    "-r/etc/passwd",
    "--index-url=https://evil.example/simple",
    "; touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "a b",
    'a"b',
    "a'b",
    "a&touch pwned",
    "%PATH%",
    "a\n--index-url https://evil.example/simple",
    "a\r-e .",
    "thing --global-option=x",
    "thing @ file:///etc/passwd",
    "thing @ http://127.0.0.1/x.whl",
    "https://user:secret@127.0.0.1/thing-1.0-py3-none-any.whl",
    "git+ssh://x/y",
    "git+https://x/y --upload-pack=touch",
    "./folder",
    "../x",
    "C:\\x",
    "${HOME}",
    "thing==$HOME",
    "",
]


@pytest.mark.parametrize("word", HOSTILE)
@pytest.mark.parametrize("front", ["install", "uninstall"])
def test_nothing_named_can_become_an_option_or_a_command(make_bundle, tmp_path: Path, front: str, word: str) -> None:
    """Refused before pip is started: the bundle of this test has none."""
    root = make_bundle().root
    script = [root / "install_package.sh"] if front == "install" else [root / "manage.sh", "uninstall"]
    finished = call(*script, "--", word, cwd=tmp_path)
    assert finished.returncode == 2, finished.stderr
    assert "Traceback" not in finished.stderr
    assert "secret" not in finished.stderr
    assert not list(tmp_path.rglob("pwned"))


def test_unknown_options_are_refused(make_bundle) -> None:
    for word in ("--target=/x", "-e", "--index-url=x", "--pre", "--yess", "--dry"):
        finished = call(make_bundle(f"b{word.strip('-')[:3]}").root / "install_package.sh", word, "x")
        assert finished.returncode == 2
        assert "unrecognized arguments" in finished.stderr


def report(*items: dict[str, object]) -> dict[str, object]:
    return {"version": "1", "install": list(items)}


def item(name: str, version: str, **more: object) -> dict[str, object]:
    source = {"url": f"https://x/{name}.whl", "archive_info": {"hashes": {"sha256": "0" * 64}}}
    return {"metadata": {"name": name, "version": version}, "download_info": source, "requested": True, **more}


def test_steps_are_told_from_the_report_alone() -> None:
    there = {
        name: Distribution(name=name, shown_name=name, version=version, info=Path("x"), requires=())
        for name, version in {"up": "1.9", "down": "2.0", "same": "1.0.0", "torch": "2.0+cu1"}.items()
    }
    holds = Holds(lock={"up": "1.9", "torch": "2.0+cu1", "new": "3"}, protected={"torch": "why"})
    found = read_report(
        report(
            item("Up", "1.10"), item("down", "2.0rc1"), item("same", "1.0"), item("new", "3.0"), item("torch", "2.0")
        ),
        there,
        holds,
    )
    assert [(step.name, step.action, step.lock, step.protected) for step in found.steps] == [
        ("down", "downgrade", None, None),
        ("new", "add", None, None),
        ("same", "reinstall", None, None),
        ("torch", "downgrade", "2.0+cu1", "why"),
        ("up", "upgrade", "1.9", None),
    ]
    assert [step.name for step in found.held] == ["torch", "up"]


def test_a_requirement_file_is_judged_line_by_line(pip_bundle: BundleTree, tmp_path: Path) -> None:
    wheels = make_wheel(tmp_path / "wheels", "thing").parent
    lines = [
        "# a comment",
        "--extra-index-url https://evil.example/simple",
        "-r ../../etc/passwd",
        "-e .",
        "x @ file:///etc/passwd",
        "C:\\wheels\\x.whl",
        "not a requirement",
        "thing>=1 ; python_version >= '3' --hash=sha256:00",
    ]
    wish = tmp_path / "wish.txt"
    wish.write_bytes("\r\n".join(lines).encode("utf-16"))
    done = call(pip_bundle.root / "install_package.sh", "--wheels-dir", wheels, "-r", wish, "--json", "--no-smoke")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [left["line"] for left in said["left_out"]] == [2, 3, 4, 5, 6, 7, 8]
    assert [(step["name"], step["action"]) for step in said["changes"]] == [("thing", "add")]
    assert f"{wish}:2: left out '--extra-index-url https://evil.example/simple': it is an option" in done.stderr


def test_every_remedy_has_a_pattern_that_compiles_and_the_first_match_wins() -> None:
    remedies = json.loads((REPOSITORY / "helper_scripts/portable/pip_remedies.json").read_text(encoding="utf-8"))
    for entry in remedies:
        assert set(entry) == {"pattern", "remedy"}
        re.compile(entry["pattern"])
    assert pip.explain("OSError: [Errno 28] No space left on device") == [remedies[4]["remedy"]]
    assert pip.explain("ResolutionImpossible\nNo matching distribution found") == [remedies[0]["remedy"]]
    assert pip.explain("all is well") == []
    assert pip.explain("[Errno -2] Name or service not known")[0].startswith("The package index cannot")


def test_a_package_without_record_is_not_touched(pip_bundle: BundleTree, tmp_path: Path) -> None:
    wheels = make_wheel(tmp_path / "wheels", "thing").parent
    make_wheel(wheels, "thing", "2.0")
    install = pip_bundle.root / "install_package.sh"
    assert call(install, "--wheels-dir", wheels, "thing==1.0", "--no-smoke").returncode == 0
    next(pip_bundle.root.rglob("thing-1.0.dist-info/RECORD")).unlink()
    finished = call(install, "--wheels-dir", wheels, "thing==2.0", "--no-smoke")
    assert finished.returncode == 1
    assert "lists no files" in finished.stderr
    assert installed(pip_bundle)["thing"] == "1.0"
