"""What is copied from an installed CPython, and why. Pure: nothing is written, the plan can be printed."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packager.binaries.elf import is_elf, newest
from packager.bundle import LICENCES_DIR
from packager.errors import InputError
from packager.runtimes.interpreter import REMEDY, Interpreter
from packager.runtimes.licences import debian_licences
from packager.runtimes.rules import Edit, host_rules
from packager.runtimes.shared_libraries import Closure, Loaded, Loader, closure, elf_facts, file_name
from packager.runtimes.sysconfig_data import relocatable

LIBRARY_FOLDER = PurePosixPath("lib")
CERTIFICATES = PurePosixPath("ssl/cacert.pem")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A file that comes along. `destination` is relative to the prefix, in every class here."""

    source: Path
    destination: PurePosixPath
    reason: str


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symbolic link; `to` is relative to its folder."""

    destination: PurePosixPath
    to: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Write:
    """A file that is generated, or an edited copy."""

    destination: PurePosixPath
    content: bytes
    reason: str


@dataclass(frozen=True, kw_only=True)
class Relink:
    """An ELF file that gets `run_path` as RPATH; `renamed` are (old, new) names of needed libraries."""

    destination: PurePosixPath
    run_path: str
    renamed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Something of the original that stays behind; `notable` if a user could miss it."""

    source: Path
    reason: str
    notable: bool = False


@dataclass(frozen=True, kw_only=True)
class CopyPlan:
    """Everything that happens to the empty prefix, in this order: folders, copies, links, writes, then the ELF files.

    In every ELF file each of `build_paths` is overwritten by a path of equal length that cannot exist. `glibc_floor` is
    that of all ELF files together; `unlicensed` are libraries that come along without their licence text.
    """

    folders: tuple[PurePosixPath, ...]
    copies: tuple[Copy, ...]
    links: tuple[Link, ...]
    writes: tuple[Write, ...]
    relinks: tuple[Relink, ...]
    build_paths: tuple[str, ...]
    glibc_floor: str | None
    left_out: tuple[LeftOut, ...]
    unlicensed: tuple[str, ...]

    def describe(self) -> Iterator[str]:
        """The plan in a few lines: what comes, grouped by reason, and all that stays behind."""
        reasons = [copy.reason for copy in self.copies] + [link.reason for link in self.links]
        for reason, count in Counter(reasons).items():
            yield f"copy {count} files: {reason}"
        for write in self.writes:
            yield f"write {write.destination}: {write.reason}"
        for relink in self.relinks:
            yield f"set RPATH {relink.run_path} in {relink.destination}"
        for original in self.build_paths:
            yield f"overwrite {original} in ELF files"
        for item in self.left_out:
            yield f"leave {item.source}: {item.reason}"


def plan_copy(python: Interpreter, loader: Loader, *, certificates: Path) -> CopyPlan:
    """The plan for `python`; `certificates` is the CA bundle to bring. Raises InputError if a part is missing."""
    binary = PurePosixPath("bin", f"python{python.minor}")
    links = [
        Link(destination=PurePosixPath("bin", name), to=binary.name, reason="python") for name in ("python", "python3")
    ]
    copies = [Copy(source=python.executable, destination=binary, reason="python")]
    left_out: list[LeftOut] = []
    _add_standard_library(python, copies, links, left_out)
    copies.extend(_headers(python, left_out))
    copies.extend(_pip_wheels(python))
    copies.append(Copy(source=certificates, destination=CERTIFICATES, reason="certificates: a minimal system has none"))
    copies, libraries = _with_libraries(copies, loader, left_out)
    links.extend(_development_links(libraries))
    licences, unlicensed = _licences(python, libraries)
    copies.extend(licences)
    writes = tuple(_generated(python, copies))
    replaced = {write.destination for write in writes}
    copies = sorted((copy for copy in copies if copy.destination not in replaced), key=lambda copy: copy.destination)
    binaries = [copy for copy in copies if is_elf(copy.source)]
    stdlib = _stdlib(python)
    return CopyPlan(
        folders=(stdlib / "site-packages", stdlib / "lib-dynload"),
        copies=tuple(copies),
        links=tuple(links),
        writes=writes,
        relinks=tuple(_relinks(binaries)),
        build_paths=python.build_paths,
        glibc_floor=newest(version for copy in binaries if (version := elf_facts(copy.source).glibc)),
        left_out=tuple(left_out),
        unlicensed=unlicensed,
    )


