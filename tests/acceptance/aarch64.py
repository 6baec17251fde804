"""Build the quickstart for linux-aarch64 in an emulated Debian, and run its zip in another folder of it.

Needs Linux, root, bubblewrap, debootstrap, unzip, qemu-user-static registered with binfmt_misc, and the package index;
2 GB of disk and half an hour or more. What is missing is told, with exit code 77.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

PROJECT = Path(__file__).parents[2]
REGISTRATION = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
DEBIAN = "python3,python3-venv,python3-pip,libpython3.13,git,unzip,ca-certificates,bubblewrap"
PYTHON = "3.13"  # of trixie
SKIPPED = 77


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/aarch64"), help="folder to work in")
    work = parser.parse_args().work.resolve()
    needed = ("bwrap", "debootstrap", "dpkg-deb")
    missing = [name for name in needed if not shutil.which(name)]
    if missing or not REGISTRATION.exists() or os.geteuid() != 0:
        print(f"skipped: needs root, {', '.join(needed)} and {REGISTRATION}", file=sys.stderr)
        return SKIPPED
    root = make_root(work / "root")
    (work / "tmp" / "home").mkdir(parents=True, exist_ok=True)
    words = ["-m", "packager", "build", "quickstart", "--runtime", "host", "--target", "linux-aarch64"]
    told = inside(root, work / "tmp", "/usr/bin/python3", *words, "-o", "/tmp/dist", "--work", "/tmp/work", "--json")
    result = json.loads(told)
    assert result["proof"]["passed"], result["proof"]
    run_unzipped(root, work / "tmp", result)
    print(f"{result['archives'][0]}: built, proved by {len(result['proof']['checks'])} checks, and run under qemu-user")
    return 0


def make_root(root: Path) -> Path:
    """Debian packages unpacked (none of their scripts needs to run for Python), and this project's dependencies."""
    if (root / "opt" / "complete").exists():
        return root
    packages = root.with_name("packages")
    for folder in (root, packages):
        shutil.rmtree(folder, ignore_errors=True)
    command = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", f"--include={DEBIAN}", "trixie"]
    subprocess.run([*command, packages], check=True, stdout=subprocess.DEVNULL)
    root.mkdir(parents=True)
    for package in sorted((packages / "var/cache/apt/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    shutil.rmtree(packages)
    subprocess.run(["chroot", root, "/usr/sbin/ldconfig"], check=True)
    words = ["--python-platform", "aarch64-manylinux_2_28", "--python-version", PYTHON, "--only-binary", ":all:"]
    listed = PROJECT / "pyproject.toml"
    subprocess.run(
        [find_uv_bin(), "pip", "install", "-q", *words, "--target", root / "opt/site", "-r", listed], check=True
    )
    (root / "opt" / "complete").touch()
    return root


def inside(root: Path, temporary: Path, *command: str, network: bool = True) -> str:
    """What `command` prints in the Debian, with `temporary` as its /tmp; fails if it does."""
    binds = [
        word for path in ("/etc/ssl/certs", "/etc/resolv.conf", "/etc/hosts") for word in ("--ro-bind", path, path)
    ]
    variables = {
        "PATH": "/opt/site/bin:/usr/bin:/bin",
        "HOME": "/tmp/home",
        "LANG": "C.UTF-8",
        "PYTHONPATH": "/opt/project:/opt/site",
        "PYTHONPYCACHEPREFIX": "/tmp/bytecode",
        "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
    }
    words = ["bwrap", "--bind", root, "/", "--dev", "/dev", "--proc", "/proc", "--bind", temporary, "/tmp", *binds]
    words += ["--ro-bind", PROJECT, "/opt/project", "--die-with-parent", "--clearenv", "--chdir", "/tmp"]
    words += [] if network else ["--unshare-net"]
    words += [word for name, value in variables.items() for word in ("--setenv", name, value)]
    return subprocess.run([*words, *command], check=True, stdout=subprocess.PIPE, text=True).stdout


def run_unzipped(root: Path, temporary: Path, result: dict) -> None:
    """Unzip it on this machine, hide what it was built from, and run it without network."""
    place = temporary / "unzipped é here"
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run(["unzip", "-q", temporary / "dist" / Path(result["archives"][0]).name, "-d", place], check=True)
    (temporary / "work").rename(temporary / "hidden")
    bundle = f"/tmp/{place.name}/{result['root']}"
    try:
        code = "import platform, sys, ssl, PIL._imaging; print(platform.machine(), sys.prefix)"
        said = inside(root, temporary, f"{bundle}/python/bin/python", "-I", "-c", code, network=False)
        assert said.strip() == f"aarch64 {bundle}/python", said
        said = inside(root, temporary, f"{bundle}/manage.sh", "info", network=False)
        assert "linux-aarch64" in said, said
        inside(root, temporary, f"{bundle}/run_comfyui_cpu.sh", "--quick-test-for-ci", network=False)
    finally:
        (temporary / "hidden").rename(temporary / "work")


if __name__ == "__main__":
    sys.exit(main())
