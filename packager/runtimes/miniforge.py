"""Runtime `miniforge`: a conda environment, made by a Miniforge installation in the cache and packed by conda-pack."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import certifi

from packager import targets
from packager.binaries.elf import glibc_floor
from packager.bundle import BundleTree
from packager.console import Console
from packager.errors import InputError, PackagerError
from packager.fetch.cache import Cache, default_cache_root
from packager.filesystem import remove_tree, walk_files
from packager.journal import digest
from packager.process import CommandError, run
from packager.runtimes.copy_plan import CERTIFICATES
from packager.runtimes.environments import Wish, obtain
from packager.runtimes.foreign import python_version, solve
from packager.runtimes.installation import Tools, tool_folder
from packager.runtimes.packing import pack
from packager.runtimes.protocol import RuntimeFacts, RuntimeRequest, check_version, locked_identity

_PROBE = "import json, platform, ssl, sys, zlib; print(json.dumps([platform.python_version(), sys.prefix]))"


@dataclass(frozen=True, kw_only=True)
class MiniforgeRuntime:
    """Needs a machine of the target's own kind, but for a lock: conda runs programs of the packages it installs."""

    name: ClassVar[str] = "miniforge"

    def inspect(self, request: RuntimeRequest) -> RuntimeFacts:
        """See Runtime. Solves and makes the environment in the cache, if it isn't there: a solution is known no sooner.

        Raises FetchError and CommandError if that fails.
        """
        here = targets.current()
        if request.target.name != here.name:
            raise InputError(
                f"the target is {request.target.name}, and this machine is {here.name}",
                where="runtime",
                remedy=f"`packager lock` works from here; build from that lock on a {request.target.name} machine",
            )
        environment = obtain(_wish(request), _tools(request), renew=request.renew)
        check_version(request.python, environment.python_version)
        return RuntimeFacts(
            python_version=environment.python_version,
            build_paths=(str(environment.prefix),),
            glibc_floor=None,
            identity={
                "name": self.name,
                "python": environment.python_version,
                "target": request.target.name,
                "explicit": environment.explicit,
                "content": digest(environment.explicit),
            },
            certificates=CERTIFICATES,
        )

    def identify(self, request: RuntimeRequest) -> dict[str, str]:
        """See Runtime. Of a lock's list at once, else as long as `inspect` takes: a solution is known no sooner.

        The packages for another target are solved here and not fetched.
        """
        explicit = request.explicit
        if explicit is None and request.target.name == targets.current().name:
            return locked_identity(self.inspect(request))
        if explicit is None:
            explicit = solve(_wish(request), _tools(request), renew=request.renew)
        version = python_version(explicit)
        check_version(request.python, version)
        return {"name": self.name, "python": version, "explicit": explicit}

    def provision(self, tree: BundleTree, facts: RuntimeFacts, *, console: Console) -> RuntimeFacts:
        """See Runtime. Raises PackagerError for an environment that cannot be packed as it is (see packing.pack)."""
        prefix = tree.prefix
        if prefix.exists() and any(prefix.iterdir()):
            raise InputError("is not empty", where=str(prefix), remedy="remove it, or give another folder")
        partial = prefix.with_name(f"{prefix.name}.partial")
        remove_tree(partial)
        console.info(f"packing {len(facts.identity['explicit'].splitlines()) - 1} conda packages")
        prefixes = pack(Path(facts.build_paths[0]), partial, known_as=prefix)
        certificates = partial / CERTIFICATES
        if not certificates.exists():
            certificates.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(certifi.where(), certificates)
        _verify(partial, tree, facts.python_version)
        if prefix.exists():
            prefix.rmdir()
        partial.rename(prefix)
        floor = glibc_floor(walk_files(prefix)) if tree.target.os == "linux" else None
        return dataclasses.replace(facts, glibc_floor=floor, prefixes=prefixes)


def _wish(request: RuntimeRequest) -> Wish:
    return Wish(
        python=request.python,
        packages=request.conda_packages,
        channels=request.channels,
        target=request.target,
        miniforge_version=request.miniforge_version,
        explicit=request.explicit,
    )


def _tools(request: RuntimeRequest) -> Tools:
    cache = Cache(default_cache_root())
    return Tools(
        folder=tool_folder(cache.root),
        cache=cache,
        mirrors=request.mirrors,
        console=request.console,
        offline=request.offline,
    )


def _verify(prefix: Path, tree: BundleTree, version: str) -> None:
    """Run the packed Python with no environment but its own. Raises PackagerError if it is not the one expected."""
    python = prefix / tree.target.python_executable()
    env = {"PATH": os.pathsep.join(str(prefix / folder) for folder in tree.target.path_folders())}
    if root := os.environ.get("SYSTEMROOT"):  # without it Windows has no random numbers, and Python does not start
        env["SYSTEMROOT"] = root
    try:
        finished = run([python, "-I", "-B", "-c", _PROBE], cwd=prefix, env=env, timeout=300)
        found, where = json.loads(finished.stdout)
    except (CommandError, ValueError) as error:
        raise PackagerError(f"the packed Python does not run: {error}", where=str(python)) from error
    if found != version or Path(where) != prefix:
        raise PackagerError(f"the packed Python is {found} at {where}, not {version}", where=str(prefix))
