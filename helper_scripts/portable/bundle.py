"""The bundle these helpers lie in: where it is and what its information file says."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portable.errors import HelperError

WINDOWS = os.name == "nt"
INSTANCES = "instances"  # the folder they lie in
_FORMAT = 1
_UNZIP_AGAIN = "The bundle was unzipped only partly or a file was deleted: unzip it again into an empty folder."


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """`root` is absolute. `env` holds the recipe's variables, `launch_args` its arguments for ComfyUI.

    Of an instance `root` is its own folder, `base` the bundle it is layered over, whose packages it does not see if it
    is `isolated`.
    """

    root: Path
    name: str
    version: str
    target: str
    python_version: str
    app: str
    env: Mapping[str, str]
    launch_args: tuple[str, ...]
    base: Path | None = None
    isolated: bool = False

    @property
    def python(self) -> Path:
        return python_of(self.home)

    @property
    def home(self) -> Path:
        """Where Python and all that was shipped lies."""
        return self.base or self.root

    @property
    def app_dir(self) -> Path:
        return self.root / self.app

    @property
    def portable(self) -> Path:
        return self.root / "portable"


def python_of(root: Path) -> Path:
    """The interpreter of the bundle in `root`."""
    return root / "python" / ("python.exe" if WINDOWS else "bin/python")


def site_packages_of(root: Path, *, windows: bool = WINDOWS) -> Path:
    """Where the bundle in `root` keeps its packages. Raises HelperError if there is no such folder."""
    pattern = "python/Lib/site-packages" if windows else "python/lib/python3*/site-packages"
    folder = next(iter(sorted(root.glob(pattern))), None)
    if folder is None:
        raise HelperError(f"{root / 'python'} holds no site-packages. {_UNZIP_AGAIN}")
    return folder


_chosen: list[Path] = []


def choose(root: Path) -> None:
    """From now on `locate` tells `root`: an instance of the bundle."""
    _chosen[:] = [root]


def locate() -> Path:
    """The root of the bundle this file is in, or of the instance that was chosen.

    Links are not resolved: the front has done so on POSIX, and on Windows a mapped drive would become a UNC path,
    which cmd.exe and many nodes cannot use as a working directory.
    """
    return _chosen[0] if _chosen else Path(__file__).absolute().parents[1]


def read(root: Path) -> Bundle:
    """The bundle in `root`. Raises HelperError if its information file is missing, broken or of another format."""
    path = root / "portable" / "bundle.json"
    try:
        facts: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise HelperError(f"{path} is missing. {_UNZIP_AGAIN}") from None
    except (OSError, ValueError) as error:
        raise HelperError(f"{path} cannot be read ({error}). {_UNZIP_AGAIN}") from error
    if not isinstance(facts, dict):
        raise HelperError(f"{path} does not describe a bundle. {_UNZIP_AGAIN}")
    if facts.get("format") != _FORMAT:
        raise HelperError(
            f"{path} has format {facts.get('format')!r}, these helpers read format {_FORMAT}: "
            "use the portable/ folder that came with the bundle."
        )
    try:
        return Bundle(
            root=root,
            name=str(facts["name"]),
            version=str(facts["version"]),
            target=str(facts["target"]),
            python_version=str(facts["python_version"]),
            app=str(facts.get("app", "ComfyUI")),
            env={str(name): str(value) for name, value in facts.get("env", {}).items()},
            launch_args=tuple(str(word) for word in facts.get("launch", {}).get("args", ())),
            base=root.parents[1] if facts.get("instance") else None,
            isolated=bool((facts.get("instance") or {}).get("isolated")),
        )
    except (KeyError, AttributeError, TypeError) as error:
        raise HelperError(f"{path} lacks or misspells a field ({error}). {_UNZIP_AGAIN}") from error
