"""What a start of ComfyUI wrote: which nodes were loaded, which were not, and why.

The lines are those of ComfyUI's nodes.py (`load_custom_node`, `init_external_custom_nodes`, `init_extra_nodes`) and
main.py (`execute_prestartup_script`): "   0.3 seconds (IMPORT FAILED): /path/of/node" after "Import times for custom
nodes:", "Cannot import PATH module for custom nodes: REASON" after the traceback, "IMPORT FAILED: nodes_x.py" for nodes
that come with the app. The exit code tells nothing: it is 0 although a node failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_IMPORT_TIME = re.compile(
    r"^ *(?P<seconds>\d+\.\d) seconds(?: \((?P<failed>IMPORT FAILED|PRESTARTUP FAILED)\))?: (?P<path>.+)$"
)
_CANNOT_IMPORT = re.compile(r"^Cannot import (?P<path>.+?) module for custom nodes: ?(?P<reason>.*)$")
_SKIPPED = re.compile(r"^Skip (?P<path>.+?) module for custom nodes due to (?P<reason>.+)$")
_ENTRY_POINT = re.compile(
    r"^(?:Error while calling )?comfy_entrypoint in (?P<path>.+?)(?:: | (?=is not|did not))(?P<reason>.+)$"
)
_PRESTARTUP = re.compile(
    r"^Failed to execute startup-script: (?P<path>.+?)[/\\]prestartup_script\.py / ?(?P<reason>.*)$"
)
_BUILT_IN = re.compile(r"^IMPORT FAILED: (?P<path>.+)$")
_TRACEBACK = "Traceback (most recent call last):"
_CHAIN = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_UNEXPLAINED = "the log gives no reason"


@dataclass(frozen=True, kw_only=True)
class NodeImport:
    """A custom node the app tried to load: its folder or file, and how many seconds that took."""

    path: str
    seconds: float
    failed: bool

    @property
    def name(self) -> str:
        return _base_name(self.path)


@dataclass(frozen=True, kw_only=True)
class NodeFailure:
    """A node that is not there although the app runs. `traceback` is empty where the log has none."""

    name: str
    reason: str
    traceback: str


@dataclass(frozen=True, kw_only=True)
class AppLog:
    """`imports` and `failures` in the order of the log, `tracebacks` those of every kind."""

    imports: tuple[NodeImport, ...]
    failures: tuple[NodeFailure, ...]
    tracebacks: tuple[str, ...]


def parse(text: str) -> AppLog:
    """Read the log of one start. Lines it does not know are passed over; half a log gives half an answer.

    A node's lines name it by path, by folder or by file; its last part tells them together.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    imports: dict[str, NodeImport] = {}
    failed: dict[str, None] = {}
    reasons: dict[str, tuple[str, str]] = {}
    tracebacks: list[str] = []
    for place, line in enumerate(lines):
        if line == _TRACEBACK:
            found_traceback = "\n".join(_traceback_lines(lines, place)).rstrip()
            if tracebacks and _is_consequence(lines, place):
                found_traceback = f"{tracebacks.pop()}\n\n{found_traceback}"
            tracebacks.append(found_traceback)
        elif found := _IMPORT_TIME.match(line):
            path, failure = found["path"].rstrip(), found["failed"]
            if failure != "PRESTARTUP FAILED":
                imports[path] = NodeImport(path=path, seconds=float(found["seconds"]), failed=bool(failure))
            if failure:
                failed[_base_name(path)] = None
        elif found := _BUILT_IN.match(line):
            failed[_base_name(found["path"].rstrip())] = None
        elif found := _reason(line):
            name, certain = _base_name(found["path"]), found.re in (_CANNOT_IMPORT, _PRESTARTUP)
            latest = tracebacks[-1] if tracebacks and found.re is _CANNOT_IMPORT else ""
            reasons.setdefault(name, (found["reason"], latest))
            if certain:
                failed[name] = None
    return AppLog(
        imports=tuple(imports.values()),
        failures=tuple(_failure(name, *reasons.get(name, ("", ""))) for name in failed),
        tracebacks=tuple(tracebacks),
    )


def _reason(line: str) -> re.Match[str] | None:
    matches = (pattern.match(line) for pattern in (_CANNOT_IMPORT, _PRESTARTUP, _SKIPPED, _ENTRY_POINT))
    return next((match for match in matches if match), None)


def _failure(name: str, reason: str, traceback: str) -> NodeFailure:
    """The exception's line in the traceback names its class, which the log's own reason leaves out."""
    spoken = [line for line in traceback.splitlines() if reason and line.endswith(reason)]
    return NodeFailure(name=name, reason=(spoken[-1] if spoken else reason) or _UNEXPLAINED, traceback=traceback)


def _is_consequence(lines: list[str], place: int) -> bool:
    """Whether the traceback at `place` is the next of a chain (PEP 3134): said in a line between two empty ones."""
    return place > 1 and lines[place - 2] in _CHAIN


def _traceback_lines(lines: list[str], start: int) -> Iterator[str]:
    yield lines[start]
    in_stack = True
    for line in lines[start + 1 :]:
        if line.startswith(" "):
            yield line
        elif in_stack:  # the first line that is not indented is the exception itself
            in_stack = False
            yield line
        else:
            return


def _base_name(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
