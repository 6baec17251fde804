"""Which shared libraries an ELF file loads, found where the dynamic loader would find them.

Source of the order and of the tokens: ld.so(8). The variants for newer processors (glibc-hwcaps) are passed over, since
the bundle must run on older ones.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packager.binaries.elf import ElfFacts, is_elf, read_elf
from packager.binaries.system_libraries import system_libraries
from packager.process import run

_CACHE_LINE = re.compile(r"^\s+(?P<name>\S+) \((?P<flags>[^)]*)\) => (?P<path>/.*)$")
_TRUSTED = ("lib64", "usr/lib64", "lib", "usr/lib")  # the folders the loader knows without being told


@dataclass(frozen=True, kw_only=True)
class Loader:
    """Where the dynamic loader looks: `library_path` is LD_LIBRARY_PATH, `cache` is ld.so.cache (soname to files)."""

    library_path: tuple[Path, ...]
    cache: Mapping[str, tuple[Path, ...]]
    trusted: tuple[Path, ...] = tuple(Path("/") / folder for folder in _TRUSTED)

    def find(self, needed: str, chain: Sequence[Loaded]) -> Path | None:
        """The file that `needed` is loaded from, with links resolved; None if there is none for this machine.

        `needed` is a soname, or a path, which the loader takes as it is. `chain` goes from the file that needs it up to
        the executable.
        """
        needs = chain[0].facts
        return next((found.resolve() for found in self._candidates(needed, chain) if fits(found, needs)), None)

    def _candidates(self, needed: str, chain: Sequence[Loaded]) -> Iterator[Path]:
        if "/" in needed:
            yield from chain[0].expand((needed,))
            return
        yield from (folder / needed for folder in self._folders(chain))
        yield from self.cache.get(needed, ())
        yield from (folder / needed for folder in self.trusted)

    def _folders(self, chain: Sequence[Loaded]) -> Iterator[Path]:
        if not chain[0].facts.runpath:
            for loaded in chain:
                if not loaded.facts.runpath:
                    yield from loaded.expand(loaded.facts.rpath)
        yield from self.library_path
        yield from chain[0].expand(chain[0].facts.runpath)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """An ELF file in the place it is loaded from."""

    path: Path
    facts: ElfFacts

    def expand(self, folders: Sequence[str]) -> Iterator[Path]:
        """`folders` with $ORIGIN and $LIB replaced; those with other tokens, or relative ones, are left out."""
        for folder in folders:
            text = re.sub(r"\$(ORIGIN\b|\{ORIGIN\})", lambda _: str(self.path.parent), folder)
            names = ("lib64", "lib", f"lib/{self.facts.machine}-linux-gnu")
            variants = (re.sub(r"\$(LIB\b|\{LIB\})", name, text) for name in names)
            yield from (Path(text) for text in dict.fromkeys(variants) if text.startswith("/") and "$" not in text)


@dataclass(frozen=True, kw_only=True)
class Closure:
    """Everything a file loads, itself not counted.

    `libraries` maps the sonames that a bundle must bring to their files, `missing` those it cannot bring to a reason.
    """

    libraries: dict[str, Path] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def machine_loader(environ: Mapping[str, str]) -> Loader:
    """The loader of this machine, started with the environment `environ`."""
    listing = run(["ldconfig", "-p"], env={"PATH": "/usr/sbin:/sbin:" + os.defpath, "LC_ALL": "C"}).stdout
    own = tuple(Path(folder) for folder in environ.get("LD_LIBRARY_PATH", "").split(":") if folder.startswith("/"))
    return Loader(library_path=own, cache=parse_cache(listing))


def parse_cache(listing: str) -> dict[str, tuple[Path, ...]]:
    """What `ldconfig -p` prints, as soname to files in the order of preference, without the hwcaps variants."""
    cache: dict[str, tuple[Path, ...]] = {}
    for line in listing.splitlines():
        found = _CACHE_LINE.match(line)
        if found and "hwcap" not in found["flags"]:
            cache[found["name"]] = (*cache.get(found["name"], ()), Path(found["path"]))
    return cache


def closure(
    path: Path, loader: Loader, *, within: Sequence[Loaded] = (), already: Mapping[str, Path] | None = None
) -> Closure:
    """What the ELF file at `path` loads.

    `within` are the files it is loaded by, the executable last. `already` are the libraries in the process by then: the
    loader takes those for the same soname and looks no further.
    """
    result = Closure()
    _follow((Loaded(path=path, facts=elf_facts(path)), *within), loader, result, already or {})
    return result


def _follow(chain: tuple[Loaded, ...], loader: Loader, result: Closure, already: Mapping[str, Path]) -> None:
    system = system_libraries()
    for needed in chain[0].facts.needed:
        soname = file_name(needed)
        if soname in system.always_present or soname in result.libraries or soname in result.missing:
            continue
        if soname in system.never_bundled:
            result.missing[soname] = system.never_bundled[soname]
            continue
        if soname in already:
            result.libraries[soname] = already[soname]
            continue
        found = loader.find(needed, chain)
        if found is None:
            result.missing[soname] = "it is not found on this machine"
            continue
        result.libraries[soname] = found
        _follow((Loaded(path=found, facts=elf_facts(found)), *chain), loader, result, already)


def file_name(needed: str) -> str:
    """The soname in what a file says it needs, which may be a path."""
    return needed.rpartition("/")[2]


def fits(path: Path, needs: ElfFacts) -> bool:
    """Whether `path` is an ELF file that a process of `needs`' machine and word size can load."""
    if not is_elf(path):
        return False
    facts = elf_facts(path)
    return (facts.machine, facts.bits) == (needs.machine, needs.bits)


@functools.lru_cache(maxsize=2048)
def elf_facts(path: Path) -> ElfFacts:
    return read_elf(path)
