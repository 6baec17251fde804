"""info, exec, help and the errors of an unreadable bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_bundles import REPOSITORY, call
from portable import programs
from portable.bundle import Bundle, read
from portable.cli import holds_window
from portable.errors import HelperError

from packager.bundle import BundleTree

MakeBundle = Callable[..., BundleTree]


def test_help_teaches_with_examples(make_bundle: MakeBundle) -> None:
    tree = make_bundle()
    for arguments in ([], ["--help"], ["install", "--help"], ["exec", "--help"]):
        finished = call(tree.root / "manage.sh", *arguments)
        assert finished.returncode == 0
        assert "example" in finished.stdout


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["--instance=none", "list"], ["install", "--no-such"], ["exec"], ["exec", "ls"], ["exec", "--"]],
)
def test_wrong_use_is_exit_code_2(make_bundle: MakeBundle, arguments: list[str]) -> None:
    finished = call(make_bundle().root / "manage.sh", *arguments)
    assert finished.returncode == 2
    assert "error:" in finished.stderr


def test_info_says_what_this_is_and_where(make_bundle: MakeBundle) -> None:
    tree = make_bundle("a b")
    (tree.app / "comfyui_version.py").write_text('# made\n__version__ = "0.3.64"\n', encoding="utf-8")
    found = json.loads(call(tree.root / "manage.sh", "info", "--json").stdout)
    assert found["bundle"] == "fake 1.2.3"
    assert found["app"] == "ComfyUI 0.3.64"
    assert found["location"] == str(tree.root)
    assert found["python"] == sys.version.split()[0]
    assert f"location: {tree.root}" in call(tree.root / "manage.sh", "info").stdout


def test_exec_runs_the_bundles_python_with_exact_arguments(make_bundle: MakeBundle, tmp_path: Path) -> None:
    tree = make_bundle()
    words = ["--", "a b", "$(touch pwned)", "", "--json"]
    code = "import json, os, sys; print(json.dumps([sys.executable, os.getcwd(), sys.argv[1:]]))"
    finished = call(tree.root / "manage.sh", "exec", "--", "python", "-c", code, *words, cwd=tmp_path)
    assert json.loads(finished.stdout) == [str(tree.python), str(tmp_path), words]
    assert call(tree.root / "manage.sh", "exec", "--", "python", "-c", "exit(9)").returncode == 9


def test_exec_finds_the_bundles_programs_first_and_tells_of_lost_ones(make_bundle: MakeBundle) -> None:
    tree = make_bundle()
    own = tree.scripts / "ls"
    own.write_text("#!/bin/sh\necho mine\n", encoding="utf-8")
    own.chmod(0o755)
    assert call(tree.root / "manage.sh", "exec", "--", "ls").stdout == "mine\n"
    finished = call(tree.root / "manage.sh", "exec", "--", "no-such-program")
    assert (finished.returncode, finished.stdout) == (1, "")
    assert "no-such-program" in finished.stderr


def test_exec_runs_on_a_bundle_that_is_still_being_built(make_bundle: MakeBundle, tmp_path: Path) -> None:
    """The build calls the helpers of the checkout on a tree without portable/."""
    tree = make_bundle()
    for file in (tree.portable / "bundle.json", tree.portable / "__main__.py"):
        file.unlink()
    portable = REPOSITORY / "helper_scripts/portable"
    command = [tree.python, "-I", portable, "exec", "--bundle", "bundle/../bundle", "--", "python", "-c"]
    finished = call(*command, "import os; print(os.environ['HF_HOME'], os.environ.get('RECIPE_SAYS'))", cwd=tmp_path)
    assert finished.stdout == f"{tree.root}/portable/cache/huggingface None\n"
    finished = call(*command[:-6], "exec", "--bundle", tmp_path, "--", "python")
    assert finished.returncode == 2
    assert "is no bundle" in finished.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is missing"),
        (b"", "cannot be read"),
        (b"\xff\xfe{}", "cannot be read"),
        (b"[]", "does not describe a bundle"),
        (b'{"format": 2}', "has format 2"),
        (b'{"format": 1}', "lacks or misspells a field ('name')"),
        (b'{"format": 1, "name": "", "version": "", "target": "", "python_version": "", "env": []}', "lacks or"),
    ],
)
def test_an_unreadable_bundle_file_is_told_with_a_remedy(tmp_path: Path, content: bytes | None, said: str) -> None:
    (tmp_path / "portable").mkdir()
    if content is not None:
        (tmp_path / "portable" / "bundle.json").write_bytes(content)
    with pytest.raises(HelperError, match=r"unzip|portable/ folder") as caught:
        read(tmp_path)
    assert said in str(caught.value)


def test_windows_starts_the_standalone_build() -> None:
    bundle = Bundle(
        root=Path("/b"),
        name="n",
        version="1",
        target="windows-x86_64",
        python_version="3.12.1",
        app="ComfyUI",
        env={},
        launch_args=("--fast",),
    )
    words = programs.app_command(bundle, ["--x"], windows=True)
    assert words[3:] == ["--windows-standalone-build", "--fast", "--x"]
    assert programs.app_command(bundle, ["--x"], windows=False)[3:] == ["--fast", "--x"]


@pytest.mark.parametrize(
    ("arguments", "code", "holds"),
    [
        ([], 0, True),
        (["run"], 1, True),
        (["run", "--cpu"], 1, True),
        (["install"], 2, True),
        (["run"], 0, False),
        (["run", "--port", "1"], 1, False),
        (["install", "x"], 1, False),
    ],
)
def test_a_window_opened_by_a_double_click_stays_while_there_is_something_to_read(
    arguments: list[str], code: int, holds: bool
) -> None:
    assert holds_window(arguments, code) is holds
