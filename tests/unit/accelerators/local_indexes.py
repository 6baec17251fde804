"""Wheels of a few bytes, their names, metadata and version.py those of the real ones, in a simple index (PEP 503)."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


def torch_version_py(label: str | None, **said: str | None) -> str:
    """As torch's build writes it (pytorch tools/generate_torch_version.py)."""
    version = "2.11.0" + (f"+{label}" if label else "")
    words = {"cuda": None, "hip": None, "rocm": None, "xpu": None} | said
    lines = [f"{name}: Optional[str] = {value!r}" for name, value in words.items()]
    return "\n".join(["from typing import Optional", "", f"__version__ = {version!r}", "debug = False", *lines, ""])


def vision_version_py(version: str) -> str:
    """As torchvision's: it imports torch, so it can only be read, not run."""
    return (
        f"__version__ = {version!r}\ngit_version = '336d36e8'\nfrom torchvision.extension import _check_cuda_version\n"
        "if _check_cuda_version() > 0:\n    cuda = _check_cuda_version()\n"
    )


def write_wheel(folder: Path, name: str, version: str, *, requires: Sequence[str] = (), **files: str) -> Path:
    """A wheel for every platform. Keys of `files` are names in the package, with `__` for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    members = {f"{name}/__init__.py": ""}
    members |= {f"{name}/{member.replace('__', '.')}": text for member, text in files.items()}
    members |= {
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{member},,\n" for member in [*members, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for member, text in members.items():
            archive.writestr(zipfile.ZipInfo(member), text)
    path.write_bytes(content.getvalue())
    return path


@dataclass(frozen=True, kw_only=True)
class Indexes:
    folder: Path
    url: str

    def index(self, name: str) -> str:
        return f"{self.url}/{name}/"

    def wheel(self, index: str, name: str, version: str) -> str:
        return f"{self.url}/{index}/{name}/{quote(f'{name}-{version}-py3-none-any.whl')}"

    def add(self, index: str, name: str, version: str, *, requires: Sequence[str] = (), **files: str) -> Path:
        folder = self.folder / index / name.replace("_", "-")
        wheel = write_wheel(folder, name, version, requires=requires, **files)
        links = [
            f'<a href="{quote(path.name)}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}">{path.name}</a>'
            for path in sorted(folder.glob("*.whl"))
        ]
        (folder / "index.html").write_text("\n".join(links))
        return wheel
