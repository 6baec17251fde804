"""Locks for other targets than this machine's: solved by a local conda or mamba, nothing fetched, nothing installed."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from packager import targets
from packager.cli import main
from packager.console import Console
from packager.errors import InputError, PackagerError
from packager.fetch.mirrors import Mirrors
from packager.process import CommandError
from packager.runtimes import HostRuntime, MiniforgeRuntime, RuntimeRequest
from packager.runtimes.foreign import planned_packages, python_version

pytest.importorskip("rattler", reason="py-rattler has no wheel for this machine")

from conda_channel import index, make_foreign_pythons, make_installer, make_package

VERSION = "3.12.11"
RELEASE = "conda-forge/miniforge/releases/latest/download"
OTHERS = {
    "windows-x86_64": "win-64",
    "macos-arm64": "osx-arm64",
    **({"linux-aarch64": "linux-aarch64"} if targets.current().name != "linux-aarch64" else {}),
}


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    make_foreign_pythons(folder / "channel", folder / "work", VERSION)
    pip = folder / "pip/site-packages/pip"
    pip.mkdir(parents=True)
    (pip / "__init__.py").write_text("")
    make_package(
        folder / "channel",
        folder / "pip",
        name="pip",
        version="25.0",
        subdir="noarch",
        depends=["python"],
        python_package=True,
    )
    index(folder / "channel")
    return folder / "channel"


@pytest.fixture(params=["conda", "mamba"])
def request_for(
    request: pytest.FixtureRequest, channel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RuntimeRequest:
    """For Windows, through either program, with an empty cache."""
    monkeypatch.setenv("PACKAGER_CACHE_DIR", str(tmp_path / "cache"))
    make_installer(tmp_path / "github" / RELEASE, program=request.param)
    return RuntimeRequest(
        python="3.12",
        target=targets.get("windows-x86_64"),
        conda_packages=("extra",),
        channels=(channel.as_uri(),),
        mirrors=Mirrors.parse([f"https://github.com/={tmp_path / 'github'}/"]),
        console=Console(quiet=True),
    )


@pytest.mark.parametrize("name", OTHERS)
def test_exact_packages_are_found_and_none_is_fetched(request_for: RuntimeRequest, tmp_path: Path, name: str) -> None:
    identity = MiniforgeRuntime().identify(replace(request_for, target=targets.get(name)))
    assert (identity["name"], identity["python"]) == ("miniforge", VERSION)
    head, *lines = identity["explicit"].splitlines()
    (channel,) = request_for.channels
    assert head == "@EXPLICIT"
    subdir = OTHERS[name]
    files = [line.partition("#sha256:")[0] for line in lines]
    assert files == [
        f"{channel}/{subdir}/extra-1.0-0.conda",
        f"{channel}/{subdir}/python-{VERSION}-0.conda",
        f"{channel}/noarch/pip-25.0-0.conda",
    ]
    assert all(len(line.partition("#sha256:")[2]) == 64 for line in lines)
    kept = tmp_path / "cache/miniforge"
    assert not (kept / "envs").exists()
    assert not list(kept.rglob("*.conda"))


def test_a_solution_is_kept_until_a_new_one_is_asked_for(request_for: RuntimeRequest, tmp_path: Path) -> None:
    first = MiniforgeRuntime().identify(request_for)
    (solver,) = (tmp_path / "cache/miniforge/base").glob("*/bin/*")
    solver.write_text("#!/bin/sh\nexit 5\n")
    assert MiniforgeRuntime().identify(replace(request_for, offline=True)) == first
    of_lock = replace(request_for, explicit=first["explicit"])
    assert MiniforgeRuntime().identify(of_lock) == first, "what a lock names is looked up nowhere"
    with pytest.raises(CommandError, match="exited with 5"):
        MiniforgeRuntime().identify(replace(request_for, renew=True))


def test_a_bundle_is_still_built_on_its_own_kind_of_machine(request_for: RuntimeRequest) -> None:
    with pytest.raises(InputError, match=r"build from that lock on a windows-x86_64 machine"):
        MiniforgeRuntime().inspect(request_for)


def test_a_version_the_recipe_does_not_ask_for_is_refused(request_for: RuntimeRequest) -> None:
    explicit = MiniforgeRuntime().identify(request_for)["explicit"]
    with pytest.raises(InputError, match=r"3\.11 is wanted"):
        MiniforgeRuntime().identify(replace(request_for, explicit=explicit, python="3.11"))


def test_a_package_the_platform_lacks_is_told_with_what_the_solver_said(request_for: RuntimeRequest) -> None:
    with pytest.raises(CommandError, match="no-such-package"):
        MiniforgeRuntime().identify(replace(request_for, conda_packages=("no-such-package",)))


@pytest.mark.parametrize("said", ["", "no JSON", "{}", '{"actions": {}}', '{"actions": {"LINK": [1]}}'])
def test_an_answer_that_cannot_be_read_is_told(said: str) -> None:
    with pytest.raises(PackagerError, match="said nothing of what it would install"):
        planned_packages(said, where="mamba")


def test_what_stands_around_the_answer_does_not_matter() -> None:
    answer = {"actions": {"LINK": [{"name": "a", "url": "u", "sha256": "0"}]}}
    assert planned_packages(f"a banner\n{json.dumps(answer)}\nbye {{", where="mamba") == answer["actions"]["LINK"]


def test_a_list_without_python_is_refused() -> None:
    with pytest.raises(InputError, match="holds no Python"):
        python_version("@EXPLICIT\nhttps://example.org/noarch/python-tzdata-2025-0.conda#sha256:00\n")


@pytest.mark.parametrize("request_for", ["mamba"], indirect=True)
def test_one_command_locks_for_all_targets(
    request_for: RuntimeRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the command line, for targets none of which is this machine's; then a build's dry run from each lock."""
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "main.py").write_text("")
    (tmp_path / "core" / "requirements.txt").write_text("colorama; sys_platform == 'win32'\nidna==3.7\n")
    recipe = tmp_path / "demo.json"
    document = {"schema_version": 2, "version_id": "demo", "python": "3.12", "comfy": {"repo": "core"}}
    recipe.write_text(json.dumps({**document, "channels": [*request_for.channels], "conda_packages": ["extra"]}))
    means = ["--mirror", f"https://github.com/={tmp_path / 'github'}/", "--json"]
    monkeypatch.chdir(tmp_path)

    def call(command: str, *words: str) -> Any:
        code = main([command, str(recipe), *means, *words])
        said = capsys.readouterr()
        assert code == 0, said
        return json.loads(said.out)

    wanted = [word for name in OTHERS for word in ("--target", name)]
    locks = call("lock", *wanted)["locks"]
    assert [lock["target"] for lock in locks] == [*OTHERS]
    for lock, subdir in zip(locks, OTHERS.values(), strict=True):
        names = {package["name"] for package in lock["packages"]}
        assert names == {"idna", "pip", *(["colorama"] if subdir == "win-64" else [])}
        assert f"/{subdir}/python-{VERSION}-0.conda#sha256:" in lock["runtime"]["explicit"]
        assert Path(lock["lock"]) == tmp_path / f"demo.{lock['target']}.lock.json"
        planned = call("build", "--dry-run", "--target", lock["target"])["lock"]
        assert planned == {key: value for key, value in lock.items() if key != "lock"}
    before = [Path(lock["lock"]).read_bytes() for lock in locks]
    (solver,) = (tmp_path / "cache/miniforge/base").glob("*/bin/*")
    solver.write_text("#!/bin/sh\nexit 5\n")
    call("lock", *wanted)
    assert [Path(lock["lock"]).read_bytes() for lock in locks] == before


@pytest.mark.skipif(sys.platform != "linux", reason="runtime host is for Linux")
def test_host_locks_for_the_other_linux_and_refuses_the_rest() -> None:
    other = "linux-aarch64" if targets.current().name == "linux-x86_64" else "linux-x86_64"
    request = RuntimeRequest(python=None, target=targets.get(other))
    version = ".".join(map(str, sys.version_info[:3]))
    assert HostRuntime().identify(request) == {"name": "host", "python": version}
    with pytest.raises(InputError, match=rf"target is {other}"):
        HostRuntime().inspect(request)
    for name in ("windows-x86_64", "macos-arm64"):
        with pytest.raises(InputError, match=rf"(?s)target is {name}.*runtime: miniforge"):
            HostRuntime().identify(replace(request, target=targets.get(name)))
