"""Nodes by the command line: added, updated, removed and rolled back, with the packages they need; nothing is lost."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_bundles import LOADING_APP, call, make_wheel
from fake_forge import Forge

from packager.bundle import BundleTree
from packager.protected import protected_packages

INSTALL = """\
import pathlib, subprocess, sys
subprocess.run([sys.executable, "-m", "pip", "install", "late>=1"], check=True)
import late
pathlib.Path("made.txt").write_text("made")
print("it is made")
"""


class Site:
    """A bundle whose app loads nodes, a forge that is being served, and a folder of wheels."""

    def __init__(self, tree: BundleTree, forge: Forge, wheels: Path, env: dict[str, str]) -> None:
        self.root, self.forge, self.wheels, self.env = tree.root, forge, wheels, env
        self.nodes = tree.nodes

    def run(self, *words: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = call(self.root / "manage.sh", *words, **self.env)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr or "install.py" in done.stderr
        return done

    def json(self, *words: str | Path, code: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def address(self, repository: str) -> str:
        return f"{self.forge.url}/{repository}"

    def packages(self) -> set[str]:
        """The packages that a test installs."""
        there = {path.name.split("-")[0] for path in self.root.glob("python/lib/python3*/site-packages/*.dist-info")}
        return there & {"needed", "late", "locked"}

    def files(self, folder: str = "ComfyUI") -> dict[str, str]:
        """Content by path, but git's own and bytecode."""
        found = {}
        for path in sorted((self.root / folder).rglob("*")):
            if path.is_file() and ".git" not in path.parts and path.suffix != ".pyc":
                found[path.relative_to(self.root / folder).as_posix()] = path.read_text(encoding="utf-8")
        return found


@pytest.fixture
def site(pip_bundle: BundleTree, tmp_path: Path) -> Iterator[Site]:
    pip_bundle.nodes.mkdir()
    (pip_bundle.app / "main.py").write_text(LOADING_APP, encoding="utf-8")
    forge, wheels = Forge(tmp_path / "forge"), tmp_path / "the wheels"
    for name in ("needed", "late"):
        make_wheel(wheels, name)
    with forge.serving() as env:
        yield Site(pip_bundle, forge, wheels, env)


def test_the_road_of_a_node(site: Site) -> None:
    """Added with git, updated, changed by its user, rolled back, removed, rolled back."""
    node = {"__init__.py": "import needed, late\nopen(__file__.replace('__init__.py', 'made.txt')).read()\n"}
    more = {"requirements.txt": "--index-url http://x\nneeded\n../x.whl\n", "install.py": INSTALL, "config.ini": "1"}
    first = site.forge.commit("me/my-node", {**node, **more})
    before = site.files(), site.packages()
    source = ("--wheels-dir", site.wheels)
    added = site.json("node", "add", site.address("me/my-node"), *source)
    assert (added["state"], added["name"], added["origin"]["commit"]) == ("added", "my-node", first)
    assert {item["name"] for item in added["changes"]} == {"needed", "late"}
    assert [(item["file"], item["line"]) for item in added["left_out"]] == [
        ("my-node/requirements.txt", 1),
        ("my-node/requirements.txt", 3),
    ]
    folder = site.nodes / "my-node"
    assert (folder / "made.txt").read_text() == "made"
    assert site.packages() == {"needed", "late"}
    listed = site.json("node", "list")
    assert [(item["name"], item["commit"], item["own_files"]) for item in listed] == [("my-node", first, [])]

    (folder / "mine.txt").write_text("mine")
    (folder / "config.ini").write_text("mine too")
    changed = {"__init__.py": "import needed\n", "new.py": "", "install.py": None, "requirements.txt": None}
    second = site.forge.commit("me/my-node", changed)
    updated = site.json("node", "update", "my-node", *source)
    assert (updated["nodes"][0]["state"], updated["nodes"][0]["origin"]["commit"]) == ("updated", second)
    assert {"mine.txt", "new.py", "config.ini"} <= {path.name for path in folder.iterdir()}
    assert (folder / "config.ini").read_text() == "mine too"
    assert not (folder / "made.txt").exists() or "made.txt" in site.json("node", "list")[0]["own_files"]
    assert site.json("node", "update", "--all", *source)["nodes"][0]["state"] == "unchanged"
    site.json("node", "update", "my-node@no-such", code=1)

    site.forge.commit("me/my-node", {"config.ini": "3"})
    refused = site.run("node", "update", "my-node", *source, code=1)
    assert "config.ini" in refused.stderr
    assert (folder / "config.ini").read_text() == "mine too"
    forced = site.json("node", "update", "my-node", *source, "--force")["nodes"][0]
    assert (forced["kept_files"], forced["kept_in"]) == (["config.ini"], "ComfyUI/user/removed-nodes/my-node")
    assert (site.root / forced["kept_in"] / "config.ini").read_text() == "mine too"
    assert (folder / "config.ini").read_text() == "3"

    site.run("rollback", str(updated["nodes"][0]["id"]))
    assert (folder / "mine.txt").read_text() == "mine"
    assert site.json("node", "list")[0]["commit"] == first
    removed = site.json("node", "remove", "my-node")
    assert "mine.txt" in removed["kept_files"]
    assert not folder.exists()
    assert site.packages() == {"needed", "late"}
    site.run("rollback")
    assert (folder / "mine.txt").read_text() == "mine"
    site.run("rollback", str(added["id"]))
    kept = {name for name in site.files() if name.startswith("user/removed-nodes/")}
    assert any(name.endswith("mine.txt") for name in kept)
    left = {name: text for name, text in site.files().items() if name not in kept}
    assert (left, site.packages()) == before


