"""The environment of a bundle's programs, and of an instance's: that of its base, with its own packages in front."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from portable.bundle import INSTANCES, WINDOWS, Bundle, read
from portable.environment import environment


def note_sharing(bundle: Bundle, say: Callable[[str], None]) -> None:
    """Tell which instances see the packages of `bundle`, which have changed."""
    there = [path.parents[1] for path in (bundle.root / INSTANCES).glob("[!.]*/portable/bundle.json")]
    sharing = sorted(root.name for root in there if not read(root).isolated)
    if sharing:
        say(f"note: instances use these packages too ({', '.join(sharing)}): start each to see that it still works")


def environment_of(
    bundle: Bundle, base: Mapping[str, str] | None = None, *, guarded: bool = False, windows: bool = WINDOWS
) -> dict[str, str]:
    """The whole environment for a program of `bundle`, when the caller's is `base` (this process's unless given).

    An instance's Python loads layer/sitecustomize.py. Caches are shared with its base. In an instance that is
    `guarded`, pip itself installs and removes nothing: it would change the base.
    """
    found = environment(bundle.home, os.environ if base is None else base, recipe_env=bundle.env, windows=windows)
    found.pop("PORTABLE_INSTANCE", None)
    if bundle.base is not None:
        folder = bundle.root / "python" / ("Scripts" if windows else "bin")
        found["PATH"] = (";" if windows else ":").join([str(folder), found["PATH"]])
        found["PYTHONPATH"] = str(bundle.base / "portable" / "layer")
        found["PORTABLE_INSTANCE"] = str(bundle.root)
        if guarded:
            found["PIP_REQUIRE_VIRTUALENV"] = "1"
    return found
