"""What one Python file may import or read at run time, read from its text. Nothing of it runs.

Left out is what does not run in a bundle: `if TYPE_CHECKING:` and `if __name__ == "__main__":`. An import inside a
function counts like one at the top: it is run at the first call, which no probe makes.
"""

from __future__ import annotations

import ast
import posixpath
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from packager.cleanup.oracle.path_values import PathValues

STUB_WORD = "attach_stub"  # lazy_loader reads FILE.pyi beside FILE.py
_IMPORTERS = {"import_module", "__import__", "find_spec", "lazy_import", "LazyModule"}
_WORD_BYTES = bytes(code if chr(code).isalnum() or code == ord("_") or code > 127 else ord(" ") for code in range(256))


@dataclass(frozen=True)
class Reference:
    """`kind` module: `target` is a dotted name, or a path without suffix that begins with / (a relative import).

    `kind` path: `target` is a path from the tree's root, or `{package}/rest`. `line` counts from 1.
    """

    kind: str
    target: str
    line: int


# Without one of them no expression leads to a place in the tree.
_PLACE_WORDS = {
    b"__file__",
    b"__path__",
    b"files",
    b"get_data",
    b"read_text",
    b"read_binary",
    b"open_text",
    b"open_binary",
}
_PLACE_WORDS |= {b"is_resource", b"contents", b"path", b"pkg_resources", b"resource_filename", b"resource_string"}


def words_of(content: bytes) -> set[bytes]:
    """The words in a file: a file that does not hold the name of what goes cannot ask for it by name."""
    return set(content.translate(_WORD_BYTES).split())


def references(file: str, content: bytes) -> list[Reference]:
    """The references of the file at `file`, a path from the tree's root; none if it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the compiler thinks of other people's escapes
            tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    asks = not _PLACE_WORDS.isdisjoint(words_of(content))
    finder = _Finder(file, PathValues(file, tree) if asks else None)
    try:
        finder.visit(tree)
    except RecursionError:
        return finder.found
    return finder.found


def stub_references(file: str, content: bytes) -> list[Reference]:
    """What lazy_loader.attach_stub makes of the stub `file`: the imports done when a name of it is first used."""
    return [found for found in references(file, content) if found.kind == "module" and found.target.startswith("/")]


class _Finder(ast.NodeVisitor):
    def __init__(self, file: str, values: PathValues | None) -> None:
        self.found: list[Reference] = []
        self._file = file
        self._folder = posixpath.dirname(f"/{file}")
        self._values = values

    def visit_If(self, node: ast.If) -> None:
        if _is_type_checking(node.test) or _is_main(node.test):
            for other in node.orelse:
                self.visit(other)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._module(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        start = node.module or ""
        if node.level:
            start = self._relative(node.level, start)
        self._module(start, node.lineno)
        separator = "/" if node.level else "."
        for alias in node.names:
            if alias.name != "*":
                self._module(f"{start}{separator}{alias.name}", node.lineno)

    def visit_Assign(self, node: ast.Assign) -> None:
        values = self._values
        if values is None or not all(
            isinstance(target, ast.Name) and target.id in values.used and values.of(node.value)
            for target in node.targets
        ):
            self.generic_visit(node)  # what is not used by name here may be used elsewhere

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in _IMPORTERS:
            for text in _strings(node):
                dots = len(text) - len(text.lstrip("."))
                self._module(self._relative(dots, text[dots:]) if dots else text, node.lineno)
        elif name == STUB_WORD:
            self.found.append(Reference("path", f"/{posixpath.splitext(self._file)[0]}.pyi", node.lineno))
        elif name == "attach":  # lazy_loader.attach(__name__, submodules, submod_attrs)
            for text in _strings(node):
                if all(part.isidentifier() for part in text.split(".")):
                    self._module(f"{self._folder}/{text.replace('.', '/')}", node.lineno)
        self._expression(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._expression(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self._expression(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and node.id not in ("__name__", "__package__", "__file__"):
            self._expression(node)

    def _expression(self, node: ast.expr) -> None:
        """Note the paths it can be; what is inside an expression that is a path is not noted for itself."""
        paths = [value for value in self._values.of(node) if value.is_path] if self._values else []
        for value in paths:
            self.found.append(Reference("path", posixpath.normpath(value.text), node.lineno))
        if not paths:
            self.generic_visit(node)

    def _relative(self, level: int, name: str) -> str:
        folder = self._folder
        for _ in range(level - 1):
            folder = posixpath.dirname(folder)
        return posixpath.join(folder, *name.split(".")) if name else folder

    def _module(self, target: str, line: int) -> None:
        if target:
            self.found.append(Reference("module", target, line))


def _strings(node: ast.Call) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and inner.value:
            yield inner.value


def _is_type_checking(test: ast.expr) -> bool:
    return getattr(test, "id", getattr(test, "attr", "")) == "TYPE_CHECKING"


def _is_main(test: ast.expr) -> bool:
    match test:
        case ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]):
            return True
    return False