def _stdlib(python: Interpreter) -> PurePosixPath:
    return PurePosixPath("lib", f"python{python.minor}")


def _add_standard_library(python: Interpreter, copies: list[Copy], links: list[Link], left_out: list[LeftOut]) -> None:
    rules = host_rules()
    for folder, folders, names in os.walk(python.stdlib):
        here = PurePosixPath(Path(folder).relative_to(python.stdlib).as_posix())
        for name in sorted(folders):
            if reason := rules.reason_to_leave_out(f"{here / name}/"):
                folders.remove(name)
                if name != "__pycache__":
                    left_out.append(LeftOut(source=Path(folder, name), reason=reason))
            elif Path(folder, name).is_symlink():
                raise InputError(
                    "is a link to a folder, which is not followed", where=str(Path(folder, name)), remedy=REMEDY
                )
        folders.sort()
        for name in sorted(names):
            source = Path(folder, name)
            destination = _stdlib(python) / here / name
            if reason := rules.reason_to_leave_out(str(here / name)):
                left_out.append(LeftOut(source=source, reason=reason))
            elif source.is_symlink() and source.resolve().is_relative_to(python.stdlib.resolve()):
                to = posixpath.relpath(source.resolve(), Path(folder).resolve())
                links.append(Link(destination=destination, to=to, reason="standard library"))
            elif source.is_file():
                copies.append(Copy(source=source, destination=destination, reason="standard library"))
            else:
                left_out.append(LeftOut(source=source, reason="a broken link, or no file"))


def _headers(python: Interpreter, left_out: list[LeftOut]) -> Iterator[Copy]:
    """include/pythonX.Y. Debian's pyconfig.h leads to one per architecture: this machine's takes its place."""
    if not (python.include / "Python.h").is_file():
        reason = "headers are not installed, so C extensions cannot be built in the bundle"
        left_out.append(LeftOut(source=python.include / "Python.h", reason=reason, notable=True))
    folder = f"python{python.minor}"
    split = python.include.parent / str(python.config["MULTIARCH"]) / folder / "pyconfig.h"
    for source in sorted(python.include.rglob("*.h")):
        relative = source.relative_to(python.include)
        own = split if relative == Path("pyconfig.h") and split.is_file() else source
        yield Copy(source=own, destination=PurePosixPath("include", folder, relative.as_posix()), reason="headers")


def _pip_wheels(python: Interpreter) -> Iterator[Copy]:
    """What `python -m venv` installs, where a distribution keeps it outside of the standard library."""
    folder = python.config["WHEEL_PKG_DIR"]
    for source in sorted(Path(folder).glob("*.whl")) if folder else ():
        if source.name.startswith(("pip-", "setuptools-")):
            destination = _stdlib(python) / "ensurepip" / "_bundled" / source.name
            yield Copy(source=source, destination=destination, reason="wheels for `python -m venv`")


def _with_libraries(
    copies: Iterable[Copy], loader: Loader, left_out: list[LeftOut]
) -> tuple[list[Copy], dict[str, Path]]:
    """`copies` without the modules that cannot work elsewhere, plus the shared libraries all others load."""
    kept = list(copies)
    executable = kept[0].source
    own = closure(executable, loader)
    if own.missing:
        raise InputError(f"needs {_because(own)}", where=str(executable), remedy=REMEDY)
    libraries = dict(own.libraries)
    process = (Loaded(path=executable, facts=elf_facts(executable)),)
    for copy in kept[1:]:
        if not is_elf(copy.source):
            continue
        needs = closure(copy.source, loader, within=process, already=own.libraries)
        if needs.missing:
            kept.remove(copy)
            left_out.append(LeftOut(source=copy.source, reason=f"needs {_because(needs)}", notable=True))
        else:
            for soname, path in needs.libraries.items():
                libraries.setdefault(soname, path)
    kept.extend(
        Copy(source=path, destination=LIBRARY_FOLDER / soname, reason="shared libraries a system may lack")
        for soname, path in sorted(libraries.items())
    )
    return kept, libraries


