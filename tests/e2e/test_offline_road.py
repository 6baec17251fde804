"""Gather with a network, build without: the namespace has none, and every cache is empty."""

from __future__ import annotations

import functools
import io
import json
import os
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from .conftest import Packager, write_app

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello-comfy"
MODEL = b"weights" * 10_000


@pytest.fixture
def files_url(tmp_path: Path) -> Iterator[str]:
    """URL of `tmp_path`/served."""
    (tmp_path / "served").mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def git(folder: Path, *words: str) -> str:
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    env |= {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(
        ["git", *words], cwd=folder, env=env, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit_all(folder: Path) -> str:
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message=x")
    return git(folder, "rev-parse", "HEAD")


def make_node_repository(folder: Path) -> None:
    """A node with a submodule, and with an earlier commit that nobody needs."""
    inner = write_app(folder / "part", {"part.txt": "a part\n"})
    git(inner, "init", "--quiet", "--initial-branch=main")
    commit = commit_all(inner)
    node = write_app(folder / "node", {"old.txt": "x\n"})
    git(node, "init", "--quiet", "--initial-branch=main")
    commit_all(node)
    write_app(node, {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n", "requirements.txt": "sourceonly==1.0\ndemanding\n"})
    (node / ".gitmodules").write_text('[submodule "part"]\n\tpath = part\n\turl = ../part\n')
    git(node, "add", "--all")
    git(node, "update-index", "--add", "--cacheinfo", f"160000,{commit},part")
    git(node, "commit", "--quiet", "--message=y")
    fork = write_app(folder / "fork", source_files("fromgit"))
    git(fork, "init", "--quiet", "--initial-branch=main")
    commit_all(fork)


def source_files(name: str) -> dict[str, str]:
    """A project to build."""
    return {
        "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "{name}"\nversion = "1.0"\n[tool.setuptools]\npy-modules = ["{name}"]\n',
        f"{name}.py": "ANSWER = 42\n",
    }


# Its backend asks for a package that pyproject.toml does not name (PEP 517, get_requires_for_build_wheel).
DEMANDING = {
    "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    '[project]\nname = "demanding"\nversion = "1.0"\n[tool.setuptools]\npy-modules = ["demanding"]\n',
    "backend.py": "from setuptools.build_meta import *\nfrom setuptools import build_meta\n"
    "def get_requires_for_build_wheel(config_settings=None):\n"
    "    return ['buildtool==1.0', *build_meta.get_requires_for_build_wheel(config_settings)]\n"
    "def build_wheel(*words, **options):\n    import buildtool\n    return build_meta.build_wheel(*words, **options)\n",
    "demanding.py": "",
}


def write_sdist(path: Path, files: dict[str, str]) -> Path:
    """An sdist NAME-1.0.tar.gz."""
    name = path.name.removesuffix(".tar.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    files = {"PKG-INFO": f"Metadata-Version: 2.1\nName: {name.partition('-')[0]}\nVersion: 1.0\n", **files}
    with tarfile.open(path, "w:gz") as tar:
        for member, text in files.items():
            info = tarfile.TarInfo(f"{name}/{member}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def write_wheel(
    folder: Path,
    name: str,
    *,
    tag: str = "py3-none-any",
    version: str = "1.0",
    text: str = "",
    requires: Sequence[str] = (),
    package: Mapping[str, str] | None = None,
) -> Path:
    """A wheel of one module with `text`, or of a package with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    members = {f"{name}/{member}": content for member, content in package.items()} if package else {f"{name}.py": text}
    members |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{member},,\n" for member in [*members, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    return path


def link(folder: Path) -> None:
    """The page of an index for what lies in `folder` (PEP 503)."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".whl", ".gz"))
    (folder / "index.html").write_text("\n".join(f'<a href="{quote(name)}">{name}</a>' for name in names))


def make_index(folder: Path) -> None:
    """A simple index with two packages that have an sdist alone, and a build tool."""
    link(write_sdist(folder / "sourceonly" / "sourceonly-1.0.tar.gz", source_files("sourceonly")).parent)
    link(write_sdist(folder / "demanding" / "demanding-1.0.tar.gz", DEMANDING).parent)
    link(write_wheel(folder / "buildtool", "buildtool").parent)


@pytest.fixture
def gathered(packager: Packager, tmp_path: Path, files_url: str) -> tuple[Packager, Path, Path]:
    """A recipe with everything that can be fetched; and the folder it was gathered in."""
    make_node_repository(tmp_path / "repos")
    served = tmp_path / "served"
    make_index(served / "simple")
    write_wheel(served / "files", "bywheel")
    write_wheel(served / "files", "patched")
    write_sdist(served / "files" / "bysource-1.0.tar.gz", source_files("bysource"))
    link(write_wheel(served / "own" / "private", "private").parent)
    link(
        write_wheel(served / "simple" / "insightface", "insightface", version="99.0").parent
    )  # newer than the real one
    (tmp_path / "served" / "a.safetensors").write_bytes(MODEL)
    recipe = {
        "schema_version": 2,
        "version_id": "trial",
        "runtime": "host",
        "comfy": {"repo": str(EXAMPLE)},
        "custom_nodes": [{"repo": "https://git.example.org/node"}],
        "models": [{"url": f"{files_url}/a.safetensors", "type": "vae"}],
        "options": {"offline": True},
        "python_packages": [
            f"bywheel @ {files_url}/files/bywheel-1.0-py3-none-any.whl",
            f"bysource @ {files_url}/files/bysource-1.0.tar.gz",
            "fromgit @ git+https://git.example.org/fork@main",
        ],
        "patches": [
            {"uninstall": ["idna"], "install": ["private"], "index": f"{files_url}/own/"},
            {"install": [f"{files_url}/files/patched-1.0-py3-none-any.whl"]},
        ],
        "native_packages": [{"name": "insightface", "required": True}],
    }
    path = tmp_path / "trial.json"
    path.write_text(json.dumps(recipe))
    mirror = f"https://git.example.org/={tmp_path / 'repos'}"
    done = packager.run(
        "download", path, "-o", "pantry", "--work", "w1", "--mirror", mirror, env={"UV_INDEX": f"{files_url}/simple"}
    )
    assert done.returncode == 0, done.stderr
    return packager, path, tmp_path / "pantry"


def without_network(packager: Packager, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the program where there is no network and nothing is cached."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        pytest.skip("a network namespace can only be made by root")
    env = {
        **os.environ,
        "PACKAGER_CACHE_DIR": str(packager.folder / "none"),
        "UV_CACHE_DIR": str(packager.folder / "uv"),
    }
    return subprocess.run(
        ["unshare", "-n", *packager.command(*words)],
        cwd=packager.folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )


def test_build_without_network_from_what_was_gathered(gathered: tuple[Packager, Path, Path], tmp_path: Path) -> None:
    packager, recipe, pantry = gathered
    moved = pantry.rename(tmp_path / "carried elsewhere")
    done = without_network(
        packager, "build", recipe, "--offline", "--wheels-dir", moved, "--work", "w2", "--no-prove", "--json"
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(packager.folder / json.loads(done.stdout)["archives"][0]) as archive:
        assert archive.read("trial/ComfyUI/models/vae/a.safetensors") == MODEL
        assert archive.read("trial/ComfyUI/custom_nodes/node/part/part.txt") == b"a part\n"
        modules = {name.rpartition("/")[2] for name in archive.namelist() if "site-packages" in name}
        wanted = "sourceonly demanding bywheel bysource fromgit private patched insightface"
        assert {f"{name}.py" for name in wanted.split()} <= modules
        assert not any("site-packages/idna/" in name for name in archive.namelist())  # a patch took it out
        everything = b"".join(archive.read(name) for name in archive.namelist() if name.endswith((".json", ".txt")))
    assert b"carried elsewhere" not in everything
    history = git(moved / "repositories" / "node.git", "rev-list", "--count", "main")
    assert history == "1"


def test_all_that_is_missing_is_listed_at_once(gathered: tuple[Packager, Path, Path]) -> None:
    packager, recipe, pantry = gathered
    gone = [pantry / "models/vae/a.safetensors", pantry / "wheels/sourceonly-1.0.tar.gz"]
    gone.append(next(pantry.glob("addresses/*/bywheel-*.whl")))
    for path in gone:
        path.unlink()
    cut = next((pantry / "wheels").glob("buildtool-*.whl"))
    cut.write_bytes(b"short")
    done = packager.run("build", recipe, "--offline", "--wheels-dir", pantry, "--work", "w2", "-o", "dist")
    assert done.returncode == 3
    for path in gone:
        assert f"{path.relative_to(pantry).as_posix()}: is missing" in done.stderr
    assert f"{cut.name}: has 5 bytes" in done.stderr
    assert not (packager.folder / "dist").exists()


def test_model_that_was_changed_is_refused(gathered: tuple[Packager, Path, Path]) -> None:
    """Same size, other bytes: the hash of the gathering says so."""
    packager, recipe, pantry = gathered
    empty = {"PACKAGER_CACHE_DIR": str(packager.folder / "none")}
    (pantry / "models/vae/a.safetensors").write_bytes(MODEL[::-1])
    done = packager.run("build", recipe, "--offline", "--wheels-dir", pantry, "--work", "w2", "--no-prove", env=empty)
    assert done.returncode == 3
    assert "sha256" in done.stderr


def test_manifest_that_climbs_out_is_refused(gathered: tuple[Packager, Path, Path]) -> None:
    packager, recipe, pantry = gathered
    manifest = json.loads((pantry / "gathered.json").read_text())
    manifest["sources"]["ComfyUI"] = "../../etc"
    (pantry / "gathered.json").write_text(json.dumps(manifest))
    done = packager.run("build", recipe, "--offline", "--wheels-dir", pantry, "--work", "w2", "--no-prove")
    assert done.returncode == 2
    assert "another format" in done.stderr


def test_folder_with_something_else_is_not_filled(packager: Packager, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    done = packager.run("download", "quickstart", "-o", "mine", "--work", "w")
    assert done.returncode == 2
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
