"""The whole job: a folder becomes an archive with its manifest and checksums beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packager.archive.checksums import checksum_name_fault, update_checksums
from packager.archive.codec import packing_identity
from packager.archive.content import MEMORY, Content, Effort
from packager.archive.directory_writer import write_directory
from packager.archive.manifest import Manifest
from packager.archive.names import name_fault
from packager.archive.publish import ArchiveInfo
from packager.archive.reuse import Reusable, find_earlier
from packager.archive.scan import scan
from packager.archive.split import split_zip
from packager.archive.tar_zst import write_tar_zst
from packager.archive.zip_writer import write_zip
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import write_atomic
from packager.parts import MAX_PART_SIZE, manifest_path
from packager.targets import Target

Format = Literal["zip", "tar.zst", "dir"]
_EPOCH_DIGITS = 11  # seconds until the year 5138
_SUFFIXES: dict[str, Format] = {".zip": "zip", ".tar.zst": "tar.zst"}


@dataclass(frozen=True, kw_only=True)
class Archived:
    """What `archive_tree` wrote: the archive or its parts, their manifest's file and the SHA256SUMS that lists all."""

    archives: tuple[ArchiveInfo, ...]
    manifest: Manifest
    manifest_path: Path
    checksums_path: Path

    @property
    def archive(self) -> ArchiveInfo:
        """The archive, or its part 1."""
        return self.archives[0]


def archive_tree(
    root: Path,
    destination: Path,
    *,
    console: Console,
    epoch: int,
    format: Format | None = None,  # noqa: A002 -- the field's word
    root_name: str | None = None,
    target: Target | None = None,
    bundle: Mapping[str, Any] | None = None,
    manifest_member: str | None = None,
    level: str | int = "default",
    threads: int | None = None,
    memory: int = MEMORY,
    max_part_size: int = MAX_PART_SIZE,
    is_first: Callable[[str], bool] = lambda _: False,
    reuse: Path | None = None,
) -> Archived:
    """Archive the folder `root` as `destination`, with NAME.manifest.json and SHA256SUMS beside it.

    `format` None: by the suffix of `destination`. `root_name` is the one folder that the archive unpacks to (None: the
    name of `root`; empty: no such folder). `target` brings the rules of its file system (None: no rules beyond those of
    every archive). `bundle` are facts for the manifest; `manifest_member` is the path below `root` at which the archive
    carries the manifest, in place of any file there. `epoch` is the time of every member, in seconds (UTC). `threads`
    None: one per core. `memory` is in bytes. A zip over `max_part_size` bytes becomes NAME-part1ofN.zip and so on; the
    entries of whose path `is_first` holds lie in part 1. `reuse` is an earlier zip whose packed members are copied
    where the content is the same. Raises InputError for what must not be archived, NoSpaceError.
    """
    kind = format or _format_of(destination)
    root_name = root.resolve().name if root_name is None else root_name
    _check(root, destination, root_name)
    if kind != "dir" and destination.is_dir():
        raise InputError("it is a folder", where=str(destination), remedy="give the name of the file to write")
    if reuse and kind != "zip":
        raise InputError("members are reused by a zip alone", where=f"--reuse {reuse}", remedy="leave it out")
    effort = Effort(level=level, threads=threads or os.cpu_count() or 1, memory=memory)
    console.info(f"reading {root}")
    exclude = () if manifest_member is None else (manifest_member,)
    packing = packing_identity(level) if kind == "zip" else ""
    with ExitStack() as opened:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reuse") as aside:  # hashed as the tree is read
            finding = aside.submit(find_earlier, reuse, packing, console, opened) if reuse else None
            manifest = scan(root, threads=effort.threads, bundle=bundle, exclude=exclude, **_rules_of(target))
        if not manifest.entries and manifest_member is None:
            raise InputError("there is nothing in it", where=str(root), remedy="give the folder to archive")
        manifest = dataclasses.replace(manifest, packing=packing)
        extra = {} if manifest_member is None else {manifest_member: manifest.to_json().encode()}
        content = Content(root=root, root_name=root_name, manifest=manifest, epoch=epoch, extra=extra)
        if kind == "dir":
            archives: tuple[ArchiveInfo, ...] = (write_directory(content, destination, console=console),)
        elif kind == "tar.zst":
            archives = (write_tar_zst(content, destination, effort=effort, console=console),)
        else:
            archives, manifest = _zip_in_parts(
                content, destination, effort=effort, console=console, earlier=finding.result() if finding else None,
                limit=max_part_size, is_first=is_first, manifest_member=manifest_member,
            )  # fmt: skip
    return _with_sidecars(destination, archives, kind, manifest)


def _zip_in_parts(
    content: Content,
    destination: Path,
    *,
    effort: Effort,
    console: Console,
    earlier: Reusable | None,
    limit: int,
    is_first: Callable[[str], bool],
    manifest_member: str | None,
) -> tuple[tuple[ArchiveInfo, ...], Manifest]:
    """The zip, or the parts of one over `limit` bytes; an earlier zip at `destination` stays until then."""
    whole = destination.with_name(f".{destination.name}.whole")
    try:
        info = write_zip(content, whole, effort=effort, console=console, earlier=earlier)
        if info.size > limit:
            return split_zip(
                whole, destination, content, limit=limit, level=effort.level, console=console, is_first=is_first,
                manifest_member=manifest_member,
            )  # fmt: skip
        whole.replace(destination)
        return (dataclasses.replace(info, path=destination),), content.manifest
    finally:
        whole.unlink(missing_ok=True)


def source_date_epoch(environment: Mapping[str, str], *, default: int) -> int:
    """SOURCE_DATE_EPOCH (reproducible-builds.org), in seconds, or `default`. Raises InputError if no number."""
    text = environment.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= _EPOCH_DIGITS):
        raise InputError(
            f"'{text[:40]}' is not a number of seconds", where="SOURCE_DATE_EPOCH", remedy="unset it, or use `date +%s`"
        )
    return int(text)


def _format_of(destination: Path) -> Format:
    for suffix, kind in _SUFFIXES.items():
        if destination.name.endswith(suffix):
            return kind
    raise InputError(
        "its name does not say the format", where=str(destination), remedy=f"end it with {' or '.join(_SUFFIXES)}"
    )


def _rules_of(target: Target | None) -> dict[str, bool]:
    return {} if target is None else {"windows": target.is_windows, "case_insensitive": target.case_insensitive}


def _check(root: Path, destination: Path, root_name: str) -> None:
    if fault := checksum_name_fault(destination.name):
        raise InputError(fault, where=f"{destination.name!r}", remedy="give a plain name")
    if destination.resolve().is_relative_to(root.resolve()):
        raise InputError(
            f"it lies inside {root}, which is being archived", where=str(destination), remedy="write it elsewhere"
        )
    if root_name and ("/" in root_name or name_fault(root_name, windows=True)):
        raise InputError(f"'{root_name}' is not a folder name", where="root name", remedy="use letters, digits and -")


def _with_sidecars(destination: Path, archives: tuple[ArchiveInfo, ...], kind: Format, manifest: Manifest) -> Archived:
    path, text = manifest_path(destination), manifest.to_json().encode()
    write_atomic(path, text, mode=0o644)
    sums = {path.name: hashlib.sha256(text).hexdigest()}
    if kind != "dir":
        sums |= {info.path.name: info.sha256 for info in archives}
    checksums = update_checksums(path.parent, sums)
    return Archived(archives=archives, manifest=manifest, manifest_path=path, checksums_path=checksums)
