"""A small bundle with something in it for every scope."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cleanup_trees import write_tree

from packager import targets
from packager.bundle import BundleTree
from packager.cleanup import RuleSet, load_rules

LIB = "python/lib/python3.11"
SITE = f"{LIB}/site-packages"


@pytest.fixture(scope="session")
def rules() -> RuleSet:
    return load_rules()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `packager clean` holds its lock."""
    monkeypatch.setenv("PACKAGER_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def bundle(tmp_path: Path) -> BundleTree:
    """Holds tests, bytecode, history, libraries, licences, empty folders, a hard link and links of its own."""
    root = write_tree(
        tmp_path / "bundle",
        {
            "README.txt": "read me",
            "portable/bundle.json": '{"python_version": "3.11.7", "target": "linux-x86_64"}',
            "portable/tests/state.json": "{}",
            "python/bin/python": "#!/bin/sh\n",
            "python/bin/idle3": "#!/bin/sh\n",
            "python/share/man/man1/python.1": "manual",
            "python/share/doc/xz/COPYING": "licence",
            "python/share/doc/xz/faq.txt": "questions",
            "python/lib/libpython3.11.a": "static",
            f"{LIB}/os.py": "",
            f"{LIB}/__pycache__/os.cpython-311.pyc": "bytecode",
            f"{LIB}/test/test_os.py": "test",
            f"{LIB}/unittest/__init__.py": "",
            f"{LIB}/unittest/case.py": "",
            f"{LIB}/unittest/__pycache__/case.cpython-311.pyc": "bytecode",
            f"{LIB}/unittest/test/test_case.py": "test",
            f"{LIB}/config-3.11-x86_64-linux-gnu/Makefile": "prefix=/build",
            f"{SITE}/demo/__init__.py": "value = 1\n",
            f"{SITE}/demo/__pycache__/__init__.cpython-311.pyc": "bytecode",
            f"{SITE}/demo/tests/__init__.py": "",
            f"{SITE}/demo/tests/data/big.bin": b"x" * 5000,
            f"{SITE}/demo/tests/__pycache__/__init__.cpython-311.pyc": "bytecode",
            f"{SITE}/demo/mixed/libdemo.a": "static",
            f"{SITE}/demo/mixed/tests/test_mixed.py": "test",
            f"{SITE}/demo/native/tests/libneeded.so": "library",
            f"{SITE}/demo/native/tests/test_native.py": "test",
            f"{SITE}/demo-1.0.dist-info/METADATA": "Name: demo\nVersion: 1.0\n",
            f"{SITE}/demo-1.0.dist-info/licenses/LICENSE": "MIT",
            "ComfyUI/main.py": "",
            "ComfyUI/.git/HEAD": "ref: refs/heads/master\n",
            "ComfyUI/.github/workflows/test.yml": "on: push\n",
            "ComfyUI/tests/conftest.py": "",
            "ComfyUI/input/3d/": "",
            "ComfyUI/output/_output_images_will_be_put_here": "",
            "ComfyUI/models/loras/put_loras_here": "",
            "ComfyUI/models/loras/tests/__pycache__/mine.pyc": "the user's",
            "ComfyUI/custom_nodes/node/__init__.py": 'import os\nWEB_DIRECTORY = os.path.join(".", "served")\n',
            "ComfyUI/custom_nodes/node/.git/config": "[remote]\n",
            "ComfyUI/custom_nodes/node/served/tests/app.js": "served",
            "ComfyUI/custom_nodes/node/tests/test_node.py": "test",
        },
    )
    (root / SITE / "demo/tests/run.sh").write_text("#!/bin/sh\n")
    (root / SITE / "demo/tests/run.sh").chmod(0o755)
    (root / SITE / "demo/tests/data").chmod(0o750)
    os.link(root / SITE / "demo/tests/data/big.bin", root / SITE / "demo/tests/data/same.bin")
    (root / SITE / "demo/tests/latest").symlink_to("data/big.bin")
    for path in sorted(root.rglob("*"), reverse=True):
        if not path.is_symlink():
            os.utime(path, ns=(10**18, 10**18 + len(path.name)))
    return BundleTree(root=root, target=targets.get("linux-x86_64"), python_version="3.11.7")


@pytest.fixture
def loose(bundle: BundleTree) -> BundleTree:
    """The same tree, which nothing says to be a bundle."""
    (bundle.root / "portable/bundle.json").unlink()
    return bundle
