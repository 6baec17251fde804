"""The static gate: what stays may ask by name for what goes. Such files leave the plan before anything moves.

A pure function of tree and plan. A file that holds no word of what goes need not be parsed, which makes it quick; what
was read in a distribution is remembered by its identity and these words.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from packager.cleanup.layout import Scope
from packager.cleanup.oracle.gone import Finding, Gone
from packager.cleanup.oracle.memory import Memory
from packager.cleanup.oracle.references import STUB_WORD, Reference, references, stub_references, words_of
from packager.cleanup.oracle.resolver import Resolver
from packager.cleanup.oracle.subject import APP, Ownership, Subject
from packager.console import Advance, Console
from packager.filesystem import sha256_file

_MAX_BYTES = 8 * 1024 * 1024  # larger files are data in the form of Python
_PYTEST_FILE = "conftest.py"  # pytest alone loads it: what only tests need may go with them
_FEW = 300  # files that are not worth further processes
_CHUNK = 100
_NAMES = re.compile(rb"[(]?[\w., ]+[)]?\s*(#.*)?|.*\bimport\b.*")  # as within the brackets of an import
_Found = dict[str, list[Reference]]


def static_gate(subject: Subject, gone: Gone, ownership: Ownership, memory: Memory, console: Console) -> list[Finding]:
    """What has to stay because what stays names it, with what it names in turn; sorted by path."""
    vocabulary = _vocabulary(subject, gone)
    if not vocabulary:
        return []
    resolver = Resolver(subject, gone)
    python = (path for path in ownership.files if path.endswith(".py") and path.rpartition("/")[2] != _PYTEST_FILE)
    staying = [path for path in python if gone.removal(path) is None and not _is_stdlib(path, subject)]
    found = _scan_distributions(subject, ownership, staying, vocabulary, memory, console)
    findings: dict[str, Finding] = {}
    while found:
        fresh: list[str] = []
        for file, references_ in sorted(found.items()):
            for reference in references_:
                for path in resolver.paths(file, reference):
                    if path not in findings:
                        findings[path] = _finding(file, reference, path, gone)
                        fresh.append(path)
        held = [path for place in fresh for path in _python_below(subject.root, place)]
        found = _scan(subject.root, held, None)  # what lies beside it goes, whatever it is called
    return [findings[path] for path in sorted(findings)]


def _is_stdlib(path: str, subject: Subject) -> bool:
    """What Python's own modules ask of each other does not change with what is installed: the rules for it were made by
    reading it (multiprocessing imports `test.support` for its own tests, distutils lib2to3 for Python 2)."""
    below = tuple(f"{folder}/" for folder in subject.folders("stdlib"))
    packages = tuple(f"{folder}/" for folder in subject.folders("site-packages"))
    return path.startswith(below) and not path.startswith(packages)


def _finding(file: str, reference: Reference, path: str, gone: Gone) -> Finding:
    removal = gone.removal(path)
    verb = "imports" if reference.kind == "module" else "reads"
    target = reference.target.strip("/") if reference.kind == "path" else reference.target.lstrip("/").replace("/", ".")
    target = re.sub(r"^.*site-packages[./]", "", target)
    evidence = f"{file.rpartition('site-packages/')[2]}:{reference.line} {verb} {target}"
    return Finding(
        path=path, rule=removal.rule if removal else "", how="static", probe="static gate", evidence=evidence
    )


def _vocabulary(subject: Subject, gone: Gone) -> frozenset[bytes]:
    """For each removal the longest word of its name, which a file must hold to mean it; programs and manuals of the
    prefix are not asked for by Python code's own place."""
    scopes: tuple[Scope, ...] = ("site-packages", "stdlib", "app")
    places = tuple(f"{folder}/" if folder else "" for scope in scopes for folder in subject.folders(scope))
    names = (removal.path.rpartition("/")[2] for removal in gone.lasting() if removal.path.startswith(places))
    words = (max(re.findall(r"\w+", name) or [""], key=len) for name in names)
    return frozenset(word.encode("utf-8", "surrogateescape") for word in words if word)


