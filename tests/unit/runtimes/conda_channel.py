"""A conda channel of real .conda packages and a Miniforge installer, made of the Python that runs the tests."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from conda_package_streaming.create import anonymize, conda_builder
from rattler.index import index_fs

from packager import targets

PLACEHOLDER = ("/opt/placehold" + "_placehold" * 30)[:255]  # as long as conda-build makes it
_TIME = 1_700_000_000


def make_package(
    channel: Path,
    content: Path,
    *,
    name: str,
    version: str,
    subdir: str,
    depends: list[str],
    placeholders: Mapping[str, str] | None = None,
    python_package: bool = False,
    entry_points: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
) -> None:
    """`placeholders`: path -> text or binary. `python_package`: a `noarch: python` one with these `entry_points`."""
    entries = []
    for path in sorted(content.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            continue
        data = path.read_bytes()
        entry = {
            "_path": path.relative_to(content).as_posix(),
            "path_type": "softlink" if path.is_symlink() else "hardlink",
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_in_bytes": len(data),
        }
        if entry["_path"] in (placeholders or {}):
            entry |= {"file_mode": placeholders[entry["_path"]], "prefix_placeholder": PLACEHOLDER}
        entries.append(entry)
    index = {
        "name": name,
        "version": version,
        "build": "0",
        "build_number": 0,
        "depends": depends,
        "subdir": subdir,
        "timestamp": _TIME * 1000,
        "license": "MIT",
        **({"noarch": "python"} if python_package else {}),
        **(more or {}),
    }
    information = {"index.json": index, "paths.json": {"paths": entries, "paths_version": 1}, "about.json": {}}
    if python_package:
        information["link.json"] = {
            "noarch": {"type": "python", "entry_points": list(entry_points)},
            "package_metadata_version": 1,
        }
    folder = channel / subdir
    folder.mkdir(parents=True, exist_ok=True)
    with conda_builder(f"{name}-{version}-0", str(folder), compression_level=1) as archive:
        texts = {member: json.dumps(value) for member, value in information.items()}
        texts |= {"licenses/LICENSE.txt": f"the licence of {name}\n"}
        for member, text in texts.items():
            data = text.encode()
            header = tarfile.TarInfo(f"info/{member}")
            header.size, header.mtime = len(data), _TIME
            archive.addfile(header, io.BytesIO(data))
        for entry in entries:
            archive.add(str(content / entry["_path"]), entry["_path"], filter=anonymize)


def make_channel(
    channel: Path, python: Path, version: str, work: Path, *, placeholders: Mapping[str, str] | None = None
) -> None:
    """`python`: a self-contained prefix, which becomes package `python`. Beside it pip and `extra`.

    `placeholders`: files of `python` that hold PLACEHOLDER, as of make_package.
    """
    subdir = targets.current().conda_subdir
    content = work / "python"
    shutil.copytree(python, content, symlinks=True)
    minor = ".".join(version.split(".")[:2])
    script = content / "bin" / "where-am-i"
    script.write_text(f"#!{PLACEHOLDER}/bin/python{minor}\nimport sys\nprint(sys.prefix)\n")
    script.chmod(0o755)
    (content / "bin" / "pip").unlink(missing_ok=True)
    settings = content / "etc" / "settings.conf"
    settings.parent.mkdir()
    settings.write_text(f"prefix={PLACEHOLDER}/share\n")
    binary = content / "lib" / "table.bin"
    binary.write_bytes(b"\0head\0" + PLACEHOLDER.encode() + b"/share\0tail")
    make_package(
        channel,
        content,
        name="python",
        version=version,
        subdir=subdir,
        depends=[],
        placeholders={
            "bin/where-am-i": "text",
            "etc/settings.conf": "text",
            "lib/table.bin": "binary",
            **(placeholders or {}),
        },
        more={"python_site_packages_path": f"lib/python{minor}/site-packages"},
    )
    wheel = next(Path(sys.base_prefix).glob("lib/python3*/ensurepip/_bundled/pip-*.whl"))
    zipfile.ZipFile(wheel).extractall(work / "pip" / "site-packages")
    make_package(
        channel,
        work / "pip",
        name="pip",
        version=wheel.name.split("-")[1],
        subdir="noarch",
        depends=["python"],
        python_package=True,
    )
    (work / "extra" / "share").mkdir(parents=True)
    (work / "extra" / "share" / "extra.txt").write_text("extra\n")
    make_package(channel, work / "extra", name="extra", version="1.0", subdir=subdir, depends=[])
    index(channel)


def index(channel: Path) -> None:
    (channel / "noarch").mkdir(exist_ok=True)
    asyncio.run(index_fs(channel, write_zst=False, write_shards=False))


def make_foreign_pythons(channel: Path, work: Path, version: str) -> None:
    """Packages `python` for Windows and two more systems, of which only the index is ever read; each wants its system
    as conda-forge's does."""
    needs = {"win-64": "__win", "osx-arm64": "__osx >=11.0", "linux-aarch64": "__glibc >=2.17,<3.0.a0"}
    for subdir, need in needs.items():
        content = work / subdir
        content.mkdir(parents=True)
        (content / "python.txt").write_text(f"a Python for {subdir}\n")
        make_package(channel, content, name="python", version=version, subdir=subdir, depends=[need])
        make_package(channel, content, name="extra", version="1.0", subdir=subdir, depends=[])
    index(channel)


def make_installer(release: Path, *, program: str = "conda") -> Path:
    """A constructor-style installer with `.sha256` beside it, as below GitHub's releases/latest/download.

    `program`: conda or mamba, whichever it shall bring.
    """
    release.mkdir(parents=True)
    installer = release / targets.current().miniforge_installer
    stand_in = Path(__file__).with_name("conda_stand_in.py")
    installer.write_text(
        f"""#!/bin/sh
batch=0 update=0 prefix=$HOME/miniforge3
while getopts bfhup:s option; do
  case $option in b) batch=1;; u) update=1;; p) prefix=$OPTARG;; *) exit 3;; esac
done
[ $batch = 1 ] || {{ echo "would ask for the licence" >&2; exit 3; }}
case $prefix in *" "*) echo "cannot install into a folder with a space" >&2; exit 1;; esac
[ -e "$prefix" ] && [ $update = 0 ] && {{ echo "already exists: $prefix" >&2; exit 1; }}
mkdir -p "$prefix/bin"
cat >"$prefix/bin/{program}" <<'END'
#!/bin/sh
STAND_IN={program} exec "{sys.executable}" "{stand_in}" "$@"
END
chmod +x "$prefix/bin/{program}"
"""
    )
    digest = hashlib.sha256(installer.read_bytes()).hexdigest()
    installer.with_name(f"{installer.name}.sha256").write_text(f"{digest}  ./{installer.name}{os.linesep}")
    return installer
