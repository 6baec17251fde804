"""Runtime miniforge from a local channel and a local installer: nothing here needs the network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
import yaml

from packager import targets
from packager.bundle import BundleTree
from packager.cli import main
from packager.console import Console
from packager.errors import FetchError, InputError, PackagerError
from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors
from packager.filesystem import tree_digest
from packager.gathering.runtime import gather_runtime
from packager.lock import Lock
from packager.origins import Origins
from packager.papers.inventory import inventory
from packager.process import CommandError
from packager.recipe import load_recipe
from packager.runtimes import HostRuntime, MiniforgeRuntime, RuntimeFacts, RuntimeRequest
from packager.runtimes.installation import tool_folder
from packager.runtimes.packing import pack
from packager.settings import Settings

pytest.importorskip("rattler", reason="py-rattler has no wheel for this machine")

from conda_channel import PLACEHOLDER, index, make_channel, make_installer, make_package

_FOLDER = Path(sys.modules[MiniforgeRuntime.__module__].__file__ or "").parent
_QUIET = Console(quiet=True)


@dataclass(frozen=True, kw_only=True)
class World:
    """`cache` is where the shared environment was made; `request` asks for it."""

    folder: Path
    cache: Path
    installer: Path
    request: RuntimeRequest
    facts: RuntimeFacts

    @property
    def environment(self) -> Path:
        return Path(self.facts.build_paths[0])


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("conda")
    target = targets.current()
    host = HostRuntime().inspect(RuntimeRequest(python=None, target=target))
    tree = BundleTree(root=folder / "host", target=target, python_version=host.python_version)
    tree.root.mkdir()
    HostRuntime().provision(tree, host, console=_QUIET)
    make_channel(folder / "channel", tree.prefix, host.python_version, folder / "work")
    installer = make_installer(folder / "github" / "conda-forge/miniforge/releases/latest/download")
    request = RuntimeRequest(
        python=host.python_version,
        target=target,
        conda_packages=("extra",),
        channels=((folder / "channel").as_uri(),),
        mirrors=Mirrors.parse([f"https://github.com/={folder / 'github'}/"]),
        console=_QUIET,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PACKAGER_CACHE_DIR", str(folder / "cache"))
        facts = MiniforgeRuntime().inspect(request)
    return World(folder=folder, cache=folder / "cache", installer=installer, request=request, facts=facts)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACKAGER_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def shared_cache(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PACKAGER_CACHE_DIR", str(world.cache))
    return world.cache


@pytest.fixture
def damaged(world: World, tmp_path: Path) -> Path:
    """A copy of the environment to spoil."""
    return Path(shutil.copytree(world.environment, tmp_path / "env", symlinks=True))


def _provision(world: World, root: Path) -> BundleTree:
    tree = BundleTree(root=root, target=world.request.target, python_version=world.facts.python_version)
    root.mkdir(parents=True)
    MiniforgeRuntime().provision(tree, world.facts, console=_QUIET)
    return tree


def test_the_table_follows_its_schema() -> None:
    table = yaml.safe_load((_FOLDER / "miniforge.yml").read_text())
    jsonschema.validate(table, json.loads((_FOLDER / "miniforge.schema.json").read_text()))


def test_every_package_is_known_by_address_and_hash(world: World) -> None:
    head, *lines = world.facts.identity["explicit"].splitlines()
    assert head == "@EXPLICIT"
    assert [line.rpartition("/")[2].split("-")[0] for line in lines] == ["extra", "python", "pip"], "dependencies first"
    for line in lines:
        url, _, digest = line.partition("#sha256:")
        assert hashlib.sha256(Path(unquote(urlsplit(url).path)).read_bytes()).hexdigest() == digest


def test_a_gathered_python_is_made_where_neither_channel_nor_installer_is(
    world: World, own_cache: Path, tmp_path: Path
) -> None:
    """As `packager download` and then `build --offline` do; what cannot be had is told all at once."""
    recipe_file = tmp_path / "recipe.json"
    document = {"schema_version": 2, "version_id": "t", "comfy": {"repo": "https://example.org/c"}}
    recipe_file.write_text(json.dumps({**document, "runtime": "miniforge"}))
    explicit = world.facts.identity["explicit"]
    runtime = {"name": "miniforge", "python": world.facts.python_version, "explicit": explicit}
    lock = Lock(
        version_id="t",
        recipe_digest="",
        target=world.request.target.name,
        accelerator=None,
        runtime=runtime,
        repositories=(),
        packages=(),
    )
    origins = Origins(settings=Settings(), cache=Cache(own_cache), mirrors=world.request.mirrors)
    means = {"target": world.request.target, "origins": origins, "console": _QUIET}
    pantry = tmp_path / "pantry"
    mirrors = gather_runtime(load_recipe(recipe_file), lock, pantry, **means)
    assert len(mirrors) == len(explicit.splitlines()) + 1  # an installer with its checksum, and @EXPLICIT is no package
    away = [world.folder / "channel", world.folder / "github"]
    for folder in away:
        folder.rename(folder.with_name(f"{folder.name} away"))
    try:
        own = Mirrors.from_pairs({url: str(pantry / path) for url, path in mirrors.items()})
        facts = MiniforgeRuntime().inspect(replace(world.request, explicit=explicit, mirrors=own, offline=True))
        missing = [line.partition("#")[0].rpartition("/")[2] for line in explicit.splitlines()[1:]]
        empty = {**means, "origins": replace(origins, cache=Cache(tmp_path / "empty"))}
        with pytest.raises(FetchError) as caught:
            gather_runtime(load_recipe(recipe_file), lock, tmp_path / "other", **empty)
    finally:
        for folder in away:
            folder.with_name(f"{folder.name} away").rename(folder)
    assert facts.identity["explicit"] == explicit
    assert all(name in str(caught.value) for name in [*missing, world.request.target.miniforge_installer])


def test_a_packed_python_runs_where_it_was_not_made_after_the_environment_is_gone(
    world: World, shared_cache: Path, tmp_path: Path
) -> None:
    tree = _provision(world, tmp_path / "a")
    moved = tree.root.rename(tmp_path / "with ünd space") / "python"
    hidden = world.environment.rename(world.environment.with_name("hidden"))
    try:
        code = "import sys, pip, ssl; print(sys.prefix)"
        said = subprocess.run(
            [moved / "bin/python", "-I", "-c", code], check=False, env={}, capture_output=True, text=True
        )
    finally:
        hidden.rename(world.environment)
    assert said.stdout.strip() == str(moved), said.stderr
    assert (moved / "share/extra.txt").read_text() == "extra\n"


def test_licence_texts_of_conda_packages_come_along_and_into_the_papers(
    world: World, shared_cache: Path, tmp_path: Path
) -> None:
    tree = _provision(world, tmp_path / "a")
    assert (tree.prefix / "share/licenses/extra/LICENSE.txt").read_text() == "the licence of extra\n"
    tree.app.mkdir()
    empty = Lock(
        version_id="x", recipe_digest="0", target=tree.target.name, accelerator=None,
        runtime={"name": "miniforge", "python": tree.python_version}, repositories=(), packages=(),
    )  # fmt: skip
    found = {component.name: component for component in inventory(tree, empty)}
    # each once: pip's dist-info is the conda package's; the stand-in's Python brings system libraries of its own
    own = [component.name for component in inventory(tree, empty) if component.origin != "system"]
    assert sorted(own) == ["extra", "pip", "python"]
    extra = found["extra"]
    assert (extra.origin, extra.licences, [text.name for text in extra.texts]) == ("conda", ("MIT",), ["LICENSE.txt"])
    assert extra.ref.startswith("pkg:conda/extra@")
    assert {name for name, _ in extra.hashes} >= {"SHA-256"}
    assert found["python"].ref in found["pip"].needs


def test_text_prefixes_are_filled_in_and_binary_ones_left_whole(
    world: World, shared_cache: Path, tmp_path: Path
) -> None:
    prefix = _provision(world, tmp_path / "a").prefix
    assert (prefix / "bin/where-am-i").read_text().startswith(("#!/usr/bin/env python", f"#!{prefix}/bin/python"))
    assert (prefix / "etc/settings.conf").read_text() == "prefix=/portable/python/share\n"
    assert PLACEHOLDER.encode() + b"/share\0tail" in (prefix / "lib/table.bin").read_bytes()
    assert not list(prefix.glob("bin/*activate*")) + list(prefix.glob("bin/*unpack*"))


def test_no_file_names_the_environment_or_the_cache(world: World, shared_cache: Path, tmp_path: Path) -> None:
    prefix = _provision(world, tmp_path / "a").prefix
    files = [path for path in prefix.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if os.fsencode(world.cache) in path.read_bytes()] == []


def test_equal_facts_give_equal_trees_and_the_package_cache_stays_as_it_is(
    world: World, shared_cache: Path, tmp_path: Path
) -> None:
    packages = tree_digest(shared_cache / "miniforge/pkgs")
    first = _provision(world, tmp_path / "a" / "bundle")
    second = _provision(world, tmp_path / "b" / "bundle")
    (first.prefix / "share/extra.txt").write_text("changed by an installer\n")
    assert tree_digest(shared_cache / "miniforge/pkgs") == packages
    (first.prefix / "share/extra.txt").write_text("extra\n")
    names = [path.relative_to(first.prefix) for path in first.prefix.rglob("*")]
    assert sorted(names) == sorted(path.relative_to(second.prefix) for path in second.prefix.rglob("*"))
    shutil.copyfile(first.prefix / "bin/where-am-i", second.prefix / "bin/where-am-i")  # it may name its own prefix
    assert tree_digest(first.prefix) == tree_digest(second.prefix)


def test_the_second_time_neither_installer_nor_channel_is_needed(world: World, shared_cache: Path) -> None:
    hidden = world.folder.rename(world.folder.with_name("elsewhere"))
    try:
        hidden.joinpath("cache").parent.mkdir(exist_ok=True)
        world.folder.mkdir()
        (world.folder / "cache").symlink_to(hidden / "cache")
        assert MiniforgeRuntime().inspect(world.request).identity == world.facts.identity
    finally:
        shutil.rmtree(world.folder)
        hidden.rename(world.folder)


def test_a_lock_brings_the_same_packages_into_an_empty_cache(world: World, own_cache: Path) -> None:
    request = replace(world.request, conda_packages=(), explicit=world.facts.identity["explicit"])
    assert MiniforgeRuntime().inspect(request).identity == world.facts.identity


def test_a_lock_with_another_hash_is_refused(world: World, own_cache: Path) -> None:
    explicit = world.facts.identity["explicit"]
    last = explicit.strip()[-1]
    request = replace(world.request, explicit=explicit.strip()[:-1] + ("0" if last != "0" else "1") + "\n")
    with pytest.raises(CommandError, match="not there with this hash"):
        MiniforgeRuntime().inspect(request)


def test_a_lock_keeps_its_conda_packages_until_the_recipe_or_its_author_asks_for_others(
    world: World, shared_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line. The channel gets a newer `extra` after the first lock."""
    channel = Path(shutil.copytree(world.folder / "channel", tmp_path / "channel"))
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "main.py").write_text("")
    recipe = {
        "schema_version": 2,
        "version_id": "demo",
        "comfy": {"repo": "core"},
        "channels": [channel.as_uri()],
        "conda_packages": ["extra"],
    }
    mirror = f"https://github.com/={world.folder / 'github'}/"

    def extra(*words: str, command: str = "lock", **changes: object) -> str:
        (tmp_path / "demo.json").write_text(json.dumps({**recipe, **changes}))
        means = ["--mirror", mirror, "--work", str(tmp_path / "work"), "--json"]
        assert main([command, str(tmp_path / "demo.json"), *means, *words]) == 0
        told = json.loads(capsys.readouterr().out)
        runtime = (told if command == "lock" else told["lock"])["runtime"]
        assert runtime["name"] == "miniforge", "the default"
        (line,) = (line for line in runtime["explicit"].splitlines() if "/extra-" in line)
        return line.rpartition("/")[2].partition("#")[0]

    assert extra() == "extra-1.0-0.conda"
    subdir = world.request.target.conda_subdir
    make_package(channel, world.folder / "work" / "extra", name="extra", version="2.0", subdir=subdir, depends=[])
    index(channel)
    assert extra() == "extra-1.0-0.conda"
    assert extra("--dry-run", command="build") == "extra-1.0-0.conda"
    assert extra(description="another") == "extra-1.0-0.conda", "a change that has nothing to do with it"
    assert extra(conda_packages=["extra=2"]) == "extra-2.0-0.conda"
    assert extra(conda_packages=["extra<2"]) == "extra-1.0-0.conda"
    assert extra("--upgrade") == "extra-2.0-0.conda"


