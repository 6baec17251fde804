"""Release notes in Markdown: what there is to download, what is in it, what changed, how to unzip it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from packager.console import format_bytes
from packager.lock import Lock
from packager.releases.changes import Change, LockChanges, lock_changes

_HEADS = {"python": "Python", "repositories": "ComfyUI and nodes", "packages": "Packages"}
_FIRST = ("torch", "torchvision", "torchaudio")  # packages whose version a reader asks for by name


def changes_text(found: LockChanges) -> str:
    """The changes as Markdown lists; a sentence if there are none."""
    sections = [
        f"### {head}\n\n" + "".join(f"- {_line(change)}\n" for change in getattr(found, field))
        for field, head in _HEADS.items()
        if getattr(found, field)
    ]
    return "\n".join(sections) or "Nothing changed.\n"


def release_notes(
    *,
    reports: Sequence[Mapping[str, Any]],
    locks: Mapping[str, Lock],
    previous: Mapping[str, Lock],
    since: str,
) -> str:
    """The notes of a release. `reports` are those of its bundles, in order; `locks` and `previous` the locks by
    target, accelerator after a dash, of this release and the last; `since` names the last, "" if there is none."""
    bundle = reports[0]["bundle"]
    sections = [
        f"# {_plain(bundle['name'])} {_plain(bundle['version'])}\n",
        _plain(bundle["description"]) + "\n" if bundle["description"] else "",
        "## Downloads\n\n" + _downloads(reports),
        _how_to_unzip(reports),
        "## What is inside\n\n" + _inside(locks),
    ]
    if since:
        sections.append(f"## Changes since {_plain(since)}\n\n" + _all_changes(locks, previous))
    return "\n".join(section for section in sections if section)


def _downloads(reports: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for report in reports:
        bundle, proof = report["bundle"], report["proof"]
        rows.append(
            [
                bundle["target"],
                bundle["accelerator"] or "as PyPI has it",
                "<br>".join(f"`{_name(path)}`" for path in report["archives"]),
                format_bytes(report["size"]["archive"]),
                format_bytes(report["size"]["after"]),
                f"{len(proof['checks'])} checks" if proof["passed"] else "not proved",
            ]
        )
    return _table(["system", "torch", "files", "download", "unzipped", "proof"], rows)


def _how_to_unzip(reports: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        "Unzip anywhere and start `run_comfyui.sh` or `run_comfyui.bat`; README.txt in the folder has the rest.",
    ]
    if any(len(report["archives"]) > 1 for report in reports):
        lines.append(
            "Files called `...-part1of3.zip` belong together: download all of them and unzip each into the same folder,"
            " in any order, with any program. On Linux and macOS:"
            ' `for part in *-part*of*.zip; do unzip -q "$part"; done`.'
        )
    lines.append("`sha256sum --ignore-missing -c SHA256SUMS` (macOS: `shasum -a 256`) checks what was downloaded.")
    return "\n\n".join(lines) + "\n"


def _inside(locks: Mapping[str, Lock]) -> str:
    """Versions by bundle: Python, torch, and each repository."""
    rows = []
    for place, lock in locks.items():
        versions = {package.name: package.version for package in lock.packages}
        torch = ", ".join(f"{name} {versions[name]}" for name in _FIRST if name in versions)
        rows.append([place, lock.python_version, torch or "none", str(len(lock.packages))])
    table = _table(["bundle", "Python", "torch", "packages"], rows)
    one = next(iter(locks.values()))
    nodes = _table(
        ["name", "version", "commit", "address"],
        [[repo.name, repo.ref or "", repo.commit[:12] or repo.tree[:19], repo.url] for repo in one.repositories],
    )
    return f"{table}\n{nodes}"


def _all_changes(locks: Mapping[str, Lock], previous: Mapping[str, Lock]) -> str:
    """The changes of every bundle; those that are the same for several are told once."""
    told: dict[str, list[str]] = {}
    for place, lock in locks.items():
        text = changes_text(lock_changes(previous[place], lock)) if place in previous else "New in this release.\n"
        told.setdefault(text, []).append(place)
    if len(told) == 1 and len(locks) > 1:
        return next(iter(told))
    return "\n".join(f"**{', '.join(places)}**\n\n{text}" for text, places in told.items())


def _line(change: Change) -> str:
    name = f"[{_plain(change.name)}]({change.link})" if change.link else _plain(change.name)
    if change.old is None:
        return f"{name} {_plain(change.new or '')}: new"
    if change.new is None:
        return f"{name} {_plain(change.old)}: gone"
    return f"{name} {_plain(change.old)} → {_plain(change.new)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_plain(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _plain(text: str) -> str:
    """`text` with what Markdown or HTML would act upon made harmless; <br> and code marks of our own stay."""
    text = re.sub(r"<(?!br>)", "&lt;", text.replace("|", "\\|"))
    return re.sub(r"([\[\]*])", r"\\\1", " ".join(text.split()))


def _name(path: str) -> str:
    return path.replace("\\", "/").rsplit("/", 1)[-1]
