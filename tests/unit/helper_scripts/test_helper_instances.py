"""Instances: their own packages first, the base untouched, moved with the bundle, and nothing of the user's lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from fake_bundles import LOADING_APP, REPOSITORY, call, make_wheel
from fake_forge import Forge
from portable.bundle import Bundle, read
from portable.layers import environment_of, note_sharing

from packager.bundle import BundleTree

HELPERS = REPOSITORY / "helper_scripts"
SAY = "import json, shared, sys; print(json.dumps([shared.VALUE, sys.executable]))"
CHILD = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {SAY!r}]))"


def test_the_fronts_keep_their_schema() -> None:
    schema = json.loads((HELPERS / "instance_fronts.schema.json").read_text(encoding="utf-8"))
    fronts = json.loads((HELPERS / "portable/instance_fronts.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(fronts)


def test_shellcheck_finds_nothing_in_the_fronts(tmp_path: Path) -> None:
    program = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not program:
        pytest.skip("shellcheck is not installed")
    fronts = json.loads((HELPERS / "portable/instance_fronts.json").read_text(encoding="utf-8"))["posix"]
    for number, front in enumerate(fronts):
        script = tmp_path / f"{number}.sh"
        script.write_text("".join(f"{line}\n" for line in front["lines"]), encoding="utf-8")
        finished = call(program, "--shell=sh", script)
        assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize("windows", [True, False])
def test_the_environment_of_an_instance(tmp_path: Path, windows: bool) -> None:
    base = {"PYTHONPATH": "/evil", "PORTABLE_INSTANCE": "/other", "PATH": "p", "PIP_TARGET": "t"}
    facts: dict[str, Any] = {"name": "b", "version": "1", "target": "t", "python_version": "3.11.9", "app": "ComfyUI"}
    whole = Bundle(root=tmp_path, env={}, launch_args=(), **facts)
    env = environment_of(whole, base, windows=windows)
    assert not {"PYTHONPATH", "PORTABLE_INSTANCE", "PIP_TARGET", "PIP_REQUIRE_VIRTUALENV"} & env.keys()
    instance = Bundle(root=tmp_path / "instances/x", base=tmp_path, env={}, launch_args=(), **facts)
    env = environment_of(instance, base, windows=windows, guarded=True)
    assert env["PYTHONPATH"] == str(tmp_path / "portable/layer")
    assert env["PORTABLE_INSTANCE"] == str(instance.root)
    assert env["PIP_REQUIRE_VIRTUALENV"] == "1"
    own = instance.root / "python" / ("Scripts" if windows else "bin")
    assert env["PATH"].startswith(f"{own}{';' if windows else ':'}")


class Site:
    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *words: str | Path, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = call(self.root / "manage.sh", *words, **env)
        assert done.returncode == code, done.stderr
        return done

    def python(self, code: str, *, name: str | None = None) -> Any:
        words = ("--instance", name) if name else ()
        return json.loads(self.run(*words, "exec", "--", "python", "-c", code).stdout)

    def base_files(self) -> dict[str, bytes]:
        """All that is the base's, but its state and bytecode."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            parts = path.relative_to(self.root).parts
            if (
                path.is_file()
                and path.suffix != ".pyc"
                and parts[0] != "instances"
                and parts[:2] != ("portable", "state")
            ):
                found["/".join(parts)] = path.read_bytes()
        return found


@pytest.fixture
def site(pip_bundle: BundleTree) -> Site:
    pip_bundle.nodes.mkdir()
    (pip_bundle.app / "main.py").write_text(LOADING_APP, encoding="utf-8")
    (pip_bundle.app / "models").mkdir()
    (pip_bundle.app / "models/big.safetensors").write_text("big", encoding="utf-8")
    packages = next(pip_bundle.prefix.glob("lib/python3*/site-packages"))
    (packages / "shared.py").write_text("VALUE = 'base'\n", encoding="utf-8")
    (packages / "shared-1.0.dist-info").mkdir()
    (packages / "shared-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: shared\nVersion: 1.0\n")
    (packages / "shared-1.0.dist-info/RECORD").write_text("shared.py,,\nshared-1.0.dist-info/RECORD,,\n")
    return Site(pip_bundle.root)


