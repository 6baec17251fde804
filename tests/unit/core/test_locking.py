"""`packager lock` as its user meets it: real repositories in folders, the real index, and the files it leaves."""

from __future__ import annotations

import errno
import functools
import json
from pathlib import Path
from typing import Any

import pytest
from simple_index import serve

from packager.cli import main
from packager.recipe import load_recipe
from packager.runtimes import HostRuntime, RuntimeFacts, RuntimeRequest

CORE = "click>=8.0\nidna==3.4\n"
NODE = "# a comment\nidna==3.7\nflask==3.0.0\n"


@pytest.fixture(autouse=True)
def known_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's Python is looked at once for all tests; it takes a second each time."""
    monkeypatch.setattr(HostRuntime, "inspect", lambda _, request: _inspect(request))


@functools.cache
def _inspect(request: RuntimeRequest) -> RuntimeFacts:
    return _REAL_INSPECT(HostRuntime(), request)


_REAL_INSPECT = HostRuntime.inspect


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for name, text in (("core", CORE), ("node", NODE)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "requirements.txt").write_text(text)
    (tmp_path / "core" / "main.py").write_text("")
    path = tmp_path / "demo.yml"
    write(path)
    return path


def write(path: Path, extra: str = "") -> None:
    path.write_text(
        "schema_version: 2\nversion_id: demo\nruntime: host\ncomfy: {repo: ./core}\n"
        f"custom_nodes:\n  - {{repo: ./node, name: a-node}}\n{extra}"
    )


def run(capsys: pytest.CaptureFixture[str], recipe: Path, *words: str, command: str = "lock") -> tuple[int, Any, str]:
    """Exit code, the JSON on stdout, and stderr."""
    code = main([command, str(recipe), "--work", str(recipe.parent / "work"), "--json", *words])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def versions(value: Any) -> dict[str, str]:
    return {package["name"]: package["version"] for package in value["packages"]}