def _scan_distributions(
    subject: Subject,
    ownership: Ownership,
    files: Iterable[str],
    vocabulary: frozenset[bytes],
    memory: Memory,
    console: Console,
) -> _Found:
    """The references of `files`, those of a known distribution from memory."""
    by_owner: dict[str, list[str]] = {}
    for path in files:
        by_owner.setdefault(ownership.owner(path), []).append(path)
    words = sorted(word.decode("utf-8", "surrogateescape") for word in vocabulary)
    program = _program()
    found: _Found = {}
    asked: dict[str, list[str]] = {}
    keys: dict[str, list[object]] = {}
    for owner, paths in by_owner.items():
        keys[owner] = ["gate", program, owner, ownership.identities[owner], words, paths]
        known = memory.recall(*keys[owner])
        if known is None:
            asked[owner] = paths
        else:
            found |= {path: [Reference(*fields) for fields in listed] for path, listed in known.items()}
    waiting = [path for paths in asked.values() for path in paths]
    if not waiting:
        return found
    with console.bar("reading what stays", len(waiting), unit="files") as advance:
        told = _scan(subject.root, waiting, vocabulary, advance)
    for owner, paths in asked.items():
        if owner != APP:
            listed = {path: [[r.kind, r.target, r.line] for r in told[path]] for path in paths if path in told}
            memory.remember(listed, *keys[owner])
    return found | told


def _scan(
    root: Path, files: Sequence[str], vocabulary: frozenset[bytes] | None, advance: Advance = lambda _: None
) -> _Found:
    if len(files) <= _FEW:
        advance(len(files))
        return _scan_here(root, files, vocabulary)
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    found: _Found = {}
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        scanned = pool.map(_scan_here, [root] * len(chunks), chunks, [vocabulary] * len(chunks))
        for chunk, told in zip(chunks, scanned, strict=True):
            advance(len(chunk))
            found |= told
    return found


def _scan_here(root: Path, files: Iterable[str], vocabulary: frozenset[bytes] | None) -> _Found:
    """The references of each file that name a word of `vocabulary` (None: all), files without one left out."""
    found: _Found = {}
    for file in files:
        content = _content(root / file)
        words = words_of(content)
        stub = STUB_WORD.encode() in words
        if not stub and vocabulary is not None:
            named_here = vocabulary & words
            if not named_here or not _may_ask(content, named_here):
                continue
        told = references(file, content)
        if stub:
            told += stub_references(file, _content((root / file).with_suffix(".pyi")))
        if vocabulary is None:
            named = told
        else:
            named = [
                one for one in told if one.target.endswith(".pyi") or not vocabulary.isdisjoint(_words(one.target))
            ]
        if named:
            found[file] = named
    return found


def _may_ask(content: bytes, words: frozenset[bytes]) -> bool:
    """Whether one of `words` stands in an import, in a list of names or beside a quote: prose asks for nothing."""
    for line in content.split(b"\n"):
        if any(word in line for word in words):
            bare = line.strip()
            if bare.startswith((b"import ", b"from ")) or b"'" in bare or b'"' in bare or _NAMES.fullmatch(bare):
                return True
    return False


def _words(target: str) -> set[bytes]:
    return words_of(target.encode("utf-8", "surrogateescape"))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes() if path.is_file() and path.stat().st_size <= _MAX_BYTES else b""
    except OSError:
        return b""


def _python_below(root: Path, path: str) -> Iterator[str]:
    """`path` if it is a Python file, those below it if it is a folder."""
    place = root / path
    if place.is_dir() and not place.is_symlink():
        yield from (found.relative_to(root).as_posix() for found in sorted(place.rglob("*.py")))
    elif path.endswith(".py"):
        yield path


def _program() -> Mapping[str, str]:
    """What is remembered was found out by these modules and this Python's parser; other ones may find more."""
    here = Path(__file__).parent
    modules = {name: sha256_file(here / name) for name in ("gate.py", "references.py", "path_values.py")}
    return {**modules, "parser": sys.version}