def test_the_road_of_an_instance(site: Site, tmp_path: Path) -> None:
    """Made with a node, given a package of its own, moved, isolated, rolled back, removed."""
    wheels = tmp_path / "wheels"
    make_wheel(wheels, "shared", "2.0", files={"shared.py": "VALUE = 'local'\ndef main(): print(VALUE)\n"})
    make_wheel(wheels, "needed")
    with zipfile.ZipFile(tmp_path / "node.zip", "w") as archive:
        archive.writestr("__init__.py", "import needed, shared\n")
        archive.writestr("requirements.txt", "needed\nshared\n")
    before = site.base_files()
    source = ("--wheels-dir", wheels)
    made = json.loads(site.run("instance", "create", "two", "--node", tmp_path / "node.zip", *source, "--json").stdout)
    assert (made["name"], made["port"], made["isolated"], made["nodes"]) == ("two", 8189, False, ["node"])
    assert made["size"] < 100_000
    assert not (site.root / "instances/two/ComfyUI/models/big.safetensors").exists()
    models = yaml.safe_load((site.root / "instances/two/ComfyUI/extra_model_paths.yaml").read_text())["bundle_models"]
    app = site.root / "instances/two/ComfyUI"
    assert (app / models["base_path"]).resolve() == site.root / "ComfyUI/models"
    assert "checkpoints" in models
    assert site.python(SAY, name="two")[0] == "base"
    assert [item["name"] for item in json.loads(site.run("--instance", "two", "list", "--json").stdout)] == ["needed"]

    site.run("--instance", "two", "install", *source, "shared==2.0", "--no-smoke")
    assert site.python(SAY, name="two")[0] == "local"
    assert site.python(CHILD, name="two")[0] == "local"
    assert site.python(SAY)[0] == "base"
    assert site.base_files() == before

    site.root = site.root.rename(tmp_path / "else where")
    assert site.python(SAY, name="two")[0] == "local"
    script = call(site.root / "instances/two/python/bin/shared")
    assert script.stdout == "local\n", script.stderr
    front = site.root / "instances/two/run_comfyui.sh"
    (tmp_path / "link.sh").symlink_to(front)
    shells = [[shell, front] for shell in (["bash"], ["dash"], ["busybox", "ash"]) if shutil.which(shell[0])]
    for command in ([tmp_path / "link.sh"], *([*shell, script] for shell, script in shells)):
        started = call(*command, "a b", "$HOME;'\"", cwd=tmp_path)
        assert started.stdout == "arguments ['--port', '8189', 'a b', '$HOME;\\'\"']\n", started.stderr

    lock = site.root / "instances/two/portable/lock.txt"
    lock.write_text("marker==1\n", encoding="utf-8")
    site.run("instance", "set", "two", "--isolated", "--port", "99999", code=2)
    assert lock.read_text(encoding="utf-8") == "marker==1\n"
    site.run("instance", "set", "two", "--isolated", "--port", "9000")
    code = "import json, importlib.util as u; print(json.dumps([bool(u.find_spec(n)) for n in ('shared', 'pip')]))"
    assert site.python(code, name="two") == [True, True]
    site.run("--instance", "two", "rollback")
    assert site.python(code, name="two") == [False, True]
    assert "'9000'" in call(site.root / "instances/two/run_comfyui.sh").stdout
    site.run("instance", "set", "two", "--shared")

    told: list[str] = []
    note_sharing(read(site.root), told.append)
    assert "instances use these packages too (two)" in told[0]
    (site.root / "instances/two/ComfyUI/output/picture.png").write_text("mine", encoding="utf-8")
    assert [item["name"] for item in json.loads(site.run("instance", "list", "--json").stdout)] == ["two"]
    kept = json.loads(site.run("instance", "remove", "two", "--json").stdout)["kept_in"]
    assert (Path(kept) / "output/picture.png").read_text() == "mine"
    assert not list((site.root / "instances").iterdir())
    assert {name: text for name, text in site.base_files().items() if "removed-instances" not in name} == before


def test_another_comfyui_by_its_version(site: Site, tmp_path: Path) -> None:
    forge = Forge(tmp_path / "forge")
    forge.commit("me/ComfyUI", {"main.py": LOADING_APP, "requirements.txt": "shared\nneeded\n", "v": "1"}, tag="v1")
    forge.commit("me/ComfyUI", {"main.py": "raise SystemExit('too new')\n", "requirements.txt": None})
    make_wheel(tmp_path / "wheels", "needed")
    with forge.serving() as env:
        words = ("--repository", f"{forge.url}/me/ComfyUI", "--wheels-dir", tmp_path / "wheels")
        failed = site.run("instance", "create", "new", *words, code=1, **env)
        assert "too new" in failed.stderr
        assert not list((site.root / "instances").iterdir())
        site.run("instance", "create", "old", *words, "--ref", "v1", **env)
    assert (site.root / "instances/old/ComfyUI/v").read_text() == "1"
    assert list((site.root / "instances/old/python").rglob("needed.py"))
    assert not list((site.root / "instances/old/python").rglob("shared.py"))


def test_wrong_words_and_what_a_kill_left(site: Site) -> None:
    for words in (
        ("create", "../x"),
        ("create", "NUL"),
        ("create", ".hidden"),
        ("create", "x", "--port", "99999"),
        ("create", "x", "--node", "--upload-pack=id"),
        ("create", "x", "--repository", "ext::sh -c id"),
        ("create", "x", "--ref", "v1"),
        ("remove", "../../python"),
        ("remove", "none"),
        ("set", "none", "--port", "1"),
        ("set", "none"),
    ):
        site.run("instance", *words, code=2)
    site.run("--instance", "../..", "list", code=2)
    site.run("--instance", code=2)
    folder = site.root / "instances"
    (folder / ".half.making/ComfyUI").mkdir(parents=True)
    (folder / ".gone.going/ComfyUI/output").mkdir(parents=True)
    (folder / ".gone.going/ComfyUI/output/a.png").write_text("mine", encoding="utf-8")
    assert "half was interrupted" in site.run("instance", "list").stderr
    assert not list(folder.iterdir())
    assert (site.root / "ComfyUI/user/removed-instances/gone/output/a.png").read_text() == "mine"


def test_an_instance_of_a_broken_description_is_named(site: Site) -> None:
    place = site.root / "instances/bad/portable/bundle.json"
    place.parent.mkdir(parents=True)
    place.write_text("{", encoding="utf-8")
    assert str(place) in site.run("--instance", "bad", "info", code=1).stderr
    with pytest.raises(Exception, match="cannot be read"):
        read(place.parents[1])