def test_an_environment_cut_short_is_made_anew(world: World, own_cache: Path) -> None:
    environment = Path(MiniforgeRuntime().inspect(world.request).build_paths[0])
    environment.with_suffix(".txt").unlink()
    (environment / "bin/python").unlink()
    MiniforgeRuntime().inspect(world.request)
    assert (environment / "bin/python").exists()


def test_an_installer_whose_hash_differs_is_not_run(world: World, own_cache: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(world.folder / "github", tmp_path / "github"))
    installer = next(other.rglob("*.sh"))
    installer.write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran'\n")
    request = replace(world.request, mirrors=Mirrors.parse([f"https://github.com/={other}/"]))
    with pytest.raises(FetchError, match="sha256"):
        MiniforgeRuntime().inspect(request)
    assert not (tmp_path / "ran").exists()


def test_a_checksum_file_without_a_checksum_is_refused(world: World, own_cache: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(world.folder / "github", tmp_path / "github"))
    next(other.rglob("*.sha256")).write_text("<html>sign in</html>")
    request = replace(world.request, mirrors=Mirrors.parse([f"https://github.com/={other}/"]))
    with pytest.raises(FetchError, match="holds no sha256"):
        MiniforgeRuntime().inspect(request)


def test_a_package_that_does_not_exist_is_told_with_what_the_solver_said(world: World, own_cache: Path) -> None:
    with pytest.raises(CommandError, match="no-such-package"):
        MiniforgeRuntime().inspect(replace(world.request, conda_packages=("no-such-package",)))


