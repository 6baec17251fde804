"""Every command of the pages is run as it stands there, from top to bottom, page after page.

The world they are run in: a checkout of its own whose git remote is a folder, a home of its own, and small repositories
in the place of ComfyUI and its node. `tests/unit/docs/test_pages.py` reads what is not a command.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pages
import pytest
import yaml
from once import made_once

from packager import resources, targets

sys.path.insert(0, str(resources.data_root() / "examples"))
sys.path.insert(0, str(resources.helper_scripts()))

import try_bundle
from portable import cli as portable_cli

from .conftest import Built

pytestmark = pytest.mark.e2e

ROOT = resources.data_root()
RUN_ELSEWHERE = {
    "make quickstart": "`built` is the same build, and the last test here does the rest of it",
    "make test": "it is what runs this test",
    "make lint": "`make test` begins with it",
    "make docs": "`make lint` holds the pages against what it writes",
    ".venv/bin/pytest tests/unit/releases": "the run that this test is part of runs them",
    "./manage.sh node add comfyui-kjnodes@1.1.0": "test_helper_nodes.py has a registry of its own",
    "./manage.sh node update ComfyUI-KJNodes": "test_helper_nodes.py has servers to update from",
}
# What a page leaves to its reader, or has on another machine, and what this reader has in its place.
READERS = {
    "ComfyUI/custom_nodes/some-node/": "ComfyUI/custom_nodes/ComfyUI-KJNodes/",
    # The page's ComfyUI needs torch, hence its output; the example needs numpy.
    "segno>=1.6": "six>=1.16",
    "./install_package.sh segno": "./install_package.sh six",
    "uninstall segno": "uninstall six",
    '--instance next install "numpy<2"': "--instance next install six",
    "node add https://github.com/kijai/ComfyUI-KJNodes": "node add ~/Downloads/OtherNode.zip",
    "node remove ComfyUI-KJNodes": "node remove OtherNode",
    "./some-node.zip": "~/Downloads/some-node.zip",
    "./wheels": "~/../checkout/pantry/wheels",
    "instance create next --ref v0.3.70 --node comfyui-kjnodes": "instance create next",
}
GH = """#!/bin/sh
printf '%s\\n' "$@" >"$HOME/gh.txt"
"""


def commands(page: str) -> list[str]:
    return [
        command.split("   #")[0].strip()
        for b in pages.blocks("console")
        if b.place.startswith(f"{page}:")
        for command in b.commands
    ]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Somebody who reads the pages in `folder`: `checkout` and `home` are theirs."""

    folder: Path

    @property
    def checkout(self) -> Path:
        return self.folder / "checkout"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def environment(self) -> Mapping[str, str]:
        return {
            **os.environ,
            "HOME": str(self.home),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PACKAGER_CONFIG": str(self.folder / "config.yml"),
            "PACKAGER_CACHE_DIR": str(self.folder / "cache"),
            "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or self.uv_cache,
        }

    @property
    def uv_cache(self) -> str:
        """Where uv keeps what it has without a home of the reader's own: the packages are not fetched anew."""
        done = subprocess.run(
            [Path(sys.executable).with_name("uv"), "cache", "dir"], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def run(self, line: str, *, cwd: Path) -> str:
        started = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=cwd,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        print(f"{time.monotonic() - started:6.1f} s  {line}")
        return done.stdout


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True)


def make_repository(folder: Path, source: Path, *tags: str) -> None:
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "config", "user.name", "Reader")
    git(folder, "config", "user.email", "reader@example.org")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "First")
    for tag in tags:
        git(folder, "tag", tag)


