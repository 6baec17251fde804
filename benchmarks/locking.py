"""Our lock and comfy-cli's compiler on the same ComfyUI and nodes, in one run: time, conflicts, and what each picks.

    python benchmarks/locking.py --comfyui PATH --node NAME=PATH... [--work DIR]

PATH is a local copy of a repository, bare or not, or a plain folder. comfy-cli is installed from the package index into
an environment of its own, beside the uv that we use, and resolves for the same Python. Each has a cache of its own,
empty at the first turn. Where comfy-cli asks its user which version to take, the answer is `latest`.

A line of a node is unmet if what was picked does not admit it, and told if a conflict that was shown names it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from packager import targets
from packager.resolution.declared import declared_requirements
from packager.resolution.markers import applies, marker_environment

_DRIVER = """
import json, sys, time
from comfy_cli import ui
from comfy_cli.uv import DependencyCompiler
asked = []
def answer(question, choices, default=None, **_):
    asked.append(choices)
    return "latest"
ui.prompt_select = answer
compiler = DependencyCompiler(cwd=sys.argv[1], executable=sys.executable, gpu=None, outDir=sys.argv[2])
start = time.monotonic()
error = None
try:
    compiler.compile_deps()
except BaseException as failure:
    error = f"{type(failure).__name__}: {failure}"
print("RESULT", json.dumps({"seconds": time.monotonic() - start, "asked": asked, "error": error}))
"""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """`seconds`: with an empty cache, then again. `picked`: version by package. `told`: (node, line as it stands)."""

    seconds: tuple[float, float]
    picked: dict[str, str]
    conflicts: int
    told: frozenset[tuple[str, str]] = field(default_factory=frozenset)
    error: str | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True, help="a local copy of ComfyUI")
    parser.add_argument("--node", action="append", default=[], metavar="NAME=PATH", help="a local copy of a node")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    words = parser.parse_args()
    nodes = {name: Path(path).resolve() for name, _, path in (item.partition("=") for item in words.node)}
    with tempfile.TemporaryDirectory(prefix="locking-benchmark-", dir=words.work) as scratch:
        work = Path(scratch)
        workspace = check_out(words.comfyui.resolve(), nodes, work / "workspace")
        rows = {"packager": ours(words.comfyui.resolve(), nodes, work), "comfy-cli": theirs(workspace, work)}
        show(rows, lines_of(workspace), len(nodes))
    return 0


def check_out(comfyui: Path, nodes: dict[str, Path], workspace: Path) -> Path:
    """A workspace as comfy-cli has it: ComfyUI with custom_nodes/."""
    for place, source in {"": comfyui, **{f"custom_nodes/{name}": path for name, path in nodes.items()}}.items():
        folder = workspace / place
        if (source / "HEAD").is_file() or (source / ".git").exists():
            subprocess.run(["git", "clone", "--quiet", source, folder], check=True)
        else:
            shutil.copytree(source, folder)
    (workspace / "custom_nodes").mkdir(exist_ok=True)
    return workspace


def ours(comfyui: Path, nodes: dict[str, Path], work: Path) -> Outcome:
    """The whole command `packager lock --upgrade`, twice."""
    recipe = work / "recipe.json"
    repositories = [{"repo": f"https://example.org/local/{name}", "name": name} for name in nodes]
    comfy = {"repo": "https://example.org/local/ComfyUI"}
    value = {
        "schema_version": 2,
        "version_id": "bench",
        "runtime": "host",
        "comfy": comfy,
        "custom_nodes": repositories,
    }
    recipe.write_text(json.dumps(value), encoding="utf-8")
    sources = [word for name, path in {"ComfyUI": comfyui, **nodes}.items() for word in ("--source", f"{name}={path}")]
    command = [sys.executable, "-m", "packager", "lock", str(recipe), "--work", str(work / "ours"), "--upgrade"]
    env = {**os.environ, "UV_CACHE_DIR": str(work / "our-uv"), "PACKAGER_CACHE_DIR": str(work / "our-cache")}
    seconds = []
    for _ in range(2):
        start = time.monotonic()
        done = subprocess.run([*command, *sources, "--json"], env=env, stdout=subprocess.PIPE, text=True, check=False)
        seconds.append(time.monotonic() - start)
    value = json.loads(done.stdout)
    if done.returncode:
        return Outcome(seconds=(seconds[0], seconds[1]), picked={}, conflicts=0, error=value["error"])
    return Outcome(
        seconds=(seconds[0], seconds[1]),
        picked={canonicalize_name(package["name"]): package["version"] for package in value["packages"]},
        conflicts=len(value["decisions"]),
        told=frozenset((wish["layer"], wish["text"]) for item in value["decisions"] for wish in item["overruled"]),
    )


def theirs(workspace: Path, work: Path) -> Outcome:
    """comfy-cli's DependencyCompiler, twice."""
    python = work / "comfy-cli" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, work / "comfy-cli"], check=True)
    tools = ["comfy-cli", f"uv=={metadata.version('uv')}", "pip"]
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, *tools], check=True)
    env = {**os.environ, "UV_CACHE_DIR": str(work / "their-uv"), "DO_NOT_TRACK": "1"}
    results = []
    for turn in range(2):
        out = work / f"theirs-{turn}"
        out.mkdir()
        command = [str(python), "-c", _DRIVER, str(workspace), str(out)]
        said = subprocess.run(command, env=env, capture_output=True, text=True, check=False).stdout
        results.append(json.loads(said.rpartition("RESULT ")[2]))
    compiled = out / "requirements.compiled"
    text = compiled.read_text(encoding="utf-8") if compiled.is_file() and not results[1]["error"] else ""
    pins = [line.split(" ")[0].partition("==") for line in text.splitlines() if "==" in line and line[:1].isalnum()]
    return Outcome(
        seconds=(results[0]["seconds"], results[1]["seconds"]),
        picked={canonicalize_name(name): version for name, _, version in pins},
        conflicts=len(results[1]["asked"]),
        error=results[1]["error"],
    )


