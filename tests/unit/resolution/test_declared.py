"""The four files a repository may state its requirements in, with the line of each; none of them is executed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.resolution.declared import declared_requirements

PYPROJECT = """\
[build-system]
requires = ["setuptools"]

[project]
name = "node"
description = "numpy for all"
dependencies = [
  "numpy>=1.25",  # comment
  'scipy; sys_platform == "linux"',
  "local @ file:///home/me/x.whl",
]
"""
SETUP_CFG = "[metadata]\nname = node\n\n[options]\ninstall_requires =\n    einops\n    tqdm>=4 # bar\n    ./local\n"
SETUP_PY = """\
import os
from setuptools import setup
os.system("touch executed")
setup(
    name="node",
    install_requires=[
        "kornia>=0.7",
        "numpy" + os.environ["X"],
        *open("requirements-dev.txt"),
    ],
)
"""


def repository(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (
            folder
            / name.replace("_txt", ".txt").replace("_toml", ".toml").replace("_cfg", ".cfg").replace("_py", ".py")
        ).write_text(text)
    return folder


def read(folder: Path) -> tuple[list[tuple[str, int, str]], list[tuple[str, int, str]]]:
    found = declared_requirements(folder)
    return (
        [(line.file, line.line, line.requirement) for line in found.kept],
        [(item.file, item.line, item.text) for item in found.removed],
    )


def test_the_first_file_counts(tmp_path: Path) -> None:
    repository(tmp_path, setup_py=SETUP_PY)
    assert read(tmp_path)[0][0][0] == "setup.py"
    repository(tmp_path, setup_cfg=SETUP_CFG)
    assert read(tmp_path)[0][0][0] == "setup.cfg"
    repository(tmp_path, pyproject_toml=PYPROJECT)
    assert read(tmp_path)[0][0][0] == "pyproject.toml"
    repository(tmp_path, requirements_txt="pillow\n")
    assert read(tmp_path) == ([("requirements.txt", 1, "pillow")], [])


def test_pyproject_entries_have_their_real_lines(tmp_path: Path) -> None:
    assert read(repository(tmp_path, pyproject_toml=PYPROJECT)) == (
        [("pyproject.toml", 8, "numpy>=1.25"), ("pyproject.toml", 9, 'scipy; sys_platform == "linux"')],
        [("pyproject.toml", 10, "local @ file:///home/me/x.whl")],
    )


def test_dynamic_dependencies_are_read_where_setuptools_is_told_to(tmp_path: Path) -> None:
    text = '[project]\nname = "n"\ndynamic = ["dependencies"]\n[tool.setuptools.dynamic]\n'
    text += 'dependencies = {file = ["deps.txt", "../outside.txt"]}\n'
    (tmp_path / "outside.txt").write_text("evil\n")
    node = tmp_path / "node"
    node.mkdir()
    repository(node, pyproject_toml=text, deps_txt="# head\nrich\n")
    assert read(node) == ([("deps.txt", 2, "rich")], [("pyproject.toml", 1, "../outside.txt")])


def test_a_project_table_without_dependencies_passes_on(tmp_path: Path) -> None:
    repository(tmp_path, pyproject_toml='[project]\nname = "n"\n[tool.x]\ny = 1\n', setup_cfg=SETUP_CFG)
    assert read(tmp_path)[0] == [("setup.cfg", 6, "einops"), ("setup.cfg", 7, "tqdm>=4")]


@pytest.mark.parametrize("text", ["[project\n", "[project]\ndependencies = 5\n", "project = 3\n", "[project]\n" * 2])
def test_a_broken_file_is_on_record_and_the_next_one_read(tmp_path: Path, text: str) -> None:
    kept, removed = read(repository(tmp_path, pyproject_toml=text, setup_cfg=SETUP_CFG))
    assert [requirement for _, _, requirement in kept] == ["einops", "tqdm>=4"]
    assert removed[0] == ("pyproject.toml", 1, "(whole file)")


def test_setup_py_is_read_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kept, removed = read(repository(tmp_path, setup_py=SETUP_PY))
    assert kept == [("setup.py", 7, "kornia>=0.7")]
    assert [(line, text) for _, line, text in removed] == [
        (8, "'numpy' + os.environ['X']"),
        (9, "*open('requirements-dev.txt')"),
    ]
    assert not (tmp_path / "executed").exists()


def test_a_requirements_file_that_leaves_the_repository_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("evil\n")
    node = tmp_path / "node"
    node.mkdir()
    (node / "requirements.txt").symlink_to(tmp_path / "secret.txt")
    assert read(node) == ([], [("requirements.txt", 1, "(whole file)")])


@settings(max_examples=60)
@given(st.sampled_from(["pyproject.toml", "setup.cfg", "setup.py", "requirements.txt"]), st.binary(max_size=200))
def test_no_content_raises(tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("node")
    start = {
        "pyproject.toml": b"[project]\ndependencies=[",
        "setup.cfg": b"[options]\ninstall_requires=",
        "setup.py": b"setup(",
    }
    (folder / name).write_bytes(start.get(name, b"") + content)
    declared_requirements(folder)
