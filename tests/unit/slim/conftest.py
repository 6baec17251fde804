"""A Linux bundle with real extension modules of the running Python, which still have their symbols."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from slim_bundles import MODULES, record_row

from packager import targets
from packager.bundle import BundleTree
from packager.slim.image import read_image


def extension(name: str) -> Path:
    """The file of an extension module with symbols; the test is skipped where Python's maker stripped it."""
    folder = Path(os.__file__).parent / "lib-dynload"
    found = next(iter(folder.glob(f"{name}.*.so")), None)
    if not sys.platform.startswith("linux") or found is None or not read_image(found).has_symbols:
        pytest.skip(f"this Python has no {name} with symbols")
    return found


@pytest.fixture
def bundle(tmp_path: Path) -> BundleTree:
    """site-packages holds the distribution `fast`, made of four extension modules, and its RECORD."""
    tree = BundleTree(root=tmp_path / "bundle", target=targets.get("linux-x86_64"), python_version="3.11.7")
    package = tree.site_packages / "fast"
    package.mkdir(parents=True)
    rows = []
    for name in MODULES:
        source = extension(name)
        shutil.copy2(source, package / source.name)
        rows.append(record_row(f"fast/{source.name}", source.read_bytes()))
    information = tree.site_packages / "fast-1.0.dist-info"
    information.mkdir()
    (information / "RECORD").write_text("".join(rows) + "fast-1.0.dist-info/RECORD,,\n")
    return tree
