"""Moving a finished tree into place, again after any interruption, beside what a user has there."""

from __future__ import annotations

from pathlib import Path

import pytest

from packager.errors import InputError
from packager.realize import Place, _move_in, plan_delete


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