def prepare(folder: Path) -> None:
    """What the reader has before the first page."""
    reader = Reader(folder=folder)
    for name in ("home/Downloads", "home/apps", "bin"):
        (folder / name).mkdir(parents=True)
    for name in ("OtherNode", "some-node"):
        shutil.make_archive(str(reader.home / "Downloads" / name), "zip", ROOT / "examples/hello-node")
    for name, text in {
        "packager": f'#!/bin/sh\nPYTHONPATH="{reader.checkout}" exec "{sys.executable}" -m packager "$@"\n',
        "gh": GH,
    }.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    (folder / "plain").mkdir()
    for name in filter(None, listed.split("\0")):
        (folder / "plain" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "plain" / name)
    make_repository(reader.checkout, folder / "plain")
    subprocess.run(["git", "init", "--quiet", "--bare", folder / "origin.git"], check=True)
    git(reader.checkout, "remote", "add", "origin", str(folder / "origin.git"))
    make_repository(folder / "ComfyUI", ROOT / "examples/hello-comfy", "v0.3.64")
    make_repository(folder / "KJNodes", ROOT / "examples/hello-node")
    sources = {"ComfyUI": str(folder / "ComfyUI"), "ComfyUI-KJNodes": str(folder / "KJNodes")}
    (folder / "config.yml").write_text(yaml.safe_dump({"sources": sources}))
    (snippet,) = (block.text for block in pages.blocks("yaml") if block.text.startswith("# my-recipe.yml"))
    # The page's recipe has the default runtime, whose addresses cannot be reached here: it gets the tests' own Python.
    (reader.checkout / "my-recipe.yml").write_text(f"{snippet}runtime: host\n")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    if targets.current().name != "linux-x86_64":
        pytest.skip("the pages tell of linux-x86_64 and its file names")
    return Reader(folder=made_once(tmp_path_factory, "pages", prepare)[0])


def for_the_reader(command: str) -> str:
    for example, own in READERS.items():
        command = command.replace(example, own)
    return command


def test_every_command_of_the_pages(reader: Reader) -> None:
    """One story: the pages build upon each other, as for somebody who reads on. What was done is not done again."""
    order = ("README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
    for command in dict.fromkeys(command for page in order for command in commands(page)):
        if command not in RUN_ELSEWHERE:
            follow(reader, command)
    asked = (reader.home / "gh.txt").read_text().split("\n")
    assert asked[:3] == ["workflow", "run", "release.yml"]
    tags = subprocess.run(
        ["git", "-C", reader.folder / "origin.git", "tag"], capture_output=True, text=True, check=True
    )
    assert tags.stdout == "v0.2.0\n"
    notes = (reader.checkout / "release/RELEASE_NOTES.md").read_text(encoding="utf-8")
    assert "## Changes since 0.1.0" in notes


def follow(reader: Reader, command: str) -> None:
    """Do what one line says, where its reader stands: in the bundle if it is a helper's, else in the checkout."""
    bundle = reader.home / "apps/my-comfyui"
    line = for_the_reader(command)
    if command.startswith("unzip"):
        for path in (reader.checkout / "dist").glob("*.zip"):
            shutil.copy(path, reader.home / "Downloads")
    if command.endswith("run_comfyui.sh"):
        see_it_start((bundle / command).parent)
    elif command.startswith("./"):
        reader.run(f"{line} --yes" if asks(command) else line, cwd=bundle)
    else:
        reader.run(line, cwd=reader.checkout)


def asks(command: str) -> bool:
    """Whether it asks a person, who is not there, before it does something: then it has an option to say yes."""
    words = shlex.split(command)
    words = ["install", *words[1:]] if words[0] == "./install_package.sh" else words[1:]
    words = words[2:] if words[0] == "--instance" else words
    parser = portable_cli._parser(words)
    while under := next((it for it in parser._actions if isinstance(it, argparse._SubParsersAction)), None):
        parser, words = under.choices[words[0]], words[1:]
    return "--yes" in parser._option_string_actions


def see_it_start(root: Path) -> None:
    port = try_bundle.free_port()
    log = root.parent / "log"
    with try_bundle.running(root, port, log), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as answer:
        assert answer.status == 200


def test_what_is_run_elsewhere_is_on_the_pages() -> None:
    everything = {c for page in pages.PAGES for c in commands(page.relative_to(ROOT).as_posix())}
    assert set(RUN_ELSEWHERE) <= everything
    assert all(any(words in command for command in everything) for words in READERS)


def test_quickstart_is_a_build_and_a_trial_of_what_it_left(built: Built, tmp_path: Path) -> None:
    dry = ["make", "--dry-run", "--old-file", ".venv/.stamp", "quickstart"]
    done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert [".venv/bin/packager", "build", "quickstart", "-o", "dist"] in lines
    assert [".venv/bin/python", "examples/try_bundle.py", "dist"] in lines
    shutil.copy(built.zip, tmp_path)
    subprocess.run([sys.executable, ROOT / "examples/try_bundle.py", tmp_path], check=True)
    assert (tmp_path / "quickstart.png").stat().st_size > 1000