def test_without_git_from_a_registry_and_from_a_file(site: Site, tmp_path: Path) -> None:
    """PATH holds no git: archives alone."""
    site.env["PATH"] = "/nowhere"
    commit = site.forge.commit("me/plain", {"__init__.py": "", "pyproject.toml": '[project]\nname = "the-name"\n'})
    added = site.json("node", "add", site.address("me/plain"), "--no-smoke")
    assert (added["name"], added["origin"]["commit"]) == ("the-name", commit)
    assert not (site.nodes / "the-name/.git").exists()
    assert "is there already, as the-name" in site.run("node", "add", site.address("me/plain"), code=1).stderr
    dependencies = '[project]\nname = "reg"\ndependencies = ["needed"]\nversion = "{}"\n'
    for version in ("1.0.0", "1.1.0"):
        with zipfile.ZipFile(tmp_path / f"{version}.zip", "w") as archive:
            archive.writestr("__init__.py", "import needed\n")
            archive.writestr("pyproject.toml", dependencies.format(version))
        site.forge.files[f"/cdn/{version}.zip"] = (tmp_path / f"{version}.zip").read_bytes()
    site.forge.versions["reg"] = {version: f"/cdn/{version}.zip" for version in ("1.0.0", "1.1.0")}
    source = ("--wheels-dir", site.wheels, "--no-smoke")
    added = site.json("node", "add", "reg@1.0.0", *source)
    assert (added["name"], added["origin"]["version"]) == ("reg", "1.0.0")
    assert site.packages() == {"needed"}
    assert site.json("node", "update", "reg@1.1.0", *source)["nodes"][0]["origin"]["version"] == "1.1.0"
    site.json("node", "remove", "reg", "--no-smoke")
    assert site.json("node", "add", tmp_path / "1.1.0.zip", *source)["name"] == "reg"
    assert "There is a node reg already" in site.run("node", "add", tmp_path / "1.0.0.zip", code=1).stderr


def test_a_node_that_cannot_be_imported_is_put_back_unless_it_is_to_stay(site: Site) -> None:
    site.forge.commit(
        "me/bad", {"__init__.py": "import needed\nraise RuntimeError('no luck')", "requirements.txt": "needed"}
    )
    before = site.files(), site.packages()
    told = site.json("node", "add", site.address("me/bad"), "--wheels-dir", site.wheels, code=1)
    assert told["applied"] is False
    assert "the node bad cannot be imported: no luck" in told["error"]
    assert (site.files(), site.packages()) == before
    site.forge.commit("me/worse", {"__init__.py": "raise RuntimeError('no luck')"})
    kept = site.json("node", "add", site.address("me/worse"), "--keep")
    assert kept["applied"] is True
    assert "no luck" in kept["warnings"][0]
    site.run("rollback")
    assert (site.files(), site.packages()) == before


def test_nodes_that_are_refused_change_nothing(site: Site) -> None:
    for version in ("1.0", "2.0"):
        make_wheel(site.wheels, "locked", version)
    (site.root / "portable/lock.txt").write_text("locked==1.0\n", encoding="utf-8")
    before = site.files(), site.packages()
    refused: list[tuple[dict[str, str | None], str]] = [
        ({"requirements.txt": "no-such-package-at-all"}, "no-such-package-at-all"),
        ({"requirements.txt": "locked==2.0"}, "the lock holds 1.0"),
        ({".portable-node.json": "{}"}, "brings .portable-node.json along"),
    ]
    for number, (files, says) in enumerate(refused):
        site.forge.commit(f"me/node{number}", {"__init__.py": "", **files})
        words = ("node", "add", site.address(f"me/node{number}"), "--wheels-dir", site.wheels, "--no-smoke")
        assert says in site.run(*words, code=1).stderr
        assert (site.files(), site.packages()) == before


def test_wrong_words_end_with_2(site: Site) -> None:
    for words in (
        ("add", "../x"),
        ("add", "https://user:secret@github.com/a/b"),
        ("add", "--upload-pack=id"),
        ("add", "https://github.com/a/b@--upload-pack=id"),
        ("remove", "../../python"),
        ("remove", "."),
        ("update", "../x"),
        ("update",),
        ("update", "--all", "x"),
    ):
        done = site.run("node", *words, code=2)
        assert "secret" not in done.stderr
        assert not (site.root / "portable/state/active").exists()
    assert site.json("node", "update", code=2)["exit_code"] == 2


