"""Taking the symbols that only debuggers read out of ELF files, where the loader cannot tell the difference.

Each file is stripped into another one, which takes its place only if it loads the same (see `image.difference`).
Libraries that were patched before, as auditwheel does, may come out of strip in a form the loader refuses; they and
what strip cannot treat stay as they are, with the reason on record.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.binaries.elf import is_elf
from packager.bundle import BundleTree
from packager.console import Console, format_bytes
from packager.errors import InputError
from packager.filesystem import remove_tree, sha256_file, walk_files, write_atomic
from packager.process import run
from packager.records import FileState, changed_record, read_record
from packager.slim.image import difference, read_image
from packager.slim.originals import keep_original
from packager.slim.strip_rules import StripRules, StripTool

_STAGING = "staging"
_TIMEOUT = 600  # seconds for one file; the largest of torch's takes five


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An ELF file with symbols under all its names, from the root, sorted; `size` in bytes."""

    paths: tuple[str, ...]
    size: int


@dataclass(frozen=True, kw_only=True)
class Stripped:
    """`saved`: first name -> bytes; `kept`: first name -> why it stays as it was; `skipped`: why there was no step."""

    tool: str = ""
    saved: Mapping[str, int]
    kept: Mapping[str, str]
    skipped: str = ""

    @property
    def bytes(self) -> int:
        return sum(self.saved.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "tool": self.tool,
            "skipped": self.skipped,
            "files": len(self.saved),
            "bytes": self.bytes,
            "saved": dict(sorted(self.saved.items(), key=lambda item: (-item[1], item[0]))),
            "kept": dict(sorted(self.kept.items())),
        }


def strip_tree(tree: BundleTree, rules: StripRules, *, originals: Path, console: Console) -> Stripped:
    """Strip what can be stripped of a Linux bundle; what was replaced is kept in the folder `originals`, which
    lies outside the tree on its file system.

    RECORD states the new hashes and sizes. After a kill at any moment restore_originals makes the tree whole. Other
    systems' libraries are never touched: Mach-O is signed, and a DLL's symbols lie in a file of their own.
    """
    if tree.target.os != "linux":
        return Stripped(saved={}, kept={}, skipped=f"only ELF files are stripped, and this is {tree.target.os}")
    if rules.tool is None:
        return Stripped(saved={}, kept={}, skipped="neither strip (binutils) nor llvm-strip is on PATH")
    candidates, kept = find_candidates(tree.root, rules)
    staging = originals / _STAGING
    remove_tree(staging)
    staging.mkdir(parents=True)
    try:
        outcomes = _strip_all(tree.root, rules.tool, candidates, staging, console)
        kept |= {candidate.paths[0]: why for candidate, why in zip(candidates, outcomes, strict=True) if why}
        done = [(n, candidate) for n, candidate in enumerate(candidates) if not outcomes[n]]
        saved = {one.paths[0]: one.size - (staging / str(n)).stat().st_size for n, one in done}
        _put(tree, {path: staging / str(n) for n, one in done for path in one.paths}, originals)
    finally:
        remove_tree(staging)
    console.info(f"{len(saved)} libraries and programs without their symbols, {format_bytes(sum(saved.values()))}")
    for reason, count in Counter(kept.values()).most_common():
        console.detail(f"{count} stay as they are: {reason}")
    return Stripped(tool=rules.tool.version, saved=saved, kept=kept)


def find_candidates(root: Path, rules: StripRules) -> tuple[list[Candidate], dict[str, str]]:
    """What has symbols to lose, sorted by name, and what stays although it has, with the reason. Changes nothing."""
    names: dict[tuple[int, int], list[Path]] = {}
    for path in walk_files(root):
        if not path.is_symlink() and is_elf(path):
            status = path.stat()
            names.setdefault((status.st_dev, status.st_ino), []).append(path)
    candidates, kept = [], {}
    for paths in names.values():
        relative = tuple(path.relative_to(root).as_posix() for path in paths)
        try:
            image = read_image(paths[0])
        except InputError as error:
            kept[relative[0]] = error.what
            continue
        if not image.is_loaded or not image.has_symbols:
            continue
        reason = next((why for path in relative if (why := rules.reason_to_keep(path))), None)
        if image.appended:
            reason = reason or "data is appended to it, which strip would drop"
        if paths[0].stat().st_nlink > len(paths):
            reason = reason or "it has another name outside the tree"
        if reason:
            kept[relative[0]] = reason
        else:
            candidates.append(Candidate(paths=relative, size=paths[0].stat().st_size))
    return sorted(candidates, key=lambda candidate: candidate.paths), kept


def _strip_all(
    root: Path, tool: StripTool, candidates: Sequence[Candidate], staging: Path, console: Console
) -> list[str | None]:
    """Strip each into `staging` under its number; why it must not be used, or None."""
    largest_first = sorted(range(len(candidates)), key=lambda number: -candidates[number].size)
    outcomes: list[str | None] = [None] * len(candidates)

    with (
        console.bar("strip", sum(candidate.size for candidate in candidates)) as advance,
        ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as threads,
    ):

        def work(number: int) -> None:
            source = root / candidates[number].paths[0]
            outcomes[number] = _strip_one(tool, source, staging / str(number))
            advance(candidates[number].size)

        try:
            for _ in threads.map(work, largest_first):
                pass
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    return outcomes


def _strip_one(tool: StripTool, source: Path, output: Path) -> str | None:
    finished = run(tool.command(source, output), check=False, timeout=_TIMEOUT)
    if finished.timed_out or finished.returncode != 0 or not output.is_file():
        said = (finished.output_tail.splitlines() or ["no word"])[-1].replace(str(source), source.name)
        return f"{tool.program.name} failed: {said.replace(str(output), 'its output')}"
    if output.stat().st_size >= source.stat().st_size:
        return "it would not get smaller"
    try:
        fault = difference(source, output)
    except InputError as error:
        fault = f"what {tool.program.name} made of it {error.what}"
    if fault is None:
        shutil.copystat(source, output)
    return fault


def _put(tree: BundleTree, fresh: Mapping[str, Path], originals: Path) -> None:
    """Give each path its new content, RECORD first; several names of one file stay names of one file."""
    for path in fresh:
        keep_original(tree.root, tree.root / path, originals)
    _update_records(tree, fresh, originals)
    for path, content in fresh.items():
        place = tree.root / path
        link = content.with_name(f"{content.name}.link")
        try:
            os.link(content, link)
        except OSError:  # a file system without hard links
            shutil.copy2(content, link)
        link.replace(place)


def _update_records(tree: BundleTree, fresh: Mapping[str, Path], originals: Path) -> None:
    states = {
        tree.root / path: FileState(digest=sha256_file(content), size=content.stat().st_size)
        for path, content in fresh.items()
    }
    for path in _records(tree):
        content = changed_record(read_record(path, tree.root), changed=states, removed=())
        if content is not None:
            keep_original(tree.root, path, originals)
            write_atomic(path, content)


def _records(tree: BundleTree) -> Iterable[Path]:
    return sorted(tree.site_packages.glob("*.dist-info/RECORD"))
