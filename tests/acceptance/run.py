"""Build real ComfyUI and nodes, run them where nothing is installed: `make acceptance COMFYUI=PATH NODES=PATH...`.

Needs Linux, root, bubblewrap, debootstrap, unzip, about 25 GB of disk and the package index; outside CI.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comfyui", type=Path, required=True, help="a local copy of ComfyUI's repository, bare or not")
    parser.add_argument(
        "--nodes", type=Path, nargs="*", default=[], help="local copies of node repositories, NAME=PATH"
    )
    parser.add_argument("--work", type=Path, default=Path("build/acceptance"), help="folder to work in")
    parser.add_argument("--root", type=Path, help="a Debian root without Python (default: made with debootstrap)")
    words = parser.parse_args()
    work = words.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    result = build(work, words.comfyui, [str(node) for node in words.nodes])
    root = words.root or make_root(work / "trixie")
    first = unzip([Path(name) for name in result["archives"]], work / "unzipped é here" / "first place")
    run_inside(root, first / result["root"])
    moved = work / "unzipped é here" / "moved (2)"
    first.rename(moved)
    run_inside(root, moved / result["root"])
    subprocess.run(["rm", "-rf", work / "unzipped é here"], check=True)
    show(result)
    return 0


def build(work: Path, comfyui: Path, nodes: list[str]) -> dict:
    """`packager build` of recipe.yml with the nodes added; returns what it printed."""
    recipe = work / "acceptance.yml"
    lines = [(HERE / "recipe.yml").read_text(encoding="utf-8"), "custom_nodes:"]
    sources = ["--source", f"ComfyUI={comfyui.resolve()}"]
    for node in nodes:
        name, _, path = node.rpartition("=")
        name = name or Path(path).stem
        lines.append(f"  - {{ repo: 'https://github.com/local/{name}', name: '{name}' }}")
        sources += ["--source", f"{name}={Path(path).resolve()}"]
    recipe.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "packager",
        "build",
        recipe,
        "-o",
        work / "dist",
        "--work",
        work / "work",
        "--json",
    ]
    done = subprocess.run([*map(str, command), *sources], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def make_root(root: Path) -> Path:
    if not (root / "bin" / "sh").exists():
        subprocess.run(["debootstrap", "--variant=minbase", "trixie", root], check=True, stdout=subprocess.DEVNULL)
    return root


def unzip(archives: list[Path], folder: Path) -> Path:
    subprocess.run(["rm", "-rf", folder.parent], check=True)
    folder.mkdir(parents=True)
    start = time.monotonic()
    for archive in archives:
        subprocess.run(["unzip", "-q", archive, "-d", folder], check=True)
    print(f"unzip: {time.monotonic() - start:.0f} s")
    return folder


def run_inside(root: Path, bundle: Path) -> None:
    """Start the bundle in `root`: no network but loopback, no environment, nothing of this machine but the bundle."""
    inside = f"/opt/{bundle.parent.name}/{bundle.name}"
    command = [
        "bwrap",
        "--ro-bind",
        root,
        "/",
        "--tmpfs",
        "/opt",
        "--bind",
        bundle.parent,
        f"/opt/{bundle.parent.name}",
    ]
    command += [
        "--ro-bind",
        HERE / "inside.sh",
        "/opt/inside.sh",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "--tmpfs",
        "/tmp",
    ]
    command += [
        "--unshare-net",
        "--unshare-pid",
        "--die-with-parent",
        "--clearenv",
        "--setenv",
        "PATH",
        "/usr/bin:/bin",
    ]
    start = time.monotonic()
    subprocess.run([*map(str, command), "/bin/sh", "/opt/inside.sh", inside], check=True)
    print(f"ran in {bundle.parent.name!r}: {time.monotonic() - start:.0f} s")


def show(result: dict) -> None:
    size, files = result["size"], result["files"]
    print(f"installed {size['before'] / 1e6:.0f} MB in {files['before']} files")
    print(f"bundle    {size['after'] / 1e6:.0f} MB in {files['after']} files")
    print(f"archive   {size['archive'] / 1e6:.0f} MB")
    for stage in result["stages"]:
        print(f"{stage['name']:>10} {stage['seconds']:8.1f} s{' (reused)' if stage['reused'] else ''}")


if __name__ == "__main__":
    sys.exit(main())
