"""A small real bundle (the running CPython made portable, the real helpers, a tiny app), and copies of it to break."""

from __future__ import annotations

import compileall
import importlib.metadata
import io
import py_compile
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from packager import helpers, runtimes, targets
from packager.archive.admission import Limits as UnpackLimits
from packager.archive.reading import ArchiveReader
from packager.bundle import BundleTree
from packager.console import Console
from packager.filesystem import tree_digest, write_json
from packager.proof.limits import Limits
from packager.proof.probing import take_baseline
from packager.proof.prove import Prover
from packager.proof.site import Site

sys.path.insert(0, str(Path(__file__).parent))

from proof_bundles import LIMITS, Original, copy_bundle, write_script

EXAMPLES = Path(__file__).parent / "bundle_parts"


@pytest.fixture(scope="session")
def console() -> Console:
    return Console(quiet=True, stream=io.StringIO())


@pytest.fixture
def reader(console: Console) -> ArchiveReader:
    return ArchiveReader(console=console, limits=UnpackLimits(windows_names=False))


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, console: Console) -> Original:
    runtime, target = runtimes.get("host"), targets.current()
    facts = runtime.inspect(runtimes.RuntimeRequest(python=None, target=target))
    root = tmp_path_factory.mktemp("original") / "bundle"
    tree = BundleTree(root=root, target=target, python_version=facts.python_version)
    root.mkdir()
    runtime.provision(tree, facts, console=console)
    _drop_what_no_test_needs(tree)
    description = {
        "format": 1, "name": "sample", "version": "1.0", "target": target.name, "root": "bundle",
        "python_version": facts.python_version, "app": "ComfyUI", "env": {}, "glibc_floor": facts.glibc_floor,
        "launch": {"args": []}, "created_from": {"recipe_digest": "0", "lock_digest": "0"},
    }  # fmt: skip
    helpers.install_helpers(tree, description)
    write_json(tree.portable / "bundle.json", description)
    (tree.portable / "lock.txt").write_text("sound==1.0\n")
    shutil.copytree(EXAMPLES / "app", tree.app)
    shutil.copytree(EXAMPLES / "site-packages", tree.site_packages, dirs_exist_ok=True)
    extension = next(tree.stdlib.glob("lib-dynload/_queue.*"))
    shutil.copy(extension, tree.site_packages / "needy" / extension.name)
    write_script(tree.scripts / "sound", "import sys, sound\nsys.exit(sound.main())\n")
    _take_pip(tree)
    compileall.compile_dir(
        tree.site_packages / "pip",
        quiet=1,
        stripdir=str(root),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    digest, work = tree_digest(root), root.parent / "work"
    baseline = take_baseline(tree, work=work, console=console, limits=LIMITS)
    return Original(tree=tree, digest=digest, work=work, baseline=baseline)


def _take_pip(tree: BundleTree) -> None:
    """The pip of the Python that runs the tests: no network needed."""
    for entry in importlib.metadata.distribution("pip").files or ():
        source = Path(str(entry.locate()))
        if ".." not in entry.parts and source.suffix != ".pyc":
            destination = tree.site_packages / entry
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, destination)


def _drop_what_no_test_needs(tree: BundleTree) -> None:
    """Unpacking and scanning 90 MB for every test would take minutes."""
    shutil.rmtree(tree.prefix / "include", ignore_errors=True)
    for name in ("test", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtledemo", "pydoc_data", "unittest"):
        shutil.rmtree(tree.stdlib / name, ignore_errors=True)
    for folder in tree.stdlib.glob("config-*"):
        shutil.rmtree(folder)


@pytest.fixture
def tree(original: Original, tmp_path: Path) -> BundleTree:
    """A copy of the sound bundle to break."""
    return copy_bundle(original, tmp_path / "unpacked \u00e9 here")


@pytest.fixture
def open_site(original: Original, tmp_path: Path, console: Console) -> Callable[..., Site]:
    """A bundle as the checks see it, nothing hidden. Keyword arguments change the limits."""

    def open_it(tree: BundleTree, **limits: float) -> Site:
        bounds = Limits(**{**vars(LIMITS), **limits})
        return Prover(console=console, limits=bounds).open(
            tree.root, starter=(), scratch=tmp_path / "scratch", baseline=original.baseline
        )

    return open_it