def test_install_py_is_reported_and_may_change_no_package_unseen(site: Site) -> None:
    pip = "subprocess.run([sys.executable, '-m', 'pip', 'uninstall', '-y', 'needed'])"
    script = f"import subprocess, sys\nprint('hello from it')\n{pip}\nsys.exit(3)\n"
    site.forge.commit("me/node", {"__init__.py": "", "install.py": script, "requirements.txt": "needed"})
    done = site.run("node", "add", site.address("me/node"), "--wheels-dir", site.wheels, "--no-smoke")
    assert "  hello from it" in done.stderr
    assert "install.py of node ended with 3" in done.stderr
    assert "itself changed needed" in done.stderr


def test_a_named_snapshot_brings_nodes_back(site: Site) -> None:
    """One that a helper updated, one that `git pull` did, one that a helper added since."""
    for name in ("mine", "pulled"):
        site.forge.commit(f"me/{name}", {"__init__.py": "FIRST = 1\n"})
    site.run("node", "add", site.address("me/mine"), "--no-smoke")
    clone = ("git", "clone", "--quiet", site.address("me/pulled"))
    subprocess.run(clone, cwd=site.nodes, check=True)
    (site.nodes / "pulled/own.txt").write_text("own")
    listed = {item["name"]: (item["origin"]["address"], item["own_files"]) for item in site.json("node", "list")}
    assert listed["pulled"] == (site.address("me/pulled"), ["own.txt"])
    site.run("snapshot", "good")
    for name in ("mine", "pulled"):
        site.forge.commit(f"me/{name}", {"__init__.py": "SECOND = 1\n"})
    site.run("node", "update", "mine", "--no-smoke")
    subprocess.run(["git", "pull", "--quiet"], cwd=site.nodes / "pulled", check=True)
    site.forge.commit("me/later", {"__init__.py": ""})
    site.run("node", "add", site.address("me/later"), "--no-smoke")
    told = site.json("rollback", "good")
    assert told["nodes"] == {}
    assert sorted(path.name for path in site.nodes.iterdir()) == ["mine", "pulled"]
    for name in ("mine", "pulled"):
        assert (site.nodes / name / "__init__.py").read_text() == "FIRST = 1\n"
    assert (site.nodes / "pulled/own.txt").read_text() == "own"
    site.run("rollback")
    assert (site.nodes / "pulled/__init__.py").read_text() == "SECOND = 1\n"
    assert (site.nodes / "later").is_dir()


def test_one_package_stands_for_those_that_bring_the_same_module(site: Site) -> None:
    """As opencv-python and opencv-python-headless do; a package that hides ComfyUI's own module is never installed."""
    native: list[dict[str, object]] = []
    rules = protected_packages(native, target="linux-x86_64", accelerator=None)
    (site.root / "portable/protected.json").write_text(json.dumps(rules), encoding="utf-8")
    for name in ("opencv_python", "opencv_python_headless", "comfy"):
        make_wheel(site.wheels, name, "4.0", files={"cv2.py": ""})
    wanted = "opencv-python >=4\ncomfy\nneeded\n"
    site.forge.commit("me/node", {"__init__.py": "", "requirements.txt": wanted})
    added = site.json("node", "add", site.address("me/node"), "--wheels-dir", site.wheels, "--no-smoke")
    assert {item["name"] for item in added["changes"]} == {"opencv-python-headless", "needed"}
    reasons = [item["reason"] for item in added["left_out"]]
    assert reasons[0].startswith("taken as 'opencv-python-headless >=4': all bring the module cv2")
    assert reasons[1].startswith("never installed: ")


def test_a_node_that_its_user_cloned_is_updated_too(site: Site) -> None:
    site.forge.commit("me/cloned", {"__init__.py": "FIRST = 1\n", "config.ini": "1\n", "other.ini": "1\n"})
    subprocess.run(["git", "clone", "--quiet", site.address("me/cloned")], cwd=site.nodes, check=True)
    folder = site.nodes / "cloned"
    (folder / "config.ini").write_text("mine\n")
    (folder / "new.txt").write_text("mine\n")
    site.forge.commit("me/cloned", {"__init__.py": "SECOND = 1\n"})
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *author, "commit", "--quiet", "--allow-empty", "-m", "own"], cwd=folder, check=True)
    refused = site.run("node", "update", "cloned", "--no-smoke", code=1)
    assert "holds commits of your own" in refused.stderr
    subprocess.run(["git", "reset", "--quiet", "--soft", "origin/main"], cwd=folder, check=True)
    site.run("node", "update", "cloned", "--no-smoke")
    texts = {name: (folder / name).read_text() for name in ("__init__.py", "config.ini", "new.txt", "other.ini")}
    assert texts == {"__init__.py": "SECOND = 1\n", "config.ini": "mine\n", "new.txt": "mine\n", "other.ini": "1\n"}
    site.run("rollback")
    assert (folder / "__init__.py").read_text() == "FIRST = 1\n"