def lines_of(workspace: Path) -> list[tuple[str, Requirement, str]]:
    """Each line of a node that counts here: node, requirement, the line as it stands."""
    environment = marker_environment(targets.current(), platform.python_version())
    found = []
    for folder in sorted((workspace / "custom_nodes").iterdir()):
        for line in declared_requirements(folder).kept if folder.is_dir() else ():
            requirement = Requirement(line.requirement)
            if not requirement.url and applies(requirement, environment):
                found.append((folder.name, requirement, line.requirement))
    return found


def show(rows: dict[str, Outcome], lines: list[tuple[str, Requirement, str]], nodes: int) -> None:
    versions = f"packager (uv {metadata.version('uv')}), Python {platform.python_version()}"
    print(f"{nodes} nodes, {len(lines)} lines; {versions}\n")
    print("| | first, s | again, s | packages | cv2 from | conflicts shown | lines unmet | of these told |")
    print("|---|---:|---:|---:|---|---:|---:|---:|")
    ours_again = rows["packager"].seconds[1]
    for name, row in rows.items():
        unmet = [(node, text) for node, requirement, text in lines if not met(requirement, row.picked)]
        told = [item for item in unmet if item in row.told]
        cv2 = " and ".join(sorted(package for package in row.picked if package.startswith("opencv"))) or "none"
        first, again = row.seconds
        figures = f"{first:.1f} | {again:.1f} ({again / ours_again:.2f}x) | {len(row.picked)} | {cv2}"
        print(f"| {name} | {figures} | {row.conflicts} | {len(unmet)} | {len(told)} |")
        if row.error:
            print(f"\n{name} gave up: {row.error}\n", file=sys.stderr)
    one, other = rows["packager"].picked, rows["comfy-cli"].picked
    different = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    print("\n| package | packager | comfy-cli |\n|---|---|---|")
    for name in different:
        print(f"| {name} | {one.get(name, '-')} | {other.get(name, '-')} |")


def met(requirement: Requirement, picked: dict[str, Any]) -> bool:
    version = picked.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


if __name__ == "__main__":
    sys.exit(main())
