"""Small bundles to call helpers in, with a tiny app that tells how it was started; and small wheels to install."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import zipfile
from pathlib import Path

from packager import targets
from packager.bundle import BundleTree
from packager.helpers import install_helpers

REPOSITORY = Path(__file__).parents[3]

# Tells how it was started: arguments as the hex of their bytes, so that nothing is lost on the way.
TELLING_APP = """\
import json, os, sys
try:
    print(json.dumps({
        "arguments": [word.encode("utf-8", "surrogateescape").hex() for word in sys.argv[1:]],
        "cwd": os.getcwd(), "pid": os.getpid(), "executable": sys.executable, "environment": dict(os.environ),
    }), flush=True)
    if "--wait" in sys.argv:
        sys.stdin.read()
except KeyboardInterrupt:
    sys.exit(42)
sys.exit(int(os.environ.get("EXIT_CODE", "0")))
"""

# Loads nodes, and tells which could not be loaded, in ComfyUI's words.
LOADING_APP = """\
import importlib.util, pathlib, sys
for path in sorted(pathlib.Path(__file__).with_name("custom_nodes").iterdir()):
    if path.name.startswith((".", "__")) or not (path.is_dir() or path.suffix == ".py"):
        continue
    try:
        place = path / "__init__.py" if path.is_dir() else path
        spec = importlib.util.spec_from_file_location("node_" + path.stem.replace("-", "_"), place)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        print(f"Cannot import {path} module for custom nodes: {error}")
        print(f"   0.0 seconds (IMPORT FAILED): {path}")
print("arguments", sys.argv[1:])
"""


def facts(target: targets.Target, **changes: object) -> dict[str, object]:
    return {
        "format": 1,
        "name": "fake",
        "version": "1.2.3",
        "target": target.name,
        "root": "fake",
        "python_version": "3.11.9",
        "app": "ComfyUI",
        "env": {"RECIPE_SAYS": "hello & é"},
        "glibc_floor": None,
        "launch": {"args": []},
        **changes,
    }


def fill_bundle(root: Path, target: targets.Target, **changes: object) -> BundleTree:
    """Helpers, bundle.json, an empty lock and the telling app in `root`."""
    tree = BundleTree(root=root, target=target, python_version="3.11.9")
    tree.app.mkdir(parents=True)
    (tree.app / "main.py").write_text(TELLING_APP, encoding="utf-8")
    install_helpers(tree, facts(target, **changes))
    (tree.portable / "bundle.json").write_text(json.dumps(facts(target, **changes)), encoding="utf-8")
    (tree.portable / "lock.txt").write_text("", encoding="utf-8")
    return tree


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: tuple[str, ...] = (),
    files: dict[str, str] | None = None,
) -> Path:
    """A wheel with one module and one console script of the wheel's name; `files` are added as they are."""
    info = f"{name}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {line}\n" for line in requires)
    content = {
        f"{name}.py": f'def main():\n    import sys\n    print("{name} {version} on", sys.executable)\n',
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
        **(files or {}),
    }
    rows = []
    for path, text in content.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text.encode())}\n")
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in content.items():
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join(rows) + f"{info}/RECORD,,\n")
    return wheel


def call(*command: str | Path | bytes, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `command` with `env` added to the environment; output as text."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=120,
        check=False,
    )
