"""Without a network all that is missing is told in one list with exit code 3, also for a plain folder of wheels."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from simple_index import SimpleIndex, serve

from packager import targets, uv
from packager.cli import main
from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors
from packager.gathering.offline import Stock
from packager.lock import load_lock
from packager.origins import Origins
from packager.recipe import load_recipe
from packager.settings import Settings

GONE = "https://example.invalid/org/gone-node"
MODEL = {"url": "https://example.invalid/a.safetensors", "type": "vae"}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleIndex]:
    """`app` needs `deep`, which needs `deeper`."""
    with serve("pypi") as (pypi,):
        pypi.add("app", "1.0", requires=["deep"])
        pypi.add("deep", "1.0", requires=["deeper>=2"])
        pypi.add("deeper", "2.0")
        pypi.add("plain", "1.0")
        pypi.add("swap", "1.0")
        pypi.add("pip", "25.0")
        monkeypatch.setenv("UV_DEFAULT_INDEX", pypi.address)
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
        monkeypatch.setenv("PACKAGER_CACHE_DIR", str(tmp_path / "cache"))
        monkeypatch.setenv("PACKAGER_CONFIG", str(tmp_path / "none.yml"))
        (tmp_path / "none.yml").write_text("{}\n")
        yield pypi


@pytest.fixture
def wheels(index: SimpleIndex, tmp_path: Path) -> Path:
    """A plain folder with `plain`, `app`, pip, and a `deeper` that is too old."""
    index.add("deeper", "1.0")
    folder = tmp_path / "wheels"
    folder.mkdir()
    for file in ("plain-1.0", "app-1.0", "pip-25.0", "deeper-1.0"):
        name = f"{file}-py3-none-any.whl"
        (folder / name).write_bytes(index.wheels[file.partition("-")[0]][name][0])
    del index.wheels["deeper"]["deeper-1.0-py3-none-any.whl"]
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "main.py").write_text("")
    (tmp_path / "core" / "requirements.txt").write_text("plain\napp\nnever-made\n")
    return write(tmp_path / "recipe.json", custom_nodes=[{"repo": GONE, "name": "gone"}], models=[MODEL])


def write(path: Path, **fields: object) -> Path:
    value = {"schema_version": 2, "version_id": "t", "runtime": "host", "comfy": {"repo": "./core"}, **fields}
    path.write_text(json.dumps(value))
    return path


def call(capsys: pytest.CaptureFixture[str], command: str, recipe: Path, *words: str | Path) -> tuple[int, Any]:
    work = recipe.parent / "work"
    code = main([command, str(recipe), "--work", str(work), "--json", "--quiet", *map(str, words)])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("words", [("lock",), ("build", "--dry-run"), ("build",)])
def test_without_a_lock_all_that_a_resolution_lacks_is_listed(
    recipe: Path, wheels: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    command, *more = words
    code, value = call(capsys, command, recipe, "--offline", "--wheels-dir", wheels, *more)
    assert code == 3
    kinds = [re.split(r"[:,] ", line)[0] for line in value["missing"]]
    assert sorted(kinds) == ["model vae/a.safetensors", "package deep", "package never-made", "repository gone"]
    assert all(line in value["error"] for line in value["missing"])
    assert str(wheels) in value["error"]
    assert "it is not known what missing packages need in turn" in value["error"]
    assert not (recipe.parent / "dist").exists()


def test_with_a_lock_every_package_without_a_file_is_listed_before_anything_is_installed(
    recipe: Path, index: SimpleIndex, wheels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plain` lies in the folder; then one more is in uv's cache, and at last all are somewhere."""
    (tmp_path / "core" / "requirements.txt").write_text("plain\napp\n")
    write(recipe, models=[MODEL], patches=[{"uninstall": ["plain"], "install": ["swap"]}])
    code, value = call(capsys, "lock", recipe)
    assert code == 0, value
    lock = load_lock(Path(value["lock"]))
    (wheels / "app-1.0-py3-none-any.whl").unlink()
    shutil.rmtree(tmp_path / "uv-cache")
    code, value = call(capsys, "build", recipe, "--offline", "--wheels-dir", wheels)
    assert code == 3
    names = [line.split(": ")[0] for line in value["missing"]]
    assert sorted(names) == [
        "model vae/a.safetensors",
        "package app",
        "package deep",
        "package deeper",
        "package swap",
    ]
    assert not (tmp_path / "work" / "bundle").exists()

    origins = Origins(settings=Settings(), cache=Cache(tmp_path / "cache"), mirrors=Mirrors.parse([]), wheels=wheels)
    origins = dataclasses.replace(origins, offline=True)
    read = dataclasses.replace(load_recipe(recipe), models=())
    stock = Stock(recipe=read, target=targets.current(), origins=origins, work=tmp_path / "work")
    into = ["--no-deps", "--target", str(tmp_path / "anywhere")]
    uv.run_uv(["pip", "install", "--quiet", "--no-config", *into, "deep==1.0", "deeper==2.0"])
    assert [line.split(": ")[0] for line in stock.lacks_for(lock)] == ["package app", "package swap"]
    for name in ("app", "swap"):
        file = f"{name}-1.0-py3-none-any.whl"
        (wheels / file).write_bytes(index.wheels[name][file][0])
    assert stock.lacks_for(lock) == []
