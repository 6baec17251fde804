from __future__ import annotations

import difflib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from packager.errors import InputError
from packager.lock import Lock, LockedPackage, LockedRepository, load_lock
from packager.resolution.compiled import parse_compiled
from packager.resolution.conflicts import Decision, Wish
from packager.resolution.requirements import Removed

COMPILED = """\
aiohttp==3.13.2 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via
    #   -c constraints.in
    #   -r ComfyUI.txt
    #   --override overrides.in
    #   hello
    # from https://user:secret@index.example.org/simple?token=1
attrs==25.1.0 \\
    --hash=sha256:cc
    # via aiohttp
    # from file:///home/me/my%20wheels
tool @ git+https://github.com/org/tool@0123456789012345678901234567890123456789
    # via -r node.txt
"""

WISH = Wish(layer="n", file="n/requirements.txt", line=2, text="attrs<2", through=("a==1",))


def lock() -> Lock:
    return Lock(
        version_id="demo",
        recipe_digest="0" * 64,
        target="linux-x86_64",
        accelerator=None,
        runtime={"name": "host", "python": "3.11.7"},
        repositories=(LockedRepository(name="ComfyUI", url="https://x", ref=None, commit="1" * 40, tree="2" * 40),),
        packages=tuple(parse_compiled(COMPILED)),
        asked=(WISH,),
        decisions=(
            Decision(
                package="attrs",
                wants=(WISH,),
                overruled=(WISH,),
                chosen="attrs==25.1.0",
                rule="core-wins",
                why="w",
                override="o",
            ),
        ),
        removed=(Removed(file="n/requirements.txt", line=3, text="-e .", reason="an option"),),
    )


def test_uv_output_is_read_whole() -> None:
    aiohttp, attrs, tool = parse_compiled(COMPILED)
    assert aiohttp == LockedPackage(
        name="aiohttp",
        version="3.13.2",
        url=None,
        hashes=("sha256:aa", "sha256:bb"),
        via=("ComfyUI", "hello"),
        index="https://index.example.org/simple",
    )
    assert attrs.via == ("aiohttp",)
    assert attrs.index == "my wheels", "where it lies is this machine's affair"
    assert tool.url is not None
    assert tool.url.endswith("0123456789")
    assert aiohttp.requirement == "aiohttp==3.13.2 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb"


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    lock().save(tmp_path / "lock.json")
    assert load_lock(tmp_path / "lock.json") == lock()
    assert load_lock(tmp_path / "lock.json").digest == lock().digest
    assert replace(lock(), target="macos-arm64").digest != lock().digest


def test_constraints_hold_versions_only() -> None:
    assert lock().constraints() == "aiohttp==3.13.2\nattrs==25.1.0\n"


def test_constraints_follow_what_patches_have_changed() -> None:
    changed = {"aiohttp": "3.12", "attrs": "", "insightface": "0.7.3"}
    assert lock().constraints(changed) == "aiohttp==3.12\ninsightface==0.7.3\n"


def test_index_is_that_of_the_annotation() -> None:
    compiled = COMPILED.replace(
        "    # via aiohttp", "    # via aiohttp\n    # from https://me:pw@example.org/whl/cu128/"
    )
    compiled = compiled.replace("    #   hello", "    #   hello\n    # from file:///home/me/wheels")
    aiohttp, attrs, tool = parse_compiled(compiled)
    assert (attrs.index, attrs.via) == ("https://example.org/whl/cu128/", ("aiohttp",))
    assert (aiohttp.index, aiohttp.via) == ("wheels", ("ComfyUI", "hello"))
    assert tool.index is None


@pytest.mark.parametrize(
    "change",
    [
        {"format": 99},
        {"repositories": []},
        {"repositories": [{"name": "../x", "url": "", "ref": None, "commit": "", "tree": "2" * 40}]},
        {"packages": [{"name": "a\n--index-url x", "version": "1", "url": None, "hashes": [], "via": []}]},
        {"packages": [{"name": "a", "version": "1 --pre", "url": None, "hashes": [], "via": []}]},
        {"packages": [{"name": "a", "version": "", "url": "file:///etc/x", "hashes": [], "via": []}]},
        {"packages": [{"name": "a", "version": "1", "url": None, "hashes": ["sha256:0 --pre"], "via": []}]},
        {"decisions": [{"package": "a"}]},
        {"asked": [{"layer": "a", "file": "b", "line": "1", "text": "c", "through": []}]},
        {"surprise": 1},
    ],
)
def test_hostile_lock_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "lock.json"
    path.write_text(json.dumps({**lock().to_json(), **change}))
    with pytest.raises(InputError, match="make it anew"):
        load_lock(path)


def test_lock_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text("<html>")
    with pytest.raises(InputError, match="cannot be read as a lock"):
        load_lock(tmp_path / "lock.json")


def test_a_new_version_changes_its_lines_alone(tmp_path: Path) -> None:
    """A lock is read in reviews: indented, in the order of names, a value a line."""
    old = lock()
    first, *rest = old.packages
    old.save(tmp_path / "old.json")
    replace(old, packages=(replace(first, version="99"), *rest)).save(tmp_path / "new.json")
    lines = [(tmp_path / name).read_text().splitlines() for name in ("old.json", "new.json")]
    changed = [line for line in difflib.ndiff(*lines) if line[:1] in "+-"]
    assert [line.replace(" ", "") for line in changed] == ['-"version":"3.13.2",', '+"version":"99",']
