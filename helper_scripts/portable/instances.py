"""Instances: further ComfyUIs beside that of the bundle, with nodes and packages of their own over the shared ones.

    instances/NAME/portable/bundle.json   as the bundle's, with "instance": {"isolated", "port"}
    instances/NAME/portable/state/        its own transactions and snapshots
    instances/NAME/python/                its own packages; bin/python starts the bundle's Python with them
    instances/NAME/ComfyUI/               its own app, nodes, outputs; it reads the bundle's models

Nothing in it names a place, so that it keeps working wherever the bundle is moved to. The bundle's own packages are
never changed by an instance; what is its own comes first, and an isolated instance sees nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portable import bundle as bundles
from portable import checks, interlock, model_places, nodes, packages
from portable.bundle import INSTANCES, WINDOWS, Bundle
from portable.changes import STATE
from portable.disk import explain, move, remove_tree, require_room
from portable.errors import HelperError, UsageError
from portable.journal import write_durably, write_json_durably
from portable.layers import environment_of
from portable.node_fetch import fetch
from portable.node_source import is_folder_name, parse
from portable.resolution import read_holds

Say = Callable[[str], None]
_FRONTS = Path(__file__).absolute().with_name("instance_fronts.json")
_FIRST_PORT = 8189  # ComfyUI's own is 8188


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a new instance is to be. `ref` is a version of ComfyUI (None: the bundle's own files), `repository` where it
    comes from (None: where the bundle's came from), `nodes` as for `node add`."""

    name: str
    ref: str | None = None
    repository: str | None = None
    nodes: tuple[str, ...] = ()
    isolated: bool = False
    port: int | None = None
    use_git: bool = True
    wheels_dir: str | None = None
    force: bool = False
    smoke: bool = True


def choose(words: Sequence[str]) -> None:
    """From now on `bundle.locate` tells the instance that is named in `words`. Raises UsageError if there is none."""
    base = bundles.locate()
    name = words[0] if words else ""
    if name not in names(base):
        known = ", ".join(names(base)) or "none; `manage instance create NAME` makes one"
        raise UsageError(f"there is no instance {name!r}; there is {known}.")
    bundles.choose(base / INSTANCES / name)


def names(base: Path) -> list[str]:
    """The instances of the bundle in `base`."""
    folder = base / INSTANCES
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted(
        path.name for path in there if is_folder_name(path.name) and (path / "portable/bundle.json").is_file()
    )


def describe(base: Path, name: str) -> dict[str, Any]:
    """Name, port, whether it is isolated, bytes on disk, and its nodes."""
    instance = bundles.read(base / INSTANCES / name)
    facts = _facts(instance.root)
    own = sum(file.lstat().st_size for file in instance.root.rglob("*") if not file.is_dir() and not file.is_symlink())
    return {
        "name": name,
        "path": str(instance.root),
        "port": facts["instance"]["port"],
        "isolated": instance.isolated,
        "ref": facts["instance"].get("ref"),
        "nodes": nodes.names(instance),
        "size": own,
    }


def create(base: Bundle, wish: Wish, *, say: Say) -> dict[str, Any]:
    """Make an instance: all of it, or nothing. Raises HelperError, also if its ComfyUI does not start."""
    _refuse(base, wish)
    sweep(base, say)
    making = base.root / INSTANCES / f".{wish.name}.making"
    interlock.hold_for_run(base.root / STATE, ["instance", "create", wish.name])
    try:
        making.mkdir(parents=True)
    except FileExistsError:
        raise HelperError(f"Another helper is making {wish.name}: let it finish, then retry.") from None
    try:
        with interlock.changing(making / STATE, ["instance", "create", wish.name]):
            _fill(base, making, wish, say)
        remove_tree(making / STATE)  # what made it is no change to be undone
        move(making, making.with_name(wish.name))
    except OSError as error:
        remove_tree(making)
        raise HelperError(f"The instance was not made: {explain(error)}") from error
    except BaseException:
        remove_tree(making)
        raise
    return describe(base.root, wish.name)


