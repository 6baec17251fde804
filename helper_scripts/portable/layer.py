"""`python layer.py INSTANCE [FLAGS] -m MODULE | -c CODE | SCRIPT | (nothing) ...`: Python with an instance's packages.

The instance's own packages come before those of the base, which an isolated instance does not see at all. Where
everything lies is told by this file and INSTANCE, so that nothing has to be mended after a move. What is started with
`sys.executable` sees the same packages.
"""

from __future__ import annotations

import code
import json
import os
import runpy
import site
import sys
import zipfile

_WITH_VALUE = ("-X", "-W")


def _folders(prefix: str) -> list[str]:
    """Where packages lie below `prefix`."""
    if os.name == "nt":
        return [os.path.join(prefix, "Lib", "site-packages")]
    lib, version = os.path.join(prefix, "lib"), f"python{sys.version_info.major}.{sys.version_info.minor}"
    return [os.path.join(lib, version + mark, "site-packages") for mark in ("", "t")]


def _is_below(path: str, folders: list[str]) -> bool:
    real = os.path.realpath(path)
    return any(real == os.path.realpath(folder) or real.startswith(os.path.realpath(folder) + os.sep) for folder in folders)


def add_layer(instance: str, *, is_pip: bool = False) -> None:
    """Put the instance's packages in front of the base's in sys.path, or in their place."""
    with open(os.path.join(instance, "portable", "bundle.json"), encoding="utf-8") as stream:
        isolated = bool(json.load(stream)["instance"]["isolated"])
    if isolated and is_pip:
        import pip  # noqa: F401 - it is the base's, and goes on working when the base is out of sight
    here = os.path.dirname(os.path.abspath(__file__))
    base = _folders(os.path.join(os.path.dirname(here), "python"))
    own = [folder for folder in _folders(os.path.join(instance, "python")) if os.path.isdir(folder)]
    shared = [entry for entry in sys.path if _is_below(entry, base)]
    others = [entry for entry in sys.path if entry not in shared and os.path.realpath(entry or ".") != os.path.realpath(here)]
    sys.path[:] = others
    for folder in own:
        site.addsitedir(folder)  # with what its .pth files name
    if not isolated:
        sys.path.extend(shared)
    wrapper = os.path.join(instance, "python", "bin", "python")
    if os.name != "nt" and os.path.isfile(wrapper):
        sys.executable = wrapper


def main() -> None:
    """Do what the interpreter would with the words after INSTANCE; flags that concern its start have had their time."""
    instance, words = os.path.abspath(sys.argv[1]), sys.argv[2:]
    words, safe = _after_flags(words)
    add_layer(instance, is_pip=words[:2] == ["-m", "pip"])
    start = "" if words[:1] in ([], ["-c"]) else os.getcwd() if words[0] == "-m" else os.path.dirname(os.path.abspath(words[0]))
    is_script = bool(words) and words[0] not in ("-m", "-c", "-")
    if not safe and (not is_script or os.path.isfile(words[0])):
        sys.path.insert(0, start)
    if words[:1] == ["-m"]:
        sys.argv[:] = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[:1] == ["-c"]:
        sys.argv[:] = ["-c", *words[2:]]
        _execute(words[1], "<string>")
    elif is_script:
        sys.argv[:] = words
        _run_script(words[0])
    elif sys.stdin.isatty() and not words:
        code.interact(local={"__name__": "__main__"})
    else:
        sys.argv[:] = words or [""]
        _execute(sys.stdin.read(), "<stdin>")


def _after_flags(words: list[str]) -> tuple[list[str], bool]:
    """What follows the interpreter's flags, and whether sys.path is to hold no place of the caller's."""
    rest, safe = list(words), bool(sys.flags.isolated or getattr(sys.flags, "safe_path", False))
    while rest and rest[0].startswith("-") and rest[0] not in ("-", "-m", "-c"):
        flag = rest.pop(0)
        if flag in ("-V", "--version"):
            print(f"Python {sys.version.split()[0]}")
            sys.exit(0)
        if flag.startswith("--") or flag[1] in "XW":
            rest = rest[1:] if flag in _WITH_VALUE else rest
            continue
        sys.dont_write_bytecode = sys.dont_write_bytecode or "B" in flag
        safe = safe or "I" in flag or "P" in flag
        if flag[-1] in "mc":  # such as -Im
            rest.insert(0, f"-{flag[-1]}")
    return rest, safe


def _run_script(path: str) -> None:
    if os.path.isdir(path) or zipfile.is_zipfile(path):
        runpy.run_path(path, run_name="__main__")
        return
    with open(path, "rb") as stream:
        content = stream.read()
    _execute(content, path)


def _execute(source: str | bytes, name: str) -> None:
    """Run `source` as the main module, which then is as if the interpreter had started with it."""
    space = sys.modules["__main__"].__dict__
    compiled = compile(source, name, "exec", dont_inherit=True)
    for key in [key for key in space if not key.startswith("__")]:
        del space[key]
    space.pop("__file__", None)
    space.update({"__doc__": None, "__annotations__": {}, "__spec__": None, "__loader__": None})
    if not name.startswith("<"):
        space["__file__"] = name
    exec(compiled, space)  # noqa: S102 - what the interpreter does


if __name__ == "__main__":
    main()
