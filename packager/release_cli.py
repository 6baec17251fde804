"""The words of the commands around a release."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packager import release_commands, targets
from packager.accelerators import accelerators
from packager.releases.versions import PARTS

Add = Callable[[str, Callable[..., Any], str], ArgumentParser]


def add_release_commands(add: Add, add_means: Callable[[ArgumentParser], None]) -> None:
    """`add` makes a command; `add_means` gives it the recipe and where things come from."""
    added = add("matrix", release_commands.matrix, "list the bundles of a release and the machine that builds each")
    added.add_argument("recipe", metavar="RECIPE", help="a file, or the name of one in recipes/")
    added.add_argument("--version", dest="bundle_version", metavar="V", help="in place of the recipe's")
    _add_rows(added)
    added = add("release", release_commands.release, "build this machine's bundles of a release, with notes and sums")
    add_means(added)
    _add_rows(added)
    added.add_argument("-o", "--output", type=Path, default=Path("release"), metavar="DIR", help="default: release")
    added.add_argument("--work", type=Path, metavar="DIR", help="folder for work in progress (default: build)")
    added.add_argument(
        "--from", dest="gather", type=Path, metavar="DIR", help="build nothing: take what was built from below DIR"
    )
    added.add_argument("--previous", type=Path, metavar="DIR", help="files of the last release, to tell what changed")
    added.add_argument("--tag", metavar="TAG", help="stop unless this is the tag of the version, such as v1.4.0")
    added.add_argument("--tier", choices=("none", "safe", "aggressive"), help="how far the clean-up goes")
    added.add_argument("--version", dest="bundle_version", metavar="V", help="in place of the recipe's")
    added.add_argument("--max-part-size", metavar="SIZE", help="a zip over it comes in parts (default: under 2 GiB)")
    added.add_argument(
        "--no-prove", action="store_true", help="build without proof: such a release is refused at the end"
    )
    added = add("version", release_commands.version, "show the version in version.yml, or change it")
    either = added.add_mutually_exclusive_group()
    either.add_argument("--bump", choices=PARTS, help="raise this number by one")
    either.add_argument("--set", metavar="V", help="write this version")
    added.add_argument("--check", metavar="TAG", help="stop unless TAG is the tag of this version")
    added = add("release-notes", release_commands.notes, "tell what changed from one lock to another, as Markdown")
    added.add_argument("old", type=Path, metavar="OLD.lock.json")
    added.add_argument("new", type=Path, metavar="NEW.lock.json")
    added = add("diff", release_commands.diff, "compare two bundles: files, packages, nodes, bytes")
    added.add_argument("old", type=Path, metavar="OLD", help="a zip, part 1 of one, a folder, or a manifest")
    added.add_argument("new", type=Path, metavar="NEW")


def add_cache(add: Add) -> None:
    added = add("cache", release_commands.cache, "show or clear the download cache, or name the caches of a runner")
    added.add_argument("action", choices=("path", "info", "clear", "key"), help="what to do; `key` needs RECIPE")
    added.add_argument("recipe", metavar="RECIPE", nargs="?", help="for `key`: a file, or the name of one in recipes/")
    _add_rows(added)


def _add_rows(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--target",
        dest="targets",
        action="append",
        default=[],
        metavar="T",
        choices=sorted(targets.TARGETS),
        help="only this one of %(choices)s; may be repeated",
    )
    parser.add_argument(
        "--accelerator",
        dest="accelerators",
        action="append",
        default=[],
        metavar="A",
        choices=sorted(accelerators()),
        help="only this one of %(choices)s; may be repeated",
    )
