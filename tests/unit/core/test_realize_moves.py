"""What realize decides and does by itself: which Python, and moving a finished tree into place beside the user's."""

from __future__ import annotations

import io
import json
import platform
import sys
from pathlib import Path

import pytest

from packager import targets
from packager.build_options import BuildOptions
from packager.console import Console
from packager.errors import InputError
from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors
from packager.lock import Lock, LockedRepository
from packager.origins import Origins
from packager.realize import Place, _move_in, choose_runtime, plan_delete
from packager.recipe import load_recipe
from packager.settings import Settings


def files(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}


def write(root: Path, **content: str) -> Path:
    for name, text in content.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_move_goes_on_after_an_interruption_and_keeps_the_users_files(tmp_path: Path) -> None:
    tree = write(tmp_path / "tree", python__b="ours", app__c="ours", app__mine="ours")
    (tree / "app" / "empty" / "deep").mkdir(parents=True)
    root = write(tmp_path / "root", python__a="moved before", app__mine="the user's", app__more="the user's")
    kept = _move_in(tree, root)
    assert kept == [root / "app" / "mine"]
    assert files(root) == {
        "python/a": "moved before",
        "python/b": "ours",
        "app/c": "ours",
        "app/mine": "the user's",
        "app/more": "the user's",
    }
    assert (root / "app" / "empty" / "deep").is_dir()
    assert not tree.exists()


def test_root_that_is_a_link_is_not_deleted(tmp_path: Path) -> None:
    """Someone put a link in place of what was realized."""
    victim = write(tmp_path / "victim", python__precious="x")
    home = write(tmp_path / "home", **{".packager__demo__realized.json": '{"format": 1, "id": "demo", "files": {}}'})
    (home / "demo").symlink_to(victim)
    with pytest.raises(InputError, match="was not made by"):
        plan_delete("demo", home, everything=True)


@pytest.mark.parametrize("word", ["", ".", "..", "a/b", "../a", ".packager", "a\n", "-x"])
def test_id_that_could_leave_the_home_is_refused(tmp_path: Path, word: str) -> None:
    with pytest.raises(InputError, match="is no version_id"):
        Place(home=tmp_path, id=word)


@pytest.mark.skipif(sys.platform != "linux", reason="runtime host is for Linux")
def test_python_of_a_recipe_that_names_none(tmp_path: Path) -> None:
    """This machine's own where it will do, unless the recipe, the command line or a lock say otherwise."""
    path = tmp_path / "versions.json"
    options = BuildOptions(
        target=targets.current(),
        output=tmp_path,
        work=tmp_path / "work",
        origins=Origins(settings=Settings(), cache=Cache(tmp_path / "cache"), mirrors=Mirrors.parse([])),
    )

    def chosen(**fields: object) -> str:
        value = {"schema_version": 2, "version_id": "demo", "comfy": {"repo": "https://example.org/c"}, **fields}
        path.write_text(json.dumps(value))
        console = Console(quiet=True, stream=io.StringIO())
        return choose_runtime(load_recipe(path), options, console).runtime

    assert chosen() == "host"
    assert chosen(python=platform.python_version()) == "host"
    assert chosen(python="3.99") == "miniforge"
    assert chosen(conda_packages=["ffmpeg"]) == "miniforge"
    assert chosen(runtime="miniforge") == "miniforge"
    package = LockedRepository(name="ComfyUI", url="https://example.org/c", ref=None, commit="", tree="0" * 40)
    lock = Lock(
        version_id="demo",
        recipe_digest="",
        target=targets.current().name,
        accelerator=None,
        runtime={"name": "miniforge", "python": "3.12.1"},
        repositories=(package,),
        packages=(),
    )
    lock.save(tmp_path / f"versions.{targets.current().name}.lock.json")
    assert chosen() == "miniforge"
