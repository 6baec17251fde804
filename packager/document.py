"""Reading a YAML or JSON document so that every fault can name its line."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from packager.errors import DocumentError, Fault, InputError

MAX_BYTES = 1024 * 1024
_MAX_DEPTH = 40
_LOOPBACK = ("127.0.0.1", "localhost")

Pointer = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True)
class Document:
    """A parsed document. `lines` maps a pointer such as ("comfy", "ref") to its line, counted from 1."""

    where: str
    value: Any
    lines: dict[Pointer, int] = field(default_factory=dict)

    def fault(self, pointer: Pointer, what: str, remedy: str) -> Fault:
        """A fault at `pointer`, or at the nearest place above it that has a line."""
        place = pointer
        while place and place not in self.lines:
            place = place[:-1]
        return Fault(
            where=self.where, line=self.lines.get(place), field=dotted(pointer) or "document", what=what, remedy=remedy
        )


def dotted(pointer: Pointer) -> str:
    """("custom_nodes", 0, "ref") -> 'custom_nodes[0].ref'."""
    text = ""
    for part in pointer:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read_document(path: Path) -> Document:
    """Parse the file at `path`: JSON if it is called .json, YAML otherwise. Aliases and repeated keys are refused.

    Raises InputError or DocumentError.
    """
    where = str(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(
                f"is larger than {MAX_BYTES // 1024} KiB",
                where=where,
                remedy="a recipe is short; was another file meant?",
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=where, remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"is not UTF-8 text: {error.reason} at byte {error.start}", where=where, remedy="save it as UTF-8"
        ) from error
    try:
        node = yaml.compose(text, Loader=_Loader)
        lines: dict[Pointer, int] = {}
        faults = list(_index(where, node, (), lines)) if node is not None else []
        value = yaml.load(text, Loader=_Loader) if node is not None else None  # noqa: S506 - _Loader is a SafeLoader
    except yaml.YAMLError as error:
        if path.suffix == ".json":
            return Document(where=where, value=_read_json(where, text))
        raise DocumentError([_syntax_fault(where, error)]) from error
    except RecursionError as error:
        raise InputError("is nested too deeply", where=where, remedy="a recipe has at most a few levels") from error
    if faults:
        raise DocumentError(faults)
    if path.suffix == ".json":
        value = _read_json(where, text)  # YAML 1.1 reads some JSON scalars differently
    return Document(where=where, value=value, lines=lines)


def check_address(document: Document, pointer: Pointer, url: str) -> Iterator[Fault]:
    """An https address without a password, spaces or steps upwards; plain http is for this machine alone."""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        yield document.fault(pointer, f"'{url}' is not an address: {error}", "use an https address")
        return
    if not parts.hostname or not (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)):
        yield document.fault(pointer, f"'{url}' is not an https address", "use an https address")
    elif parts.username or parts.password:
        yield document.fault(pointer, "holds a user name or password", "put it into ~/.netrc")
    elif ".." in unquote(parts.path).replace("\\", "/").split("/") or not url.isprintable() or " " in url:
        yield document.fault(pointer, f"'{url}' is not a plain address", "write it without .. and spaces")


def check_schema(document: Document, schema: dict[str, Any]) -> list[Fault]:
    """Every place where `document` differs from `schema`, in the order of the document's lines."""
    validator = _Validator(schema)
    faults = [fault for error in validator.iter_errors(document.value) for fault in _schema_faults(document, error)]
    return sorted(faults, key=lambda fault: (fault.line or 0, fault.field))


def _whole_pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    """`pattern` as in JSON Schema, where a final `$` is the very end: Python's would let a line feed through."""
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_Validator = validators.extend(Draft202012Validator, {"pattern": _whole_pattern})  # type: ignore[no-untyped-call]


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases (a few lines of them can stand for gigabytes) and with a depth limit."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not supported", problem_mark=event.start_mark)
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise RecursionError
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


# Dates and the like stay the text the author wrote: `version: 2026-11-21` is a version.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _read_json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DocumentError(
            [Fault(where=where, line=error.lineno, field="document", what=error.msg, remedy="write valid JSON")]
        ) from error


def _syntax_fault(where: str, error: yaml.YAMLError) -> Fault:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error)
    return Fault(
        where=where,
        line=mark.line + 1 if mark else None,
        field="document",
        what=f"not valid YAML: {what}",
        remedy="check indentation, colons and quotes near that line",
    )


def _index(where: str, node: yaml.Node, pointer: Pointer, lines: dict[Pointer, int]) -> Iterator[Fault]:
    """Fill `lines` for `node` and all below it; yield a fault for each repeated key."""
    lines[pointer] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            place = (*pointer, str(key.value))
            if place in lines:
                yield Fault(
                    where=where,
                    line=key.start_mark.line + 1,
                    field=dotted(place),
                    what=f"given twice, first in line {lines[place]}",
                    remedy="keep one of the two",
                )
            yield from _index(where, value, place, lines)
            lines[place] = key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            yield from _index(where, item, (*pointer, position), lines)


_KINDS = {
    "object": "a mapping (`key: value` lines)",
    "array": "a list (`- item` lines)",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
}


def _schema_faults(document: Document, error: ValidationError) -> Iterable[Fault]:
    pointer: Pointer = tuple(error.absolute_path)
    schema = error.schema if isinstance(error.schema, dict) else {}
    wanted: Any = error.validator_value
    value: Any = error.instance
    match error.validator:
        case "additionalProperties":
            known = list(schema.get("properties", {}))
            for name in value:
                if name not in known:
                    yield document.fault((*pointer, str(name)), "unknown field", _suggest(str(name), known))
        case "required":
            for name in wanted:
                if name not in value:
                    example = schema.get("properties", {}).get(name, {})
                    yield document.fault((*pointer, name), "is missing", f"add it: {_explain(example, name)}")
        case "type":
            kind = _KINDS.get(str(wanted), str(wanted))
            yield document.fault(pointer, f"is {_shorten(value)}, but must be {kind}", _explain(schema))
        case "enum" | "const":
            allowed = wanted if error.validator == "enum" else [wanted]
            words = ", ".join(str(word) for word in allowed)
            yield document.fault(
                pointer, f"is {_shorten(value)}", f"use {'one of ' if len(allowed) > 1 else ''}{words}"
            )
        case "pattern":
            yield document.fault(pointer, f"{_shorten(value)} is not of the right form", _explain(schema))
        case "oneOf":
            names = [part["required"][0] for part in wanted if "required" in part]
            yield document.fault(pointer, f"needs exactly one of {' and '.join(names)}", f"give {' or '.join(names)}")
        case "maxLength":
            yield document.fault(pointer, f"is longer than {wanted} characters", "shorten it")
        case _:
            yield document.fault(pointer, _shorten(error.message), _explain(schema))


def _explain(schema: dict[str, Any], name: str = "") -> str:
    """A remedy out of a schema: its description and its first example."""
    parts = [schema.get("description", "see the recipe reference")]
    if examples := schema.get("examples"):
        example = json.dumps(examples[0], ensure_ascii=False)
        parts.append(f"for example {name + ': ' if name else ''}{example}")
    return "; ".join(parts)


def _suggest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"remove it; known here: {', '.join(known)}"


def _shorten(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"'{text[:80]}...'" if len(text) > 80 else f"'{text}'"