def _because(needs: Closure) -> str:
    reasons: dict[str, list[str]] = {}
    for soname, reason in needs.missing.items():
        reasons.setdefault(reason, []).append(soname)
    return "; ".join(f"{', '.join(sonames)} ({reason})" for reason, sonames in reasons.items())


def _development_links(libraries: Iterable[str]) -> Iterator[Link]:
    """libpythonX.Y.so, the name a linker asks for."""
    for soname in libraries:
        stem, dot, version = soname.partition(".so.")
        if stem.startswith("libpython") and dot and version:
            yield Link(destination=LIBRARY_FOLDER / f"{stem}.so", to=soname, reason="headers")


def _licences(python: Interpreter, libraries: Mapping[str, Path]) -> tuple[list[Copy], tuple[str, ...]]:
    """The licences of libraries that are not the interpreter's own, and the sonames for which none is found."""
    foreign = {
        soname: path
        for soname, path in libraries.items()
        if not path.is_relative_to(python.own_folder) and not soname.startswith("libpython")
    }
    texts = debian_licences(foreign.values())
    copies = [
        Copy(
            source=text,
            destination=PurePosixPath(LICENCES_DIR, text.parent.name, text.name),
            reason="licences of the shared libraries",
        )
        for text in sorted(set(texts.values()))
    ]
    return copies, tuple(soname for soname, path in foreign.items() if path not in texts)


def _generated(python: Interpreter, copies: Iterable[Copy]) -> Iterator[Write]:
    paths = {name: path.format(version=python.minor) for name, path in host_rules().sysconfig_paths.items()}
    stdlib = _stdlib(python)
    sources = {copy.destination: copy.source for copy in copies}
    for destination, source in sources.items():
        if destination.parent == stdlib and destination.name.startswith("_sysconfigdata"):
            text = source.read_text(encoding="utf-8")
            text = relocatable(text, where=str(source), paths=paths, build_paths=python.build_paths)
            yield Write(destination=destination, content=text.encode(), reason="paths are computed when it is imported")
    if "posix_local" in python.schemes:
        for edit in host_rules().debian_edits:
            yield from _edited(edit, stdlib, sources)
        for new in host_rules().debian_additions:
            yield Write(destination=stdlib / new.path, content=new.text.encode(), reason=new.reason)


def _edited(edit: Edit, stdlib: PurePosixPath, sources: Mapping[PurePosixPath, Path]) -> Iterator[Write]:
    destination = next((stdlib / name for name in edit.files if stdlib / name in sources), None)
    if destination is None:
        if edit.optional:
            return
        raise InputError(f"lacks {' and '.join(edit.files)}", where=str(stdlib), remedy=REMEDY)
    source = sources[destination]
    text = edit.apply(source.read_text(encoding="utf-8"), where=str(source))
    yield Write(destination=destination, content=text.encode(), reason=edit.reason)


def _relinks(binaries: Iterable[Copy]) -> Iterator[Relink]:
    """For each ELF file that names a folder or needs a library of the bundle: the way to the bundle's libraries."""
    binaries = list(binaries)
    brought = {copy.destination.name for copy in binaries if copy.destination.parent == LIBRARY_FOLDER}
    for copy in binaries:
        facts = elf_facts(copy.source)
        renamed = tuple((name, file_name(name)) for name in facts.needed if "/" in name)
        if facts.rpath or facts.runpath or renamed or brought.intersection(facts.needed):
            way = posixpath.relpath(LIBRARY_FOLDER, copy.destination.parent)
            run_path = "$ORIGIN" if way == "." else f"$ORIGIN/{way}"
            yield Relink(destination=copy.destination, run_path=run_path, renamed=renamed)
