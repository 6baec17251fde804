"""The helper scripts of a bundle: which files go where (helper_scripts/files.json), with which line ends and mode."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from string import Template
from typing import Any

from packager import resources
from packager.bundle import APP_DIR, MODELS_DIR, NODES_DIR, BundleTree
from packager.filesystem import write_atomic
from packager.targets import Target

_TEMPLATE_SUFFIX = ".template"


@dataclass(frozen=True, kw_only=True)
class HelperFile:
    """One file of the helpers. `destination` is relative to the bundle's root; a template's placeholders are filled."""

    source: Path
    destination: PurePosixPath
    mode: int
    crlf: bool
    is_template: bool


def plan_helpers(target: Target, *, source: Path | None = None) -> tuple[HelperFile, ...]:
    """The files a bundle for `target` gets, sorted by destination. `source` is the folder they come from."""
    folder = resources.helper_scripts() if source is None else source
    rules = _read_rules(folder)
    planned = []
    for rule in rules["files"]:
        if target.os not in rule["os"]:
            continue
        for path in sorted(folder.glob(rule["source"])):
            destination = PurePosixPath(rule.get("destination") or path.relative_to(folder).as_posix())
            planned.append(
                HelperFile(
                    source=path,
                    destination=destination,
                    mode=int(rule["mode"], 8),
                    crlf=target.is_windows
                    and any(fnmatch.fnmatchcase(str(destination), pattern) for pattern in rules["crlf_on_windows"]),
                    is_template=path.suffix == _TEMPLATE_SUFFIX,
                )
            )
    return tuple(sorted(planned, key=lambda file: str(file.destination)))


def install_helpers(tree: BundleTree, facts: Mapping[str, Any]) -> tuple[PurePosixPath, ...]:
    """Write the helpers into `tree` and return their places. `facts` is what portable/bundle.json holds.

    The README's placeholders are filled from `facts` and the target. Files there before are replaced.
    """
    words = readme_words(tree.target, facts)
    files = plan_helpers(tree.target)
    for file in files:
        text = file.source.read_text(encoding="utf-8")
        if file.is_template:
            text = Template(text).substitute(words)
        content = text.replace("\r\n", "\n").replace("\n", "\r\n" if file.crlf else "\n").encode()
        write_atomic(tree.root / file.destination, content, mode=file.mode)
    return tuple(file.destination for file in files)


def readme_words(target: Target, facts: Mapping[str, Any]) -> dict[str, str]:
    """The placeholders of README.txt.template."""
    system = _read_rules(resources.helper_scripts())["readme"][target.os]
    title = f"{facts['name']} {facts['version']}"
    floor = facts.get("glibc_floor")
    glibc = f" with glibc {floor} or newer (`ldd --version` shows yours)" if floor else ""
    words = {
        "title": title,
        "underline": "=" * len(title),
        "name": facts["name"],
        "version": facts["version"],
        "target": target.name,
        "root": facts["root"],
        "python_version": facts["python_version"],
        "needs": system["needs"].format(arch=target.arch, glibc=glibc),
        "system_hint": system["hint"],
        "models": _shown(MODELS_DIR, target),
        "output": _shown(f"{APP_DIR}/output", target),
        "node_requirements": _shown(f"{NODES_DIR}/some-node/requirements.txt", target),
    }
    scripts = {"run": "run_comfyui", "run_cpu": "run_comfyui_cpu", "install": "install_package", "manage": "manage"}
    prefix = "" if target.is_windows else "./"
    return words | {word: f"{prefix}{script}{target.script_suffix}" for word, script in scripts.items()}


def _read_rules(folder: Path) -> dict[str, Any]:
    rules: dict[str, Any] = json.loads((folder / "files.json").read_text(encoding="utf-8"))
    return rules


def _shown(path: str, target: Target) -> str:
    return path.replace("/", "\\") if target.is_windows else path
