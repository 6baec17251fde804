"""Which member names and link targets an archive may hold: the same rules when it is written and when it is read back.

Sources: .ZIP File Format Specification (APPNOTE.TXT) 4.4.17 for names; Microsoft "Naming Files, Paths, and Namespaces"
for what Windows reserves; path_resolution(7) for how links are followed.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping

from packager.filesystem import is_device_name

MAX_PATH = 4096  # bytes of a path or link target, PATH_MAX of Linux
MAX_DEPTH = 128  # components of a path
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_WINDOWS_RESERVED = re.compile(r'[<>:"|?*]')
_SHORT_NAME = re.compile(r"~[0-9]")
_MAX_HOPS = 40  # links followed in one resolution, as Linux allows


def name_fault(path: str, *, windows: bool) -> str | None:
    """What is wrong with `path` as a member name (forward slashes, no final one), or None.

    `windows`: also refuse what Windows reserves: device names, `:` and other characters, a final dot or space.
    """
    if not path:
        return "the name is empty"
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "the name is not valid UTF-8"
    if _CONTROL.search(path):
        return "the name holds a control character"
    if "\\" in path:
        return "the name holds a backslash"
    if path.startswith("/") or _DRIVE.match(path):
        return "the name is absolute"
    for component in path.split("/"):
        if component in ("", ".", ".."):
            return "the name leaves the folder or is not in its plain form"
        if windows and (fault := _windows_fault(component)):
            return fault
    return None


def _windows_fault(component: str) -> str | None:
    if is_device_name(component):
        return f"'{component}' is a device name on Windows"
    if _WINDOWS_RESERVED.search(component):
        return f"'{component}' holds a character that Windows reserves"
    if component[-1] in ". ":
        return f"'{component}' ends in a dot or a space, which Windows drops"
    return None


def folded(name: str) -> str:
    """The same for all names that are one where case and Unicode form do not count (Unicode 3.13, D145)."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


def link_faults(
    links: Mapping[str, str], *, ignore_case: bool = False, windows: bool = False
) -> Iterable[tuple[str, str]]:
    """(path, what is wrong) of each link that is absolute, leads out of the root, or turns in a circle.

    `links` maps paths to targets. Links are followed as a kernel does, so a chain of harmless ones cannot add up to a
    way out. A link to something that does not exist inside the root is fine. `ignore_case`: case and Unicode form do
    not count. `windows`: a target may not be spelled so that Windows takes it for another name.
    """
    key = folded if ignore_case else str
    known = {key(path): target for path, target in links.items()}
    for path, target in links.items():
        if fault := _target_fault(target, windows=windows):
            yield path, fault
        elif target.startswith("/") or _DRIVE.match(target):
            yield path, f"it is an absolute link, to {target}"
        elif fault := _resolution_fault(path, known, key):
            yield path, f"{fault}, through {target}"


def _target_fault(target: str, *, windows: bool) -> str | None:
    if not target or _CONTROL.search(target) or "\\" in target:
        return "its target is empty or holds a backslash or a control character"
    try:
        target.encode("utf-8")
    except UnicodeEncodeError:
        return "its target is not valid UTF-8"
    if windows and not (target.startswith("/") or _DRIVE.match(target)):
        for component in target.split("/"):
            if component in ("", ".", ".."):
                continue
            if fault := _windows_fault(component):
                return f"in its target, {fault}"
            if _SHORT_NAME.search(component):
                return f"in its target, '{component}' may be the short name of something else on Windows"
    return None


def _resolution_fault(path: str, links: Mapping[str, str], key: Callable[[str], str]) -> str | None:
    """`links`: targets by the key of their paths."""
    here: list[str] = []
    waiting = path.split("/")[::-1]
    hops = 0
    while waiting:
        component = waiting.pop()
        if component in ("", "."):
            continue
        if component == "..":
            if not here:
                return "it leads out of the folder"
            here.pop()
            continue
        target = links.get(key("/".join([*here, component])))
        if target is None:
            here.append(component)
            continue
        hops += 1
        if hops > _MAX_HOPS:
            return "it is a link that turns in a circle"
        if target.startswith("/"):
            return "it leads out of the folder"
        waiting.extend(target.split("/")[::-1])
    return None


def parents(path: str) -> Iterable[str]:
    """Every folder above `path`, nearest first: a/b/c -> a/b, a."""
    while path := posixpath.dirname(path):
        yield path


def case_collisions(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of different names, folders included, that are one name where case and Unicode form do not count."""
    first: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    for path in paths:
        for name in (path, *parents(path)):
            other = first.setdefault(folded(name), name)
            if other != name:
                found.append((other, name))
    return found
