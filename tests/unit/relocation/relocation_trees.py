"""What the tests of relocation build their wheels and trees with."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import io
import os
import struct
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

from packager import targets
from packager.bundle import BundleTree

STUB = importlib.resources.files("distlib").joinpath("t64.exe").read_bytes()  # of a console launcher
UV = Path(sysconfig.get_path("scripts")) / "uv"
SHELLS = {"sh": ["sh"], "dash": ["dash"], "bash": ["bash"], "busybox": ["busybox", "sh"]}
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

# Prints how it was started, so that a test can compare it to what it asked for.
MAIN = """
def main():
    import sys
    print(sys.executable, *sys.argv[1:], sep="|")
    return 3
"""
ENTRY_POINTS = "[console_scripts]\ndemo = demo_pkg:main\n[gui_scripts]\ndemo-gui = demo_pkg:main\n"
DOC_SCRIPT = '''#!python
"""The help of this script."""
from __future__ import annotations
import sys
def f(x: Undefined): pass
print(__doc__, sys.argv[1:])
'''


def run(command: Sequence[str | Path], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **options)  # type: ignore[call-overload]


def find_python(version: str) -> Path | None:
    """A Python of this minor version: one of pyenv's, or what uv finds."""
    for program in sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python{version}")):
        return program
    words = ["python", "find", "--no-config", "--offline", "--no-python-downloads", "--system", version]
    found = run([UV, *words])
    return None if found.returncode else Path(found.stdout.strip())


def write_wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A real wheel `name`-1.0 of the given files, with a RECORD."""
    info = f"{name}-1.0.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            rows.append(f"{path},sha256={digest},{len(text.encode())}\n")
            archive.writestr(path, text)
        archive.writestr(f"{info}/RECORD", "".join([*rows, f"{info}/RECORD,,\n"]))
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    wheel.write_bytes(stream.getvalue())
    return wheel


def make_tree(root: Path, target: str = "linux-x86_64") -> BundleTree:
    """An empty bundle of the given target, with its scripts folder and site-packages."""
    tree = BundleTree(root=root, target=targets.get(target), python_version="3.11.7")
    tree.scripts.mkdir(parents=True)
    tree.site_packages.mkdir(parents=True)
    return tree


def add_distribution(tree: BundleTree, name: str, owned: dict[str, bytes], *extra_rows: str) -> Path:
    """Files by their path from site-packages, and the RECORD that owns them. Gives the .dist-info folder."""
    info = tree.site_packages / f"{name}-1.0.dist-info"
    info.mkdir()
    rows = []
    for path, content in owned.items():
        place = Path(os.path.normpath(tree.site_packages / path))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(content)}")
    rows += [*extra_rows, f"{info.name}/RECORD,,"]
    (info / "RECORD").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return info


def zipped(comment: bytes = b"", body: str = "print(1)") -> bytes:
    """The archive of a launcher."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", body)
        archive.comment = comment
    return stream.getvalue()


def build_pe(resources: tuple[str, ...], data: bytes = b"") -> bytes:
    """A minimal 64-bit program with named resources of type RCDATA: the shape of uv's trampolines since 0.8.

    `data` lies within its image.
    """
    names = b"".join(struct.pack("<H", len(name)) + name.encode("utf-16-le") for name in resources)
    level_two = 16 + 8
    strings = level_two + 16 + 8 * len(resources)
    root = struct.pack("<IIHHHH", 0, 0, 0, 0, 0, 1) + struct.pack("<II", 10, 0x80000000 | level_two)
    entries, position = b"", strings
    for name in resources:
        entries += struct.pack("<II", 0x80000000 | position, 0)
        position += 2 + 2 * len(name)
    section = root + struct.pack("<IIHHHH", 0, 0, 0, 0, len(resources), 0) + entries + names
    section = section.ljust(0x400, b"\0") + data
    header = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0"
    header += struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x22)
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<H", optional, 68, 3)
    struct.pack_into("<I", optional, 112 + 16, 0x1000)
    table = struct.pack("<8sIIII16x", b".rsrc", len(section), 0x1000, len(section), 0x400)
    return (header + bytes(optional) + table).ljust(0x400, b"\0") + section
