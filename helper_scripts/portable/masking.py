"""Taking out of a text what is nobody's business: names of users and machines, tokens, paths. Rules: masking.json.

Rather too much than too little: what is masked can be asked for, what was published cannot be taken back.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_RULES = Path(__file__).absolute().with_name("masking.json")


def mask(
    text: str,
    places: Mapping[str, str],
    environ: Mapping[str, str],
    *,
    users: Iterable[str] | None = None,
    hosts: Iterable[str] | None = None,
) -> str:
    """`text` without secrets. `places` are absolute paths and what to write for each, such as `<bundle>`.

    `users` and `hosts` are the names to take out, this machine's if None.
    """
    rules: Any = json.loads(_RULES.read_text(encoding="utf-8"))
    for secret in _secrets(environ, rules):
        text = text.replace(secret, "<secret>")
    for path in sorted(places, key=len, reverse=True):
        for form in _forms(path):
            text = _replace_path(text, form, places[path])
    for rule in rules["patterns"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    for names, word in ((users if users is not None else _users(), "<user>"), (hosts or _hosts(), "<host>")):
        for name in sorted({name for name in names if len(name) > 2}, key=len, reverse=True):
            if name.lower() not in rules["ordinary_names"]:
                text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])", word, text, flags=re.IGNORECASE)
    return text


def _secrets(environ: Mapping[str, str], rules: Mapping[str, Any]) -> list[str]:
    found = {
        value.strip()
        for name, value in environ.items()
        if re.search(rules["secret_names"], name) and len(value.strip()) >= rules["shortest_secret"]
    }
    return sorted(found, key=len, reverse=True)


def _forms(path: str) -> list[str]:
    """A path as it may be written: with either slash, and with backslashes doubled as in JSON and Python."""
    bare = path.rstrip("/\\")
    forms = {bare, bare.replace("\\", "/"), bare.replace("\\", "\\\\")} if "\\" in bare else {bare}
    return sorted((form for form in forms if len(form) > 1), key=len, reverse=True)


def _replace_path(text: str, path: str, word: str) -> str:
    """Where the path ends or goes on below it. Windows does not tell letters apart by case."""
    flags = re.IGNORECASE if re.match(r"[A-Za-z]:|\\\\", path) else 0
    return re.sub(rf"{re.escape(path)}(?![^/\\\s'\":;,)\]}}])", lambda _: word, text, flags=flags)


def _users() -> set[str]:
    names = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")}
    with contextlib.suppress(OSError, KeyError, RuntimeError, ImportError):  # no such user, as in a container
        names |= {getpass.getuser(), Path.home().name}
    return names - {""}


def _hosts() -> set[str]:
    name = platform.node()
    return {name, name.partition(".")[0], os.environ.get("COMPUTERNAME", ""), os.environ.get("USERDOMAIN", "")} - {""}