def test_another_target_is_refused(world: World, own_cache: Path) -> None:
    other = next(target for target in targets.TARGETS.values() if target != world.request.target)
    with pytest.raises(InputError, match=other.name):
        MiniforgeRuntime().inspect(replace(world.request, target=other))


def test_a_cache_folder_with_a_space_makes_the_installation_lie_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tool_folder(tmp_path / "my cache")
    assert folder.parent == tmp_path
    folder.chmod(0o777)
    with pytest.raises(InputError, match="others may write"):
        tool_folder(tmp_path / "my cache")


def test_missing_files_are_named_with_their_package(damaged: Path, tmp_path: Path) -> None:
    (damaged / "share/extra.txt").unlink()
    with pytest.raises(PackagerError, match=r"(?s)extra 1\.0.*share/extra\.txt"):
        pack(damaged, tmp_path / "packed", known_as=tmp_path / "packed")
    assert not (tmp_path / "packed").exists()


def test_an_editable_install_is_refused(damaged: Path, tmp_path: Path) -> None:
    site_packages = next(damaged.glob("lib/python3*/site-packages"))
    information = site_packages / "mine-1.0.dist-info"
    information.mkdir()
    (information / "direct_url.json").write_text('{"url": "file:///src", "dir_info": {"editable": true}}')
    with pytest.raises(PackagerError, match="editable"):
        pack(damaged, tmp_path / "packed", known_as=tmp_path / "packed")


