"""What a build did, as JSON for machines and as one self-contained HTML page for people."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

from packager.archive.checksums import update_checksums
from packager.console import format_bytes
from packager.filesystem import sha256_file, write_atomic, write_json
from packager.treemap import treemap


def write_report(report: dict[str, Any], folder: Path, stem: str) -> tuple[Path, Path]:
    """Write STEM.report.json and STEM.report.html into `folder` and list them in SHA256SUMS; returns their paths."""
    as_json, as_html = folder / f"{stem}.report.json", folder / f"{stem}.report.html"
    write_json(as_json, report)
    write_atomic(as_html, render(report).encode())
    update_checksums(folder, {path.name: sha256_file(path) for path in (as_json, as_html)})
    return as_json, as_html


def render(report: dict[str, Any]) -> str:
    """The page for `report` (the value build.py makes). Every text from outside is escaped."""
    bundle, size, files = report["bundle"], report["size"], report["files"]
    sections = [
        _section("Size", _size_table(size, files, report["repeated"])),
        _section("Where the bytes are", treemap(report["places"]["before"], report["places"]["after"])),
        _section("Proof", _proof_table(report["proof"])),
        _section("Stages", _stage_table(report["stages"])),
        _section("Saved, by rule", _rule_table(_savings(report))),
        _section(
            "Protected, and by which evidence",
            _table(["rule", "protected by", "evidence", "example", "paths"], _protected_rows(report), numbers=1),
        ),
        _section("Libraries that kept their symbols", _table(["library", "reason"], _kept_rows(report["strip"]))),
        _section("Kept, by evidence", oracle_part(report.get("oracle"))),
        _section("Repositories", _table(["name", "commit", "address"], _repository_rows(report["repositories"]))),
        _section("Packages", _table(["name", "version", "asked for by"], _package_rows(report["packages"]))),
        _section(
            "Conflicts settled",
            _table(["package", "who wanted what", "chosen", "rule", "instead"], _conflict_rows(report["conflicts"])),
        ),
        _section("Patches", _table(["patch", "changes"], _patch_rows(report["install"]))),
        _section(
            "Native packages", _table(["package", "from", "tried before", "changes"], _native_rows(report["install"]))
        ),
        _section("Requirement lines left out", _table(["where", "line", "reason"], _removed_rows(report["removed"]))),
        _section("Warnings", "".join(f"<pre>{html.escape(text)}</pre>" for text in report["warnings"])),
    ]
    template = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(f"{bundle['name']} {bundle['version']} for {bundle['target']}"),
        subtitle=html.escape(
            f"Python {bundle['python_version']}, recipe {bundle['created_from']['recipe_digest'][:12]}"
        ),
        body="\n".join(section for section in sections if section),
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{html.escape(title)}</h2>\n{content}" if content else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """Cells are escaped; the last `numbers` columns are aligned as figures. '' if there are no rows."""
    kind = ["" if column < len(head) - numbers else ' class="n"' for column in range(len(head))]
    body = "".join(
        "<tr>" + "".join(f"<td{kind[column]}>{html.escape(cell)}</td>" for column, cell in enumerate(row)) + "</tr>\n"
        for row in rows
    )
    if not body:
        return ""
    titles = "".join(f"<th{kind[column]}>{html.escape(title)}</th>" for column, title in enumerate(head))
    return f"<table><tr>{titles}</tr>\n{body}</table>"


def _size_table(size: dict[str, int], files: dict[str, int], repeated: dict[str, int]) -> str:
    rows = [
        ["installed", str(files["before"]), format_bytes(size["before"])],
        ["in the bundle", str(files["after"]), format_bytes(size["after"])],
        ["archive", "", format_bytes(size["archive"])],
        ["the same content again, packed once", str(repeated["files"]), format_bytes(repeated["bytes"])],
    ]
    return _table(["", "files", "bytes"], rows, numbers=2)


def _proof_table(proof: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr><td class="{"passed" if check["passed"] else "failed"}">{"passed" if check["passed"] else "FAILED"}</td>'
        f"<td>{html.escape(check['name'])}</td><td><pre>{html.escape(check['detail'])}</pre></td></tr>\n"
        for check in proof["checks"]
    )
    return f"<table>{rows}</table>" if rows else '<p class="failed">not proved</p>'


def _stage_table(stages: Sequence[dict[str, Any]]) -> str:
    rows = [[stage["name"], "reused" if stage["reused"] else "", f"{stage['seconds']:.1f} s"] for stage in stages]
    return _table(["stage", "", "time"], rows, numbers=1)


def _savings(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The rules, and the steps that save without being one; bytecode takes room, and so its figure is below zero."""
    strip, bytecode = report["strip"], report["bytecode"]
    steps = [
        {
            "rule": "(strip)",
            "why": strip["skipped"]
            or "symbols that only debuggers read; what the loader maps is byte for byte the same",
            "files": strip["files"],
            "bytes": strip["bytes"],
        },
        {
            "rule": "(bytecode)",
            "why": bytecode["skipped"]
            or "added for the modules a start loads: the first start is as quick as the second",
            "files": -bytecode["files"],
            "bytes": -bytecode["bytes"],
        },
    ]
    return [*report["cleanup"], *steps]