def test_conflict_is_told_recorded_and_two_locks_agree(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, value, said = run(capsys, recipe, "--quiet")
    first = Path(value["lock"]).read_bytes()
    assert code == 0
    assert versions(value)["idna"] == "3.4"
    assert "conflict settled: idna" in said
    assert "a-node wants 'idna==3.7' (a-node/requirements.txt:2)" in said
    assert all(package["index"] and "@" not in package["index"] for package in value["packages"])
    assert value["recipe_digest"] == load_recipe(recipe).digest
    assert [repo["tree"].partition(":")[0] for repo in value["repositories"]] == ["sha256", "sha256"]
    assert all(package["hashes"] for package in value["packages"])
    assert set(value["runtime"]) == {"name", "python"}
    run(capsys, recipe, "--upgrade")
    assert Path(value["lock"]).read_bytes() == first


def test_upgrade_of_one_package_leaves_the_others(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, value, _ = run(capsys, recipe)
    path = Path(value["lock"])
    old = json.loads(path.read_text())
    for package in old["packages"]:
        if package["name"] in ("click", "jinja2"):
            package["version"] = {"click": "8.1.3", "jinja2": "3.1.2"}[package["name"]]
    path.write_text(json.dumps(old))
    _, value, _ = run(capsys, recipe)
    assert versions(value)["click"] == "8.1.3", "a current lock is left alone"
    _, value, _ = run(capsys, recipe, "--upgrade", "Click")
    assert versions(value)["jinja2"] == "3.1.2"
    assert versions(value)["click"] != "8.1.3"
    code, value, _ = run(capsys, recipe, "--upgrade", "no-such")
    assert (code, "holds no package, repository or addition 'no-such'" in value["error"]) == (2, True)
    _, value, _ = run(capsys, recipe, "--upgrade")
    assert versions(value)["jinja2"] != "3.1.2"


def test_a_build_refuses_a_stale_lock_unless_told_to_refresh_it(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, value, _ = run(capsys, recipe)
    path = Path(value["lock"])
    write(recipe, "python_packages: [six]\n")
    code, value, _ = run(capsys, recipe, "--dry-run", command="build")
    assert code == 2
    assert "the recipe has changed" in value["error"]
    assert "--refresh-lock" in value["error"]
    code, value, _ = run(capsys, recipe, "--dry-run", "--refresh-lock", command="build")
    assert code == 0
    assert "six" in versions(value["lock"])
    assert "six" in versions(json.loads(path.read_text()))


def test_what_cannot_be_settled_exits_4_with_both_lines(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(recipe, "python_packages:\n  - six\n  - idna==3.7\n")
    code, value, _ = run(capsys, recipe)
    assert code == 4
    assert "ComfyUI wants 'idna==3.4' (ComfyUI/requirements.txt:2)" in value["error"]
    assert "python_packages wants 'idna==3.7' (demo.yml:9)" in value["error"]


def test_nodes_that_want_two_addresses_exit_4_with_both_lines(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither of two wheels is known to be the newer one; one of the lines lies in an included file."""
    wheel = "six-1.16.0-py2.py3-none-any.whl"
    with serve("a", "b") as indexes:
        for index in indexes:
            index.add("six", "1.16.0", "py2.py3-none-any")
        one, two = (f"six @ {index.address}/six/{wheel}" for index in indexes)
        monkeypatch.setattr(
            "packager.resolution.requirements._ADDRESSES", ("https://", "git+https://", "http://127.0.0.1")
        )
        other = tmp_path / "other"
        other.mkdir()
        (other / "requirements.txt").write_text("idna\n-r more.txt\n")
        (other / "more.txt").write_text(f"\n{one}\n")
        (tmp_path / "node" / "requirements.txt").write_text(f"idna\n{two}\n")
        write(recipe, "  - {repo: ./other}\n")
        code, value, _ = run(capsys, recipe)
    assert code == 4
    assert f"a-node wants '{two}' (a-node/requirements.txt:2)" in value["error"]
    assert f"other wants '{one}' (other/more.txt:2)" in value["error"]
    assert "a-node" in value["error"].splitlines()[0]
    assert "other" in value["error"].splitlines()[0]


def test_an_address_that_cannot_be_had_exits_3_with_its_line(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    lost = "lost @ https://127.0.0.1:1/lost-1.0-py3-none-any.whl"
    (tmp_path / "node" / "requirements.txt").write_text(f"idna\n\n{lost}\n")
    code, value, _ = run(capsys, recipe)
    assert code == 3
    assert value["error"].startswith("a-node: ")
    assert f"a-node wants '{lost}' (a-node/requirements.txt:3)" in value["error"]
    assert value["requirement"] == lost


def test_a_file_that_cannot_be_read_exits_3_and_is_named(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails cannot be had here: the read does."""
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "requirements.txt" and path.parent.name == "a-node":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    code, value, _ = run(capsys, recipe)
    assert code == 3
    assert "a-node/requirements.txt:1: cannot be read: Input/output error" in value["error"]


def test_explain_names_chain_line_and_rule(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, value, _ = run(capsys, recipe, "--explain", "MarkupSafe")
    assert code == 0
    (asked,) = value["asked"]
    assert (asked["layer"], asked["file"], asked["line"]) == ("a-node", "a-node/requirements.txt", 3)
    assert [step.split("==")[0] for step in asked["through"]] == ["flask", "jinja2"] or [
        step.split("==")[0] for step in asked["through"]
    ] == ["flask", "werkzeug"]
    assert value["rule"].startswith("newest")
    _, value, _ = run(capsys, recipe, "--explain", "idna")
    assert value["rule"].startswith("core-wins")
    assert {wish["text"] for wish in value["asked"]} == {"idna==3.4", "idna==3.7"}
    _, value, _ = run(capsys, recipe, "--explain", "pip")
    assert value["asked"] == []
    code, value, _ = run(capsys, recipe, "--explain", "flaks")
    assert (code, "did you mean flask" in value["error"]) == (2, True)
    assert main(["lock", str(recipe), "--work", str(recipe.parent / "work"), "--explain", "idna"]) == 0
    said = capsys.readouterr().out
    assert "a-node: 'idna==3.7' (a-node/requirements.txt:2)" in said
    assert "overrides: ['idna==3.7']" in said


def test_several_targets_are_locked_one_file_each(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, value, _ = run(capsys, recipe, "--target", "linux-x86_64", "--target", "linux-x86_64")
    assert value["lock"].endswith("demo.linux-x86_64.lock.json")
    code, value, _ = run(capsys, recipe, "--target", "linux-x86_64", "--target", "windows-x86_64")
    assert (code, "miniforge" in value["error"]) == (2, True), "runtime host knows this machine's Python only"
