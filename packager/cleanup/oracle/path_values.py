"""Which paths an expression can mean, worked out without running it: `Path(__file__).parent / "data" / name`.

A value is text and whether it is all of it: what follows the first unknown part is cut, and what is left is a folder.
A path begins with `/`, which is the root of the tree, or with a package in braces, `{pkg.sub}/data.json`, where a
resource is asked for by package (importlib.resources).
"""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

_MOST = 4  # values of one name that are followed
_DEPTH = 30
_SAME = {"abspath", "realpath", "normpath", "expanduser", "fspath", "str", "resolve", "absolute", "as_posix", "Path"}
_SAME |= {"PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "as_file"}
_READS = {"read_text", "read_binary", "open_text", "open_binary", "is_resource", "get_data", "path", "contents"}
_READS |= {"resource_filename", "resource_string", "resource_stream", "resource_exists", "resource_listdir"}


@dataclass(frozen=True)
class Value:
    """`whole` False: something unknown follows."""

    text: str
    whole: bool = True

    @property
    def is_path(self) -> bool:
        return self.text.startswith(("/", "{"))


class PathValues:
    """Values of the expressions of one file. `file` is its path from the root of the tree."""

    def __init__(self, file: str, tree: ast.Module) -> None:
        self._file = f"/{file}"
        self._names: dict[str, list[ast.expr]] = {}
        self.used = {
            node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        self._known: dict[int, list[Value]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    self._bind(target, node.value)
            elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
                self._bind(node.target, node.value)

    def _bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Name) and len(self._names.setdefault(target.id, [])) < _MOST:
            self._names[target.id].append(value)

    def of(self, node: ast.expr, depth: int = 0) -> list[Value]:
        """What `node` can be; nothing if that cannot be told."""
        if depth > _DEPTH:
            return []
        if id(node) in self._known:
            return self._known[id(node)]
        self._known[id(node)] = []  # a name that is defined by itself
        found = self._evaluate(node, depth + 1)[:_MOST]
        self._known[id(node)] = found
        return found

    def _evaluate(self, node: ast.expr, depth: int) -> list[Value]:
        match node:
            case ast.Constant(value=str(text)):
                return [Value(text)]
            case ast.Name(id="__file__"):
                return [Value(self._file)]
            case ast.Name(id="__name__" | "__package__"):
                return [Value(posixpath.dirname(self._file))]  # as a package to ask for resources
            case ast.Name(id=name):
                return [value for bound in self._names.get(name, ()) for value in self.of(bound, depth)]
            case ast.Attribute(value=inner, attr="parent"):
                return [_parent(value) for value in self.of(inner, depth)]
            case ast.Subscript(value=ast.Attribute(value=inner, attr="parents"), slice=ast.Constant(value=int(up))):
                values = self.of(inner, depth)
                for _ in range(min(max(up, 0), 20) + 1):
                    values = [_parent(value) for value in values]
                return values
            case ast.Subscript(value=ast.Name(id="__path__")):
                return [Value(posixpath.dirname(self._file))]
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return [_join(start, self.of(right, depth)) for start in self.of(left, depth) if start.is_path]
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return [_add(start, self.of(right, depth)) for start in self.of(left, depth)]
            case ast.JoinedStr(values=parts):
                return self._joined(parts, depth)
            case ast.Call(func=function, args=args):
                return self._call(function, args, depth)
        return []

    def _joined(self, parts: Sequence[ast.expr], depth: int) -> list[Value]:
        found = Value("")
        for part in parts:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            found = _add(found, self.of(inner, depth))
        return [found] if found.text else []

    def _call(self, function: ast.expr, args: Sequence[ast.expr], depth: int) -> list[Value]:
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        owner = function.value if isinstance(function, ast.Attribute) else None
        first = args[0] if args else None
        if name == "dirname" and first is not None:
            return [_parent(value) for value in self.of(first, depth)]
        if name in _READS and len(args) >= 1 and first is not None:
            return [
                _join(package, self.of(args[1], depth)) if len(args) > 1 else package
                for package in self._package(first, depth)
            ]
        if name == "files" and len(args) == 1 and first is not None:
            return self._package(first, depth)
        if name in ("join", "joinpath") and (owner is not None or args):
            starts = self.of(args[0], depth) if name == "join" and args else self.of(owner, depth) if owner else []
            rest = args[1:] if name == "join" else args
            for one in rest:
                starts = [_join(start, self.of(one, depth)) for start in starts]
            return [start for start in starts if start.is_path]
        if name in ("with_name", "with_suffix", "with_stem") and owner is not None and first is not None:
            return [_renamed(value, name, self.of(first, depth)) for value in self.of(owner, depth)]
        if name in _SAME:
            inner = first if first is not None else owner
            values = self.of(inner, depth) if inner is not None else []
            for one in args[1:] if name.endswith("Path") else ():
                values = [_join(value, self.of(one, depth)) for value in values]
            return values
        return []

    def _package(self, node: ast.expr, depth: int) -> list[Value]:
        """A package as importlib.resources and pkgutil are given one: by name, or __name__ of this file."""
        return [
            value if value.is_path else Value("{" + value.text + "}")
            for value in self.of(node, depth)
            if value.whole and (value.is_path or value.text.replace(".", "").isidentifier())
        ]


def _parent(value: Value) -> Value:
    return Value(posixpath.dirname(value.text)) if value.whole else value


def _first(values: Sequence[Value]) -> Value | None:
    return values[0] if values else None


def _join(start: Value, rest: Sequence[Value]) -> Value:
    end = _first(rest)
    if not start.whole:
        return start
    if end is None:
        return Value(start.text, whole=False)
    return Value(posixpath.join(start.text, end.text), whole=end.whole)


def _add(start: Value, rest: Sequence[Value]) -> Value:
    end = _first(rest)
    if not start.whole:
        return start
    if end is None:  # the last segment is not known to its end
        return Value(start.text[: start.text.rfind("/") + 1].rstrip("/"), whole=False)
    return Value(start.text + end.text, whole=end.whole)


def _renamed(value: Value, how: str, new: Sequence[Value]) -> Value:
    end = _first(new)
    folder, name = posixpath.split(value.text)
    if not value.whole or end is None or not end.whole:
        return Value(folder, whole=False)
    stem, suffix = posixpath.splitext(name)
    renamed = {"with_name": end.text, "with_suffix": stem + end.text, "with_stem": end.text + suffix}[how]
    return Value(posixpath.join(folder, renamed))
