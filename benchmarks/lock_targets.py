"""One recipe of ComfyUI and nodes locked for several targets: time, packages, and which conflicts each target has.

    python benchmarks/lock_targets.py --index URL --comfyui PATH --node NAME=PATH... [--target T]... [--python X.Y.Z]

PATH is a local copy of a repository, bare or not, or a plain folder. Linux and Windows get the build of torch for CUDA
13.0, macOS that for MPS. torch's own index is stood in for on 127.0.0.1: the same names, tags and dependencies, as the
package index has them of the same versions, with the label of the build. No wheel is fetched. The Python is taken for
granted: Miniforge is not asked.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib import metadata, resources
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin

import requests
import yaml
from packaging.utils import parse_wheel_filename

from packager import targets
from packager.console import Console
from packager.errors import ResolveError
from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors
from packager.lock import Lock
from packager.origins import Origins
from packager.recipe import load_recipe
from packager.resolve import ELSEWHERE, resolve
from packager.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from simple_index import SimpleIndex, serve

_BUILD = "cu130"


@dataclass(frozen=True, kw_only=True)
class Timed:
    """`error` is the line that cannot be had, where there is no lock."""

    seconds: float
    lock: Lock | None
    error: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comfyui", type=Path, required=True, help="a local copy of ComfyUI")
    parser.add_argument("--node", action="append", default=[], metavar="NAME=PATH", help="a local copy of a node")
    parser.add_argument("--target", action="append", choices=sorted(targets.TARGETS), help="which (default: three)")
    parser.add_argument("--python", default="3.12.11", metavar="X.Y.Z", help="the version to lock for")
    parser.add_argument(
        "--index",
        default=os.environ.get("UV_DEFAULT_INDEX"),
        required="UV_DEFAULT_INDEX" not in os.environ,
        metavar="URL",
        help="the package index, in whose form torch's own is imitated (default: UV_DEFAULT_INDEX)",
    )
    parser.add_argument("--exclude", action="append", default=[], metavar="PACKAGE", help="as `excludes:` of a recipe")
    parser.add_argument("--work", type=Path, help="folder to work in (default: a temporary one)")
    words = parser.parse_args()
    nodes = {name: Path(path).resolve() for name, _, path in (item.partition("=") for item in words.node)}
    sources = {"ComfyUI": words.comfyui.resolve(), **nodes}
    names = words.target or ["linux-x86_64", "windows-x86_64", "macos-arm64"]
    with (
        tempfile.TemporaryDirectory(prefix="lock-targets-", dir=words.work) as scratch,
        stand_in(words.index, words.python) as index,
    ):
        locks = {
            name: lock(targets.get(name), sources, words.python, index.address, words.exclude, Path(scratch))
            for name in names
        }
    show(locks, len(nodes), words.python)
    return 0


@contextlib.contextmanager
def stand_in(package_index: str, python: str) -> Iterator[SimpleIndex]:
    """torch's index with the newest family of the table of accelerators, which has no label on the package index."""
    tag = "cp" + "".join(python.split(".")[:2])
    family = next(row for row in torch_table()["sets"] if _BUILD in row["for"])
    with serve(_BUILD) as (index,):
        for name, version in family.items():
            if name == "for":
                continue
            page = requests.get(f"{package_index.rstrip('/')}/{name}/", timeout=60)
            page.raise_for_status()
            for link in re.findall(
                rf'href="([^"#]*/{name}-{version}-{tag}-{tag}-(?:manylinux|win)[^"#]*\.whl)', page.text
            ):
                address = urljoin(page.url, link)
                tags = parse_wheel_filename(PurePosixPath(link).name)[3]
                index.add(name, f"{version}+{_BUILD}", *map(str, tags), requires=needs_of(address))
        yield index


def needs_of(wheel: str) -> list[str]:
    """What the wheel at an address requires; no more of it is fetched than that takes."""
    with zipfile.ZipFile(io.BufferedReader(Remote(wheel), 1 << 16)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return HeaderParser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])


class Remote(io.RawIOBase):
    """A file at an address, read in ranges (RFC 9110, section 14)."""

    def __init__(self, address: str) -> None:
        self._address, self._place = address, 0
        self._size = int(requests.head(address, timeout=60, allow_redirects=True).headers["Content-Length"])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        end = min(self._place + len(buffer), self._size)
        if end <= self._place:
            return 0
        said = requests.get(self._address, headers={"Range": f"bytes={self._place}-{end - 1}"}, timeout=60)
        if said.status_code != requests.codes.partial_content:
            raise OSError(f"{self._address}: no ranges, but status {said.status_code}")
        buffer[: len(said.content)] = said.content
        self._place += len(said.content)
        return len(said.content)


def torch_table() -> dict[str, Any]:
    path = resources.files("packager.accelerators") / "accelerators.yml"
    table: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return table


def lock(
    target: targets.Target, sources: Mapping[str, Path], python: str, index: str, excludes: Sequence[str], work: Path
) -> Timed:
    """`sources`: ComfyUI first, then the nodes."""
    comfy, *nodes = [{"repo": f"https://example.org/local/{name}", "name": name} for name in sources]
    build = "mps" if target.os == "macos" else _BUILD
    value = {"schema_version": 2, "version_id": "bench", "accelerator": build, "custom_nodes": nodes}
    value |= {"excludes": [*excludes]} if excludes else {}
    value |= {"comfy": {"repo": comfy["repo"]}} | ({} if target.os == "macos" else {"torch": {"index": index}})
    path = work / f"{target.name}.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    start = time.monotonic()
    try:
        found = resolve(
            load_recipe(path),
            target=target,
            runtime={"name": "miniforge", "python": python},
            origins=Origins(
                settings=Settings(sources={name: str(source) for name, source in sources.items()}),
                cache=Cache(work / "cache"),
                mirrors=Mirrors.parse([]),
            ),
            work=work / target.name,
            console=Console(quiet=True),
        )
    except ResolveError as error:
        return Timed(seconds=time.monotonic() - start, lock=None, error=" ".join(error.what.splitlines()[1].split()))
    return Timed(seconds=time.monotonic() - start, lock=found)


def show(rows: Mapping[str, Timed], nodes: int, python: str) -> None:
    print(f"{nodes} nodes; packager (uv {metadata.version('uv')}), Python {python}\n")
    print("| target | s | packages | torch | conflicts | lines asked | for elsewhere | left out |")
    print("|---|---:|---:|---|---:|---:|---:|---:|")
    for name, row in rows.items():
        if row.lock is None:
            print(f"| {name} | {row.seconds:.1f} | none: {row.error} | | | | | |")
            continue
        pins = {package.name: package.version for package in row.lock.packages}
        elsewhere = sum(item.reason == ELSEWHERE for item in row.lock.removed)
        counts = f"{len(row.lock.decisions)} | {len(row.lock.asked)} | {elsewhere}"
        left = len(row.lock.removed) - elsewhere
        print(f"| {name} | {row.seconds:.1f} | {len(pins)} | {pins.get('torch', '-')} | {counts} | {left} |")
    print("\n| package | chosen | rule | overruled | on |\n|---|---|---|---|---|")
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for name, row in rows.items():
        for item in row.lock.decisions if row.lock else ():
            overruled = "; ".join(f"{wish.layer}: {wish.text}" for wish in item.overruled)
            found.setdefault((item.package, item.chosen, item.rule, overruled), []).append(name)
    for (package, chosen, rule, overruled), names in sorted(found.items()):
        print(f"| {package} | {chosen} | {rule} | {overruled} | {', '.join(names)} |")


if __name__ == "__main__":
    sys.exit(main())
