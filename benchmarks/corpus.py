"""The requirement files of many real nodes through the sanitiser: what is kept, what is left out and why.

    python benchmarks/corpus.py REPOSITORY... [--show]

REPOSITORY is a local copy, bare or not, or a plain folder. Only files that may state requirements are read of it. With
--show each line that is left out is printed with its node, file and line.
"""

from __future__ import annotations

import argparse
import collections
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

from packager.resolution.declared import declared_requirements
from packager.resolution.requirements import Requirements

_STATES = re.compile(r"(^|/)([^/]*\.txt|pyproject\.toml|setup\.(cfg|py))$")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repositories", nargs="+", type=Path, metavar="REPOSITORY", help="a local copy of a node")
    parser.add_argument("--show", action="store_true", help="print each line that is left out")
    words = parser.parse_args()
    found = {}
    for path in words.repositories:
        with tempfile.TemporaryDirectory(prefix="corpus-") as folder:
            name = path.parent.name if path.name in ("repo", ".git") else path.name
            found[name] = declared_requirements(files_of(path, Path(folder)))
    show(found, lines=words.show)
    return 0


def files_of(repository: Path, folder: Path) -> Path:
    """`folder` with the files at HEAD of which one may state requirements; a plain folder as it is."""
    if not (repository / "HEAD").is_file() and not (repository / ".git").exists():
        return repository
    git = ["git", "-C", str(repository)]
    listed = subprocess.run(
        [*git, "ls-tree", "-r", "-z", "--name-only", "HEAD"], check=True, capture_output=True
    ).stdout
    for name in listed.decode("utf-8", "replace").split("\0"):
        if not _STATES.search(name):
            continue
        content = subprocess.run([*git, "show", f"HEAD:{name}"], check=False, capture_output=True)
        if content.returncode == 0:  # a copy may lack its largest files
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content.stdout)
    return folder


def show(found: dict[str, Requirements], *, lines: bool) -> None:
    kept = [Requirement(line.requirement) for one in found.values() for line in one.kept]
    removed = [(name, line) for name, one in found.items() for line in one.removed]
    silent = sum(not one.kept and not one.removed for one in found.values())
    print(
        f"{len(found)} repositories, {silent} of them ask for nothing; {len(kept)} lines kept, {len(removed)} left out"
    )
    pinned = sum(any(part.operator == "==" for part in line.specifier) for line in kept)
    addresses = sum(line.url is not None for line in kept)
    markers = sum(line.marker is not None for line in kept)
    print(f"kept: {pinned} name one version, {addresses} an address, {markers} have a marker")
    print("\n| left out because | lines | repositories |\n|---|---:|---:|")
    reasons = collections.Counter(reason(line.reason) for _, line in removed)
    for text, count in reasons.most_common():
        nodes = {name for name, line in removed if reason(line.reason) == text}
        print(f"| {text} | {count} | {len(nodes)} |")
    for name, line in removed if lines else ():
        print(f"{name}/{line.file}:{line.line}: '{line.text}': {line.reason}")


def reason(text: str) -> str:
    """The kind of it, without what is particular to one line."""
    return re.sub(r"'[^']*'|\([^)]*\)|: .*", "...", text)


if __name__ == "__main__":
    sys.exit(main())
