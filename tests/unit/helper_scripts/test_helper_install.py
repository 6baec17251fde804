"""What the build puts into a bundle: the right files for each system, with the right ends of line and modes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from string import Template

import jsonschema
import pytest
from fake_bundles import REPOSITORY, facts

from packager import targets
from packager.bundle import BundleTree
from packager.helpers import install_helpers, plan_helpers, readme_words

HELPERS = REPOSITORY / "helper_scripts"


def test_file_list_keeps_its_schema_and_forgets_no_file() -> None:
    rules = json.loads((HELPERS / "files.json").read_text(encoding="utf-8"))
    schema = json.loads((HELPERS / "files.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(rules)
    planned = {file.source for target in targets.TARGETS.values() for file in plan_helpers(target)}
    there = {path for path in HELPERS.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    build_side = {HELPERS / "files.json", *HELPERS.glob("*.schema.json")}
    assert there - build_side == planned


@pytest.mark.parametrize("name", targets.TARGETS)
def test_each_target_gets_its_own_files(tmp_path: Path, name: str) -> None:
    target = targets.get(name)
    tree = BundleTree(root=tmp_path / "b", target=target, python_version="3.12.1")
    placed = install_helpers(tree, facts(target, name="my-app", glibc_floor="2.36" if target.os == "linux" else None))
    assert sorted(str(path) for path in placed) == sorted(
        path.relative_to(tree.root).as_posix() for path in tree.root.rglob("*") if path.is_file()
    )
    fronts = {path.name for path in tree.root.iterdir() if path.suffix in (".sh", ".bat")}
    assert {Path(front).suffix for front in fronts} == {target.script_suffix}
    assert {Path(front).stem for front in fronts} == {"install_package", "manage", "run_comfyui", "run_comfyui_cpu"}
    for path in tree.root.rglob("*"):
        if not path.is_file():
            continue
        content = path.read_bytes()
        crlf = target.is_windows and (path.suffix == ".bat" or path.name == "README.txt")
        assert content.count(b"\r\n") == (content.count(b"\n") if crlf else 0), path
        assert path.stat().st_mode & 0o777 == (0o755 if path.suffix == ".sh" else 0o644), path
    readme = (tree.root / "README.txt").read_text(encoding="ascii")
    assert f"run_comfyui{target.script_suffix}" in readme
    assert "my-app 1.2.3" in readme
    assert ("glibc 2.36" in readme) == (target.os == "linux")
    assert "$" not in readme
    assert max(map(len, readme.splitlines())) <= 90


def test_readme_uses_every_word_it_is_given() -> None:
    template = Template((HELPERS / "README.txt.template").read_text(encoding="utf-8"))
    target = targets.get("linux-x86_64")
    words = readme_words(target, facts(target))
    for word in words:
        others = {name: value for name, value in words.items() if name != word}
        with pytest.raises(KeyError, match=word):
            template.substitute(others)


def test_a_second_install_gives_the_same_bytes_and_drops_nothing_else(tmp_path: Path) -> None:
    target = targets.get("windows-x86_64")
    tree = BundleTree(root=tmp_path / "b", target=target, python_version="3.12.1")
    install_helpers(tree, facts(target))
    (tree.portable / "state").mkdir()
    (tree.portable / "state" / "mine").touch()
    before = {path: path.read_bytes() for path in tree.root.rglob("*") if path.is_file()}
    install_helpers(tree, facts(target))
    assert {path: path.read_bytes() for path in tree.root.rglob("*") if path.is_file()} == before


def test_sources_checked_out_with_crlf_make_the_same_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = targets.get("linux-x86_64")
    install_helpers(BundleTree(root=tmp_path / "a", target=target, python_version="3.12.1"), facts(target))
    copy = tmp_path / "helper_scripts"
    shutil.copytree(HELPERS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for path in copy.rglob("*.sh"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    monkeypatch.setattr("packager.resources.helper_scripts", lambda: copy)
    install_helpers(BundleTree(root=tmp_path / "b", target=target, python_version="3.12.1"), facts(target))
    for path in (tmp_path / "a").glob("*.sh"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