def _protected_rows(report: dict[str, Any]) -> list[list[str]]:
    return [
        [item["rule"], item["by"], item["reason"], item["example"], str(item["paths"])] for item in report["protected"]
    ]


def _kept_rows(strip: dict[str, Any]) -> list[list[str]]:
    return [[path, reason] for path, reason in strip["kept"].items()]


def _rule_table(cleanup: Sequence[dict[str, Any]]) -> str:
    rows = [
        [rule["rule"], rule["why"], str(rule["files"]), format_bytes(rule["bytes"])]
        for rule in sorted(cleanup, key=lambda rule: -rule["bytes"])
    ]
    return _table(["rule or step", "why it is safe", "files", "bytes"], rows, numbers=2)


def oracle_part(oracle: dict[str, Any] | None) -> str:
    """What the clean-up's oracle asked, what it kept and why, and what it could not compare; HTML."""
    if oracle is None:
        return "<p>no oracle was asked: the rules alone decided</p>"
    asked = f"{oracle['probes']} probes before and after, {oracle['cached']} answers from the cache, "
    if not oracle["runs"]:
        asked = "the bundle's Python does not run on this machine, so that what stays was only read; "
    rows = [[kept["path"], kept["rule"], kept["how"], kept["evidence"]] for kept in oracle["kept"]]
    failed = [[name, text] for name, text in sorted(oracle["failed_before"].items())]
    unsteady = [[name, text] for name, text in sorted(oracle["unstable"].items())]
    lesson = f"<pre>{html.escape(oracle['exceptions'])}</pre>" if oracle["exceptions"] else ""
    return (
        f"<p>{html.escape(asked)}{oracle['seconds']:.0f} s</p>\n"
        + _table(["path", "rule", "how", "why"], rows)
        + lesson
        + _table(["failed before the clean-up, and so was not compared", "how"], failed)
        + _table(["answers otherwise with everything back", "what was not compared"], unsteady)
    )


def _repository_rows(repositories: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [[repo["name"], repo["commit"][:12] or repo["tree"][:19], repo["url"]] for repo in repositories]


def _package_rows(packages: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [[item["name"], item["version"] or item["url"] or "", ", ".join(item["via"])] for item in packages]


def _patch_rows(install: dict[str, Any]) -> list[list[str]]:
    return [[item["patch"], _changes(item["changes"])] for item in install["patches"]]


def _native_rows(install: dict[str, Any]) -> list[list[str]]:
    return [
        [item["name"], item["chosen"] or "left out", "; ".join(item["failed"]), _changes(item["changes"])]
        for item in install["native"]
    ]


def _changes(changes: dict[str, Sequence[str]]) -> str:
    return ", ".join(f"{name} {old or 'nothing'} -> {new or 'nothing'}" for name, (old, new) in changes.items())


def _removed_rows(removed: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [[f"{item['file']}:{item['line']}", item["text"], item["reason"]] for item in removed]


def _conflict_rows(conflicts: Sequence[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            item["package"],
            "; ".join(f"{wish['layer']}: {wish['text']} ({wish['file']}:{wish['line']})" for wish in item["wants"]),
            item["chosen"],
            f"{item['rule']}: {item['why']}",
            item["override"],
        ]
        for item in conflicts
    ]
