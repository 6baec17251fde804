"""How a program of the bundle is started while it is being proved: a bare environment, the build tree out of sight.

With bubblewrap an empty folder lies over the build tree and over every Python of the host. Without it (macOS, Windows,
machines without user namespaces) the build tree is renamed for the time; the new name alone tells the next start that
a killed proof left it so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packager.errors import InputError
from packager.probes.environment import can_mask
from packager.probes.pool import Job

HIDDEN_SUFFIX = ".hidden-by-proof"
_SYSTEM_PREFIXES = (Path("/"), Path("/usr"), Path("/usr/local"))


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """`starter` are the words before each command (bwrap and its masks, or none), `folder` a scratch folder of ours."""

    starter: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path

    def job(self, name: str, command: Sequence[str | Path], *, timeout: float, **variables: str) -> Job:
        """`command` to be run here; `variables` are added to the environment."""
        return Job(
            name=name,
            command=(*self.starter, *map(str, command)),
            cwd=self.folder,
            env={**self.environment, **variables},
            timeout=timeout,
        )

    def without(self, files: Sequence[str]) -> Sandbox | None:
        """The same with empty files in place of `files`; None where nothing can be masked."""
        if not self.starter:
            return None
        end = self.starter.index("--")
        masks = [word for file in files for word in ("--ro-bind", "/dev/null", file)]
        return replace(self, starter=(*self.starter[:end], *masks, *self.starter[end:]))


def link_programs(folder: Path, programs: Sequence[str]) -> str:
    """A PATH of one folder that holds `programs`, as far as the machine has them, and no other: no Python, no git."""
    if sys.platform == "win32":
        return str(Path(os.environ["SYSTEMROOT"]) / "System32")
    folder.mkdir(parents=True, exist_ok=True)
    for program in programs:
        found = shutil.which(program, path="/bin:/usr/bin:/sbin:/usr/sbin")
        link = folder / program
        if found and not link.is_symlink():
            link.symlink_to(found)
    return str(folder)


@contextlib.contextmanager
def hidden(paths: Sequence[Path], *, scratch: Path, mask: bool | None = None) -> Iterator[tuple[str, ...]]:
    """Hide `paths` while the block runs; yields the words to put before a command (empty when they were renamed).

    `mask`: None takes bwrap when it works. Raises InputError if `scratch` lies inside one of them.
    """
    wanted = [path.resolve() for path in paths]
    for path in wanted:
        if scratch.resolve().is_relative_to(path):
            raise InputError(
                f"the scratch folder {scratch} lies inside {path}, which the proof hides",
                remedy="give a scratch folder outside the build tree",
            )
        restore_hidden(path)
    if mask if mask is not None else can_mask():
        yield _mask_words([path for path in wanted if path.exists()], scratch.resolve())
        return
    renamed: list[Path] = []
    try:
        for path in wanted:
            if path.exists():
                renamed.append(path)
                path.rename(_hidden_name(path))
        yield ()
    finally:
        for path in renamed:
            restore_hidden(path)


def restore_hidden(path: Path) -> bool:
    """Give `path` its name back if a proof that was killed left it hidden; whether it had to.

    Raises InputError if something new has taken its place meanwhile: nothing is overwritten.
    """
    other = _hidden_name(path)
    if not other.exists():
        return False
    if path.exists():
        raise InputError(
            f"was hidden as {other.name} by a proof that was killed, and has been made anew since",
            where=str(path),
            remedy=f"delete one of the two, {other} or {path}, and start again",
        )
    other.rename(path)
    return True


def host_pythons() -> list[Path]:
    """Every Python of this machine that is easily met: the running one, its base and those on the usual PATH."""
    found: set[Path] = set()
    for prefix in {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}:
        if prefix not in _SYSTEM_PREFIXES:
            found.add(prefix)
        else:
            folders = (Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib"))
            found |= {folder for folder in folders if folder.is_dir()}
    for folder in ("/usr/bin", "/usr/local/bin"):
        found |= {path.resolve() for path in Path(folder).glob("python*") if path.exists()}
    return sorted(found)


def _mask_words(paths: Sequence[Path], scratch: Path) -> tuple[str, ...]:
    """Later words lie over earlier ones: `scratch` stays visible in a masked Python, `paths` are hidden also in it."""
    words = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--dev-bind", "/", "/"]
    words += [word for path in host_pythons() for word in _mask(path)]
    words += ["--bind", str(scratch), str(scratch)]
    words += [word for path in paths for word in _mask(path)]
    # bwrap ends with 1 when it cannot start a program; a shell says 126 or 127, which is what a person would see.
    return (*words, "--", "/bin/sh", "-c", 'exec "$@"', "sh")


def _mask(path: Path) -> tuple[str, ...]:
    return ("--tmpfs", str(path)) if path.is_dir() else ("--ro-bind", "/dev/null", str(path))


def _hidden_name(path: Path) -> Path:
    return path.with_name(f".{path.name}{HIDDEN_SUFFIX}")
