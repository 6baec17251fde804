"""Bytecode for the modules a start loads, so that the first start after unzipping is as quick as the second.

A zip keeps times to two seconds and in no time zone, so bytecode that is compared with its source by time (PEP 3147)
would be stale on most machines. It is therefore hash-based (PEP 552): unchecked in the Python, where a package is
replaced as a whole and pip removes bytecode with its source; checked elsewhere, since people edit the sources of the
app and its nodes and `git pull` them. Each file is compiled by the bundle's own Python under its path from the root,
and gets its real path when it is imported, so that tracebacks are the same as ever.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from packager.bundle import BundleTree
from packager.console import Console, format_bytes
from packager.errors import PackagerError
from packager.filesystem import walk_files
from packager.process import run

_COMPILER = Path(__file__).with_name("compiler.py")
_TIMEOUT = 600  # seconds for one package


@dataclass(frozen=True, kw_only=True)
class Bytecode:
    """`files` compiled and their bytes; `failed`: source -> why it has no bytecode; `skipped`: why there is none."""

    files: int = 0
    bytes: int = 0
    failed: Mapping[str, str]
    skipped: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"files": self.files, "bytes": self.bytes, "failed": dict(self.failed), "skipped": self.skipped}


def compile_start(tree: BundleTree, modules: Sequence[str], *, console: Console) -> Bytecode:
    """Compile `modules`, source files as paths from the root, into the `__pycache__` beside each.

    The bytes depend on the sources, their paths and the Python alone: each package is compiled by a process of its own.
    Raises PackagerError if the bundle's Python does not run.
    """
    groups = _by_package(modules)
    failed: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="packager-bytecode-") as scratch,
        console.bar("compiling", len(modules), unit="modules") as advance,
        ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as threads,
    ):
        compiler = Path(shutil.copyfile(_COMPILER, Path(scratch) / _COMPILER.name))

        def work(numbered: tuple[int, list[str]]) -> dict[str, str]:
            number, group = numbered
            found = _compile(tree, compiler, group, Path(scratch) / f"{number}.txt")
            advance(len(group))
            return found

        try:
            for found in threads.map(work, enumerate(groups)):
                failed |= found
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    made = [path for module in modules if module not in failed for path in [_cached(tree, module)] if path.is_file()]
    size = sum(path.stat().st_size for path in made)
    console.info(f"bytecode of {len(made)} modules for the first start, {format_bytes(size)}")
    return Bytecode(files=len(made), bytes=size, failed=failed)


def forget_compiled(tree: BundleTree) -> None:
    """Remove the hash-based bytecode of an earlier run, and the folders it leaves empty."""
    for path in walk_files(tree.root):
        if path.suffix == ".pyc" and path.parent.name == "__pycache__" and _is_hash_based(path):
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


def _is_hash_based(path: Path) -> bool:
    with path.open("rb") as stream:
        return bool(int.from_bytes(stream.read(8)[4:], "little") & 1)  # PEP 552: the flags follow the magic number


def _by_package(modules: Iterable[str]) -> list[list[str]]:
    """By the folder below site-packages, custom_nodes and the like: what one process compiles depends on that alone."""
    groups: dict[str, list[str]] = {}
    for module in sorted(modules):
        parts = PurePosixPath(module).parts
        depth = next((n + 2 for n, part in enumerate(parts) if part in ("site-packages", "custom_nodes")), 4)
        groups.setdefault("/".join(parts[: min(depth, len(parts) - 1)]), []).append(module)
    return list(groups.values())


def _compile(tree: BundleTree, compiler: Path, modules: Sequence[str], listing: Path) -> dict[str, str]:
    prefix = f"{tree.relative(tree.prefix)}/"
    lines = [f"{'unchecked' if module.startswith(prefix) else 'checked'} {module}\n" for module in modules]
    listing.write_bytes("".join(lines).encode("utf-8", "surrogateescape"))
    environment = {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("SYSTEMROOT", "PATH"):
        if name in os.environ:
            environment[name] = os.environ[name]
    finished = run(
        [tree.python, "-S", "-s", compiler, tree.root, listing], env=environment, timeout=_TIMEOUT, check=False
    )
    if finished.returncode != 0:
        raise PackagerError(
            f"the bundle's Python cannot compile: {finished.output_tail}",
            where=str(tree.python),
            remedy="say `bytecode: false` under `cleanup` to ship without it",
        )
    return dict(line.split("\t", 1) for line in finished.stdout.splitlines() if "\t" in line)


def _cached(tree: BundleTree, module: str) -> Path:
    """Where PEP 3147 has the bytecode of a module of this bundle."""
    tag = "cpython-" + "".join(tree.python_version.split(".")[:2])
    path = tree.root / module
    return path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc"
