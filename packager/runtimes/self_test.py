"""Run by a copied interpreter to tell how it is: one JSON object on stdout. Standard library only."""

import importlib
import json
import os
import platform
import site
import ssl
import sys
import sysconfig


def _import_error(name: str) -> "str | None":
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever it is, the caller wants to read it
        return f"{type(error).__name__}: {error}"
    return None


def _mapped_code() -> "list[str]":
    """Files whose code is in this process, after proc(5): address, permissions, offset, device, inode, path."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:  # noqa: PTH123
        fields = [line.rstrip("\n").split(maxsplit=5) for line in maps]
    return sorted({field[5] for field in fields if len(field) == 6 and "x" in field[1] and field[5].startswith("/")})


if __name__ == "__main__":
    folder = os.path.join(sysconfig.get_path("platstdlib", "posix_prefix"), "lib-dynload")  # noqa: PTH118
    modules = sorted({name.split(".")[0] for name in os.listdir(folder) if ".so" in name})  # noqa: PTH208
    failures = {name: error for name in modules if (error := _import_error(name))}
    facts = {
        "version": platform.python_version(),
        "build": " ".join([*platform.python_build(), platform.python_compiler()]),
        "prefix": sys.prefix,
        "path": sys.path,
        "failures": failures,
        "modules": len(modules),
        "ssl": ssl.OPENSSL_VERSION,
        "mapped": _mapped_code(),
        "purelib": sysconfig.get_path("purelib"),
        "scripts": sysconfig.get_path("scripts"),
        "site_packages": site.getsitepackages(),
    }
    print(json.dumps(facts))
