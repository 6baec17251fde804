"""The packages of a lock in a folder: files of indexes, files from addresses, repositories, what building takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from packager import targets
from packager.console import Console
from packager.fetch.collect import collect
from packager.fetch.download import DownloadRequest, download_all
from packager.fetch.sources import SourceRequest, pin, place
from packager.filesystem import remove_tree, walk_files
from packager.gathering.build_needs import dynamic_requires, read_build_system, unpack
from packager.gathering.wheel_files import Asking, IndexFile, locked_files, requirement_files
from packager.lock import Lock, LockedPackage
from packager.pins import address, commit, fetch_files, is_git, subdirectory

WHEELS, ADDRESSES, REPOSITORIES = "wheels", "addresses", "repositories"
Attempt = Callable[[Callable[[], None]], None]


@dataclass(frozen=True, kw_only=True)
class GatherPackages:
    """`folder` is the one to fill; `attempt` runs a step and keeps its FetchError for the end, so that what comes next
    is tried too. `mirrors` gets what the addresses stand for, relative to `folder`."""

    lock: Lock
    folder: Path
    asking: Asking
    attempt: Attempt
    mirrors: dict[str, str]
    console: Console

    def run(self) -> set[Path]:
        """Fetch it all; returns the files, repositories not counted."""
        self.console.step("packages")
        added = [package for addition in self.lock.additions for package in addition.packages]
        unbuilt = {canonicalize_name(addition.name) for addition in self.lock.additions if addition.source}
        packages = [*self.lock.packages, *added]
        wanted: set[Path] = set()
        sources: list[tuple[str, Callable[[], Path]]] = []

        def from_indexes() -> None:
            files = locked_files(packages, self.asking, from_source=unbuilt)
            wanted.update(self._fetch(files))
            for file in files:
                if not file.is_wheel:
                    sources.append((file.package, self._unpacking(self._wheels / file.name)))

        def from_addresses() -> None:
            here = self.folder / ADDRESSES
            direct = [package for package in packages if package.url and not is_git(package)]
            fetched = fetch_files(direct, here, origins=self.asking.origins, console=self.console, thorough=True)
            for package in direct:
                path = fetched[address(package)].path
                wanted.add(path)
                self.mirrors[address(package)] = path.relative_to(self.folder).as_posix()
                if path.suffix != ".whl":
                    sources.append((package.name, self._unpacking(path, subdirectory(package))))

        self.attempt(from_indexes)
        self.attempt(from_addresses)
        for package in packages:
            if is_git(package):
                self.attempt(lambda package=package: sources.append(self._repository(package)))  # type: ignore[misc]
        for name, source in sources:
            if name not in unbuilt:  # those are built with what is installed
                self.attempt(lambda name=name, source=source: wanted.update(self._build_needs(name, source())))  # type: ignore[misc]
        remove_tree(self._scratch)
        return wanted

    def drop_others(self, wanted: set[Path]) -> None:
        """Remove what lies there from another lock."""
        for folder in (self._wheels, self.folder / ADDRESSES):
            for path in walk_files(folder) if folder.is_dir() else ():
                if path not in wanted:
                    path.unlink()

    @property
    def _wheels(self) -> Path:
        return self.folder / WHEELS

    def _fetch(self, files: Sequence[IndexFile]) -> list[Path]:
        self._wheels.mkdir(parents=True, exist_ok=True)
        if not files:
            return []
        places = [self._wheels / file.name for file in files]
        requests = [DownloadRequest(url=file.url, sha256=file.sha256, size=file.size) for file in files]
        origins = self.asking.origins
        download_all(
            list(zip(requests, places, strict=True)),
            cache=origins.cache,
            mirrors=origins.mirrors,
            console=self.console,
            offline=origins.offline,
            thorough=True,
        )
        return places

    def _unpacking(self, archive: Path, inside: str = "") -> Callable[[], Path]:
        return lambda: unpack(archive, self._scratch / "source") / inside

    def _repository(self, package: LockedPackage) -> tuple[str, Callable[[], Path]]:
        """Collect the repository a package is built from; returns how to have its files."""
        origins = self.asking.origins
        means = {"cache": origins.cache, "mirrors": origins.mirrors, "console": self.console}
        request = SourceRequest(name=f"package-{package.name}", url=address(package), commit=commit(package))
        found = pin(request, **means, offline=origins.offline)  # type: ignore[arg-type]
        for item in collect(found, self.folder / REPOSITORIES, **means, offline=origins.offline):  # type: ignore[arg-type]
            self.mirrors[item.url] = item.path.relative_to(self.folder).as_posix()

        def checkout() -> Path:
            place(found, self._scratch / "source", **means, offline=origins.offline, replace=True)  # type: ignore[arg-type]
            return self._scratch / "source" / subdirectory(package)

        return package.name, checkout

    def _build_needs(self, name: str, source: Path) -> list[Path]:
        """Fetch what building `source` takes; returns the files."""
        system = read_build_system(source, name=name)
        paths = self._fetch(requirement_files(system.requires, self.asking))
        if self.asking.target.name != targets.current().name:
            self.console.warn(f"{name}: only a {self.asking.target.name} machine can tell all that building it takes")
            return paths
        more = dynamic_requires(source, system, scratch=self._scratch / "python", wheels=self._wheels, name=name)
        if more:
            self.console.detail(f"{name}: its build backend wants {', '.join(more)} as well")
            paths += self._fetch(requirement_files(more, self.asking))
        return paths

    @property
    def _scratch(self) -> Path:
        return self.asking.folder.parent / "building"
