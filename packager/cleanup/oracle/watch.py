# ruff: noqa: PTH100, PTH109, PTH117, PTH118, PTH120 (pathlib is among what is watched)
"""What a module or the app does while it starts: what it opens and looks for, what is loaded at the end, what failed.

    python -I watch.py import RESULT ROOT MODULE
    python -s watch.py app RESULT ROOT main.py [ARGUMENTS]

It is run by the tree's own Python in a fresh process, so it imports the standard library alone and nothing of packager.
The answer goes to the file RESULT as JSON. ROOT is the tree; further roots that stand for a part of it are given in the
environment as WATCH_ROOTS (os.pathsep between them).

An audit hook (PEP 578) sees what is opened, listed, imported and loaded with ctypes. os.stat and os.access raise no
event, so they are wrapped; what C code maps is read from /proc/self/maps. What C code merely looks for is not seen.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

_FLAG_SECONDS = 10.0  # for all is_..._available() together
_MAPS = Path("/proc/self/maps")
_IMPORT_SYSTEM = "<frozen importlib._bootstrap_external>"


class Watch:
    """Collects from the moment it is made until `stop`. Names and paths are as the program gave them."""

    def __init__(self) -> None:
        with contextlib.suppress(ImportError):  # the compiler imports it for a name with other letters than ASCII's, so
            importlib.import_module("unicodedata")  # that it would be loaded as long as there is no bytecode
        self.opened: set[str] = set()
        self.looked: set[str] = set()
        self.listed: set[str] = set()
        self.wanted: set[str] = set()
        self._on = True
        self._originals = {name: getattr(os, name) for name in ("stat", "lstat", "access")}
        for name, original in self._originals.items():
            setattr(os, name, self._wrapped(original))
        sys.addaudithook(self._hear)

    def stop(self) -> None:
        self._on = False
        for name, original in self._originals.items():
            setattr(os, name, original)

    def _wrapped(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def look(path: Any, *args: Any, **options: Any) -> Any:
            if self._on and options.get("dir_fd") is None:
                self._note(self.looked, path)
            return original(path, *args, **options)

        for supported in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
            if original in supported:
                supported.add(look)
        return look

    def _note(self, where: set[str], path: Any) -> None:
        if isinstance(path, (str, bytes, os.PathLike)):
            with contextlib.suppress(TypeError, ValueError, OSError):
                name = os.fsdecode(path)
                where.add(name if os.path.isabs(name) else os.path.join(os.getcwd(), name))

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            self._note(self.opened, args[0])
        elif event == "import":
            self.wanted.add(str(args[0]))
            if args[1]:
                self._note(self.opened, args[1])
        elif event == "ctypes.dlopen":
            self._note(self.opened, args[0])
        elif event in ("os.listdir", "os.scandir") and not _is_import_system():
            self._note(self.listed, args[0] if args[0] is not None else ".")


def _is_import_system() -> bool:
    frame = sys._getframe(2)
    return frame is not None and frame.f_code.co_filename == _IMPORT_SYSTEM


def main(arguments: list[str]) -> None:
    what, result, root, target, *rest = arguments
    roots = [root, *filter(None, os.environ.pop("WATCH_ROOTS", "").split(os.pathsep))]
    watch = Watch()
    errors, code = (_import(target), None) if what == "import" else _run(target, rest)
    answer: dict[str, Any] = {"errors": errors, "exit": code, "modules": _loaded(roots)}
    if what == "import":
        answer["flags"] = _flags(target.split(".")[0])
    else:
        answer["classes"] = sorted(map(str, getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", ())))
    watch.stop()
    answer["wanted"] = sorted(watch.wanted)
    for name, paths in (("opened", watch.opened | _mapped()), ("looked", watch.looked), ("listed", watch.listed)):
        answer[name] = sorted(path for path in paths if path.startswith(tuple(roots)) or ".pyc" in path)
    Path(result).write_bytes(json.dumps(answer, ensure_ascii=False).encode("utf-8", errors="replace"))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread that an imported module started must not keep the process


def _import(name: str) -> list[dict[str, str]]:
    try:
        importlib.import_module(name)
    except BaseException as raised:  # a module may raise SystemExit, and that is an answer too
        return list(_chain(raised))
    return []


def _run(script: str, arguments: list[str]) -> tuple[list[dict[str, str]], int | None]:
    """The script as `python SCRIPT` would run it: (what it raised, exit code)."""
    sys.argv[:] = [script, *arguments]
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return [], end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as raised:
        return list(_chain(raised)), 1
    return [], 0


def _chain(error: BaseException) -> Iterator[dict[str, str]]:
    """Packages hide the cause of a failure behind their own exception; all of the chain is told."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        told = {"type": type(current).__name__, "message": str(current)[:4000], "where": _where(current.__traceback__)}
        if isinstance(current, ImportError) and current.name:
            told["name"] = current.name
        if isinstance(current, OSError) and isinstance(current.filename, (str, bytes)):
            told["filename"] = os.fsdecode(current.filename)
        yield told
        current = current.__cause__ or current.__context__


def _where(trace: TracebackType | None) -> str:
    """FILE:LINE of the innermost frame that is not Python's import system."""
    place = ""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not name.startswith("<frozen"):
            place = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _loaded(roots: list[str]) -> list[str]:
    """Modules whose file lies below one of `roots`."""
    places = tuple(os.path.join(root, "") for root in roots)
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__dict__", {}).get("__file__")  # getattr(module) could start a lazy import
        if isinstance(file, str) and file.startswith(places):
            found.append(name)
    return sorted(found)


def _flags(package: str) -> dict[str, str]:
    """What every is_..._available() of the package's loaded modules answers, as far as it needs no argument."""
    flags: dict[str, str] = {}
    end = time.monotonic() + _FLAG_SECONDS
    for name, module in sorted(sys.modules.items()):
        if name != package and not name.startswith(f"{package}."):
            continue
        for word, value in sorted(getattr(module, "__dict__", {}).items()):
            if word.startswith("is_") and word.endswith("_available") and getattr(value, "__module__", "") == name:
                if time.monotonic() > end:
                    return flags
                flags[f"{name}.{word}"] = _answer_of(value)
    return flags


def _answer_of(function: Any) -> str:
    try:
        inspect.signature(function).bind()
    except (TypeError, ValueError):
        return "needs arguments"
    try:
        answer = function()
    except BaseException as error:
        return type(error).__name__
    return repr(answer) if isinstance(answer, (bool, int, str, type(None))) else type(answer).__name__


def _mapped() -> set[str]:
    """Files mapped into this process, extension modules and the libraries they load among them (Linux)."""
    if not _MAPS.exists():
        return set()
    fields = (line.split(None, 5) for line in os.fsdecode(_MAPS.read_bytes()).splitlines())
    return {field[5] for field in fields if len(field) == 6 and field[5].startswith("/")}


if __name__ == "__main__":
    main(sys.argv[1:])
