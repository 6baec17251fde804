"""One real build of the quickstart recipe, shared by the tests that only look at its result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from once import made_once


@dataclass(frozen=True, kw_only=True)
class Packager:
    """Runs the program as a user does, in a folder of its own."""

    folder: Path

    def command(self, *words: str | Path) -> list[str]:
        return [sys.executable, "-m", "packager", *map(str, words)]

    def run(
        self, *words: str | Path, env: dict[str, str] | None = None, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *words: str | Path, code: int = 0) -> dict[str, Any]:
        done = self.run(*words, "--json")
        assert done.returncode == code, done.stderr[-5000:]
        value: dict[str, Any] = json.loads(done.stdout)
        return value

    def build(self, *words: str | Path, recipe: str | Path = "quickstart", code: int = 0) -> dict[str, Any]:
        return self.json("build", recipe, "-o", self.folder / "dist", "--work", self.folder / "work", *words, code=code)


@dataclass(frozen=True, kw_only=True)
class Built:
    packager: Packager
    result: dict[str, Any]

    @property
    def zip(self) -> Path:
        return Path(self.result["archives"][0])


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder, result = made_once(tmp_path_factory, "quickstart", lambda folder: Packager(folder=folder).build())
    return Built(packager=Packager(folder=folder), result=result)


@pytest.fixture
def packager(tmp_path: Path) -> Packager:
    return Packager(folder=tmp_path)


def write_app(folder: Path, files: dict[str, str]) -> Path:
    """A folder of text files: an app or a node of the test's own."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def write_recipe(folder: Path, *lines: str, nodes: Sequence[Path] = ()) -> Path:
    """A recipe around the embedded example app, with nodes of the test's own and further lines."""
    example = Path(__file__).parents[2] / "examples" / "hello-comfy"
    text = ["schema_version: 2", "version_id: trial", "runtime: host", f"comfy: {{repo: {json.dumps(str(example))}}}"]
    if nodes:
        text += ["custom_nodes:", *(f"  - {{repo: {json.dumps(str(node))}, name: {node.name}}}" for node in nodes)]
    path = folder / "trial.yml"
    path.write_text("\n".join([*text, *lines, ""]), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def miniforge_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a conda channel, a Miniforge installer and wheels; see miniforge_world.py."""
    from .miniforge_world import make_world

    return made_once(tmp_path_factory, "miniforge", make_world)[0]


@pytest.fixture(scope="session")
def road(miniforge_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bundle built there: a `miniforge_world.Road`."""
    from .miniforge_world import build_road, built_road

    _, facts = made_once(tmp_path_factory, "miniforge-road", lambda _: build_road(miniforge_world))
    return built_road(miniforge_world, facts)