def _refuse(base: Bundle, wish: Wish) -> None:
    if base.base is not None:
        raise UsageError("an instance has no instances: leave --instance out.")
    if not is_folder_name(wish.name):
        raise UsageError(f"{wish.name!r} cannot be an instance's name: letters, digits, - _ and . after a letter.")
    if any(name.casefold() == wish.name.casefold() for name in names(base.root)):
        raise UsageError(f"There is an instance {wish.name} already: choose another name, or remove it first.")
    if os.pathsep in str(base.root):
        raise HelperError(f"{base.root} holds {os.pathsep!r}, which divides paths: rename that folder first.")
    if mark := next((base.root / "python").glob("python*._pth"), None):
        raise HelperError(f"{mark} keeps this Python from reading PYTHONPATH, by which an instance sees its packages.")
    _refuse_port(wish.port)
    for word in wish.nodes:
        parse(word)


def _refuse_port(port: int | None) -> None:
    if port is not None and not 0 < port < 65536:
        raise UsageError(f"{port} is no port: 1 to 65535.")


def _fill(base: Bundle, root: Path, wish: Wish, say: Say) -> None:
    port = wish.port or _free_port(base.root)
    facts = _facts(base.root)
    facts["name"] = f"{base.name} {wish.name}"
    facts["launch"] = {**facts.get("launch", {}), "args": [*base.launch_args, "--port", str(port)]}
    facts["instance"] = {"isolated": wish.isolated, "port": port, "ref": wish.ref}
    (root / "portable").mkdir(exist_ok=True)
    write_json_durably(root / "portable" / "bundle.json", facts)
    _write_holds(base, root, isolated=wish.isolated)
    _write_fronts(base, root)
    instance = bundles.read(root)
    _bring_app(base, instance, wish, say)
    for name in ("models", "input", "output", "custom_nodes"):
        (instance.app_dir / name).mkdir(exist_ok=True)
    model_places.share(instance, base)
    needs = instance.app_dir / "requirements.txt"
    calls: dict[str, Any] = {"command": ["instance", "create", wish.name], "say": say}
    if needs.is_file() and (wish.isolated or wish.ref or wish.repository):
        request = packages.Request(files=(str(needs),), wheels_dir=wish.wheels_dir, force=wish.force, smoke=False)
        packages.warn(packages.install(instance, request, **calls))
    how = nodes.Wish(force=wish.force, smoke=False, use_git=wish.use_git, wheels_dir=wish.wheels_dir)
    for word in wish.nodes:
        done = nodes.add(instance, word, how, show=lambda _: None, confirm=lambda: True, **calls)
        packages.warn(done.outcome)
    if wish.smoke:
        say(f"starting ComfyUI of {wish.name}")
        if faults := checks.start_app(instance).worse_than(checks.Start(failed={})):
            raise HelperError("The instance was not made:" + "".join(f"\n  {fault}" for fault in faults))


def _bring_app(base: Bundle, instance: Bundle, wish: Wish, say: Say) -> None:
    if wish.ref is None and wish.repository is None:
        say("copying ComfyUI")
        left_out = {base.app_dir / name for name in _fronts()["not_copied"]}
        size = sum(
            file.lstat().st_size for top in base.app_dir.iterdir() if top not in left_out for file in _files(top)
        )
        require_room(base.root, size)

        def skip(folder: str, found: list[str]) -> list[str]:
            return [name for name in found if Path(folder, name) in left_out or name == "__pycache__"]

        shutil.copytree(base.app_dir, instance.app_dir, symlinks=True, ignore=skip)
        return
    address = wish.repository or _origin_of_app(base)
    source = parse(f"{address}@{wish.ref}" if wish.ref else address)
    work = instance.root / "work"
    work.mkdir()
    got = fetch(source, work, environment_of(base), have=None, use_git=wish.use_git, say=say)
    if not (got.tree / "main.py").is_file():
        raise HelperError(f"{source} holds no main.py: it is no ComfyUI.")
    move(got.tree, instance.app_dir)
    remove_tree(work)


def _origin_of_app(base: Bundle) -> str:
    known = [item.get("url") for item in _facts(base.root).get("repositories", ()) if item.get("name") == base.app]
    if not known or not known[0]:
        raise UsageError(
            "where this bundle's ComfyUI came from is not known: add --repository https://HOST/OWNER/NAME."
        )
    return str(known[0])


def _write_holds(base: Bundle, root: Path, *, isolated: bool) -> None:
    """Of the base's lock what is protected holds for the instance too, unless that is isolated."""
    holds = read_holds(base)
    kept = {} if isolated else {name: pin for name, pin in holds.lock.items() if name in holds.protected}
    lines = "".join(f"{name}=={pin}\n" for name, pin in kept.items())
    write_durably(root / "portable" / "lock.txt", lines.encode())
    marks = base.portable / "protected.json"
    if marks.is_file():
        shutil.copyfile(marks, root / "portable" / "protected.json")