def test_a_package_that_left_the_cache_is_refused_although_conda_pack_goes_on(damaged: Path, tmp_path: Path) -> None:
    metadata = next(damaged.glob("conda-meta/extra-*.json"))
    value = json.loads(metadata.read_text())
    value["link"]["source"] = str(tmp_path / "gone")
    metadata.write_text(json.dumps(value))
    with pytest.raises(PackagerError, match="package cache"):
        pack(damaged, tmp_path / "packed", known_as=tmp_path / "packed")


def test_conda_inside_is_refused(damaged: Path, tmp_path: Path) -> None:
    metadata = next(damaged.glob("conda-meta/extra-*.json"))
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "name": "conda"}))
    with pytest.raises(PackagerError, match="conda itself"):
        pack(damaged, tmp_path / "packed", known_as=tmp_path / "packed")


def test_what_is_no_environment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PackagerError, match="not a conda environment"):
        pack(tmp_path / "empty", tmp_path / "packed", known_as=tmp_path / "packed")


def test_an_environment_without_python_is_refused(world: World, own_cache: Path) -> None:
    head, *lines = world.facts.identity["explicit"].splitlines()
    extra = next(line for line in lines if "/extra-" in line)
    with pytest.raises(InputError, match=r"(?s)holds no Python.*remedy: do not exclude python"):
        MiniforgeRuntime().inspect(replace(world.request, explicit=f"{head}\n{extra}\n"))