def _write_fronts(base: Bundle, root: Path) -> None:
    """Where packages go, a `python` that sees them, and the script that starts ComfyUI."""
    (root / bundles.site_packages_of(base.root).relative_to(base.root)).mkdir(parents=True)
    for front in _fronts()["windows" if WINDOWS else "posix"]:
        place = root / front["path"]
        place.parent.mkdir(parents=True, exist_ok=True)
        end = "\r\n" if WINDOWS else "\n"
        place.write_bytes("".join(f"{line}{end}" for line in front["lines"]).encode())
        place.chmod(0o755)


def set_up(base: Path, name: str, *, isolated: bool | None, port: int | None) -> dict[str, Any]:
    """Change whether an instance sees the packages of its base, and its port; None leaves it as it is.

    Raises UsageError, and BusyError while another helper changes it.
    """
    if name not in names(base):
        raise UsageError(f"there is no instance {name!r}: `manage instance list` shows those that are.")
    _refuse_port(port)
    root = base / INSTANCES / name
    with interlock.changing(root / STATE, ["instance", "set", name], force=True):  # its ComfyUI may run
        facts = _facts(root)
        if isolated is not None:
            facts["instance"]["isolated"] = isolated
            _write_holds(bundles.read(base), root, isolated=isolated)
        if port is not None:
            facts["launch"]["args"][-1] = str(port)
            facts["instance"]["port"] = port
        write_json_durably(root / "portable" / "bundle.json", facts)
    return describe(base, name)


def remove(base: Bundle, name: str, *, say: Say) -> str:
    """Remove an instance; what its user made in it is put into ComfyUI/user/removed-instances of the bundle.

    Returns that folder, an empty text if there was nothing. Raises HelperError while its ComfyUI runs.
    """
    if name not in names(base.root):
        raise UsageError(f"there is no instance {name!r}: `manage instance list` shows those that are.")
    root = base.root / INSTANCES / name
    with interlock.changing(root / STATE, ["instance", "remove", name]):
        pass  # nobody is at it
    going = root.with_name(f".{name}.going")
    remove_tree(going)
    move(root, going)  # first out of sight, so that a kill leaves no half of one
    return _finish_removal(base, name, going, say)


def _finish_removal(base: Bundle, name: str, going: Path, say: Say) -> str:
    place = base.app_dir / "user" / "removed-instances" / name
    number = 1
    while place.exists():
        number += 1
        place = place.with_name(f"{name}-{number}")
    for folder in _fronts()["of_the_user"]:
        source = going / base.app / folder
        if source.is_dir() and any(_files(source)):
            place.mkdir(parents=True, exist_ok=True)
            move(source, place / folder)
    remove_tree(going)
    if place.exists():
        say(f"what you made in {name} is in {place}")
        return str(place)
    return ""


def sweep(base: Bundle, say: Say) -> None:
    """Finish what a killed helper left of instances: half a one goes, a removal ends."""
    folder = base.root / INSTANCES
    for path in sorted(folder.glob(".*.going")) if folder.is_dir() else ():
        _finish_removal(base, path.name[1 : -len(".going")], path, say)
    for path in sorted(folder.glob(".*.making")) if folder.is_dir() else ():
        with contextlib.suppress(interlock.BusyError), interlock.changing(path / STATE, ["instance", "sweep"]):
            say(f"note: making the instance {path.name[1 : -len('.making')]} was interrupted; what was there goes.")
            remove_tree(path)


def _free_port(base: Path) -> int:
    taken = {_facts(base / INSTANCES / name)["instance"]["port"] for name in names(base)}
    return next(port for port in range(_FIRST_PORT, 65536) if port not in taken)


def _facts(root: Path) -> dict[str, Any]:
    bundles.read(root)  # says what is wrong with it
    loaded: dict[str, Any] = json.loads((root / "portable" / "bundle.json").read_text(encoding="utf-8"))
    return loaded


def _fronts() -> Mapping[str, Any]:
    loaded: dict[str, Any] = json.loads(_FRONTS.read_text(encoding="utf-8"))
    return loaded


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink() or path.is_file():
        yield path
    else:
        yield from (file for file in path.rglob("*") if file.is_symlink() or file.is_file())
