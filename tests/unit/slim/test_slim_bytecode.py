"""Bytecode of a start, made and used by a real Python: found without a look at the source, the same in every folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from shlex import quote

import pytest
from slim_bundles import record_row

from packager import targets
from packager.bundle import BundleTree
from packager.console import Console
from packager.filesystem import tree_digest
from packager.slim import compile_start, compiler, forget_compiled, trace_start

VERSION = ".".join(map(str, sys.version_info[:3]))
TAG = sys.implementation.cache_tag
COMPILER = Path(compiler.__file__)
MAIN = """
import importlib.util, pathlib, sys
import used, package.inner
here = pathlib.Path(__file__).parent
spec = importlib.util.spec_from_file_location("node", here / "custom_nodes" / "node" / "__init__.py")
spec.loader.exec_module(importlib.util.module_from_spec(spec))
(here / "user.log").write_text(" ".join(sys.argv[1:]))
(here / "settings.json").write_text("written at every start")
"""


@pytest.fixture
def bundle(tmp_path: Path) -> BundleTree:
    """An app on the running Python, which stands in for a bundle's: `python/bin/python` starts it."""
    return make_bundle(tmp_path / "a folder" / "bundle")


def make_bundle(root: Path) -> BundleTree:
    tree = BundleTree(root=root, target=targets.current(), python_version=VERSION)
    files = {
        tree.app / "main.py": MAIN,
        tree.app / "used.py": "def fail():\n    raise ValueError('on purpose')\n",
        tree.app / "unused.py": "value = 1\n",
        tree.app / "settings.json": "as shipped",
        tree.nodes / "node" / "__init__.py": "NAMES = {'a', 'b', 'c', None}\n",
        tree.site_packages / "package" / "__init__.py": "",
        tree.site_packages / "package" / "inner.py": "value = frozenset({'x', 'y', None, 3})\n",
        tree.site_packages / "package" / "other.py": "value = 1\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    tree.python.parent.mkdir(parents=True, exist_ok=True)
    packages = f'"$(dirname "$0")"/../{tree.site_packages.relative_to(tree.prefix)}'
    tree.python.write_text(f'#!/bin/sh\nPYTHONPATH={packages} exec {quote(sys.executable)} "$@"\n')
    tree.python.chmod(0o755)
    return tree


def start(tree: BundleTree, scratch: Path, timeout: float = 60) -> tuple[str, ...]:
    found = trace_start(tree, scratch=scratch, environment={"PATH": os.environ["PATH"]}, timeout=timeout)
    assert not found.fault, found.fault
    return found.modules


LOADED = ("ComfyUI/custom_nodes/node/__init__.py", "ComfyUI/used.py")


def test_a_start_tells_what_it_loads_and_leaves_the_tree_as_it_was(bundle: BundleTree, tmp_path: Path) -> None:
    before = tree_digest(bundle.root)
    modules = start(bundle, tmp_path / "scratch")
    site = str(bundle.relative(bundle.site_packages))
    assert modules == (*LOADED, f"{site}/package/__init__.py", f"{site}/package/inner.py")
    assert tree_digest(bundle.root) == before  # settings.json was written to in the copy
    assert not (tmp_path / "scratch").exists()


def test_a_start_that_appends_to_a_package_leaves_the_tree_as_it_was(bundle: BundleTree, tmp_path: Path) -> None:
    """Small files are copies; a large library shares its room with the tree."""
    (bundle.app / "main.py").write_text("import package.other\nopen(package.other.__file__, 'a').write('#')")
    (bundle.site_packages / "large.so").write_bytes(b"x" * 2_000_000)
    before = tree_digest(bundle.root)
    assert f"{bundle.relative(bundle.site_packages)}/package/other.py" in start(bundle, tmp_path / "scratch")
    assert tree_digest(bundle.root) == before


def test_a_start_that_fails_or_hangs_says_so_and_tells_what_it_loaded(bundle: BundleTree, tmp_path: Path) -> None:
    with (bundle.app / "main.py").open("a") as stream:
        stream.write("import sys; sys.exit('no such device')\n")
    found = trace_start(bundle, scratch=tmp_path / "s", environment={"PATH": os.environ["PATH"]}, timeout=60)
    assert "ended with 1: no such device" in found.fault
    assert LOADED[0] in found.modules
    (bundle.app / "main.py").write_text("import used, time; time.sleep(60)\n")
    found = trace_start(bundle, scratch=tmp_path / "s", environment={"PATH": os.environ["PATH"]}, timeout=8)
    assert "too long" in found.fault
    assert found.modules == ("ComfyUI/used.py",)


def compiled(tree: BundleTree) -> dict[str, bytes]:
    return {path.relative_to(tree.root).as_posix(): path.read_bytes() for path in tree.root.rglob("*.pyc")}


def test_only_what_was_loaded_is_compiled_unchecked_in_the_python_and_checked_in_the_app(
    bundle: BundleTree, tmp_path: Path
) -> None:
    done = compile_start(bundle, start(bundle, tmp_path / "s"), console=Console(quiet=True))
    found = compiled(bundle)
    site = str(bundle.relative(bundle.site_packages))
    assert {path: content[4] for path, content in found.items()} == {  # PEP 552: 1 hash-based, 2 to be checked
        f"ComfyUI/__pycache__/used.{TAG}.pyc": 3,
        f"ComfyUI/custom_nodes/node/__pycache__/__init__.{TAG}.pyc": 3,
        f"{site}/package/__pycache__/__init__.{TAG}.pyc": 1,
        f"{site}/package/__pycache__/inner.{TAG}.pyc": 1,
    }
    assert (done.files, done.bytes) == (4, sum(map(len, found.values())))
    assert not [path for path, content in found.items() if str(bundle.root).encode() in content]


def test_two_folders_give_the_same_bytes(bundle: BundleTree, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "somewhere" / "else altogether")
    for number, tree in enumerate((bundle, other)):
        compile_start(tree, start(tree, tmp_path / f"s{number}"), console=Console(quiet=True))
    assert compiled(bundle) == compiled(other)


@pytest.mark.skipif(os.name != "posix", reason="looks for another Python by its name in a PATH of POSIX")
def test_python_3_10_gets_no_bytecode_that_is_other_bytes_in_each_run(tmp_path: Path) -> None:
    """Before 3.11 a frozenset is written in the order of its hashes, and that of None is its address."""
    python = old_python()
    sources = {
        "steady.py": "def f(x):\n    return x in {'a', 'b', 3, True, ('c', 4)}\n",
        "none.py": "def f(x):\n    return x in {None, 'a', 'b', 3}\n",
        "inside.py": "class A:\n    def f(self, x):\n        return x in {(1, (None,)), 'a', ...}\n",
    }
    seen = set()
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in sources.items():
            (folder / name).write_text(text)
        (folder / "list").write_text("".join(f"unchecked {name}\n" for name in sources))
        command = [python, "-S", "-s", COMPILER, folder, folder / "list"]
        done = subprocess.run(command, env={"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True)
        assert {line.partition("\t")[0] for line in done.stdout.splitlines()} == {"none.py", "inside.py"}
        (made,) = (folder / "__pycache__").iterdir()
        assert made.name == "steady.cpython-310.pyc"
        seen.add(made.read_bytes())
    assert len(seen) == 1


def old_python() -> str:
    """A Python 3.10 of this machine."""
    candidates = [shutil.which("python3.10"), *map(str, Path.home().glob(".pyenv/versions/3.10.*/bin/python"))]
    for candidate in filter(None, candidates):
        done = subprocess.run([candidate, "-V"], capture_output=True, text=True, check=False)
        if done.stdout.startswith("Python 3.10."):
            return candidate
    pytest.skip("no Python 3.10 on this machine")


def test_docstrings_and_assertions_stay(bundle: BundleTree, tmp_path: Path) -> None:
    """Packages read their docstrings at import, which `-OO` takes away; so what ships is compiled without."""
    text = '"""Read at import."""\nif not __doc__: raise ValueError\nassert (checked := True)\n'
    (bundle.app / "used.py").write_text(text)
    call = "import used; assert used.__doc__ and used.checked and used.__spec__.cached.endswith('.pyc')"
    compile_start(bundle, start(bundle, tmp_path / "s"), console=Console(quiet=True))
    command = [bundle.python, "-c", f"import sys; sys.path.insert(0, {str(bundle.app)!r}); {call}"]
    assert subprocess.run(command, check=False).returncode == 0
    naive = subprocess.run([bundle.python, "-OO", *command[1:]], capture_output=True, check=False)
    assert naive.returncode != 0, "the naive way breaks it"


def verbose(tree: BundleTree, code: str) -> str:
    done = subprocess.run(
        [tree.python, "-v", "-c", f"import sys; sys.path.insert(0, {str(tree.app)!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


def test_moved_and_with_other_times_it_is_loaded_without_a_look_at_the_source(
    bundle: BundleTree, tmp_path: Path
) -> None:
    compile_start(bundle, start(bundle, tmp_path / "s"), console=Console(quiet=True))
    moved = BundleTree(root=tmp_path / "moved", target=bundle.target, python_version=VERSION)
    shutil.copytree(bundle.root, moved.root, copy_function=shutil.copy)
    for path in moved.root.rglob("*.py"):
        os.utime(path, (1580601600, 1580601600))
    before = compiled(moved)
    said = verbose(moved, "import package.inner, used; used.fail()")
    inner = moved.site_packages / "package" / "__pycache__" / f"inner.{TAG}.pyc"
    assert f"code object from '{inner}'" in said.replace(f"{moved.prefix}/bin/../", f"{moved.prefix}/")
    assert "wrote" not in said
    assert compiled(moved) == before
    assert f'File "{moved.app}/used.py", line 2, in fail' in said  # a traceback names the file where it is now
    assert "raise ValueError('on purpose')" in said


def test_an_edit_in_the_app_counts(bundle: BundleTree, tmp_path: Path) -> None:
    compile_start(bundle, start(bundle, tmp_path / "s"), console=Console(quiet=True))
    (bundle.app / "used.py").write_text("value = 'edited'\n")
    done = subprocess.run(
        [bundle.python, "-c", f"import sys; sys.path.insert(0, {str(bundle.app)!r}); import used; print(used.value)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "edited\n"


def test_what_python_cannot_compile_is_told_and_stops_nothing(bundle: BundleTree) -> None:
    broken = bundle.site_packages / "package" / "template.py"
    broken.write_text("def {{ name }}():\n")
    modules = [str(bundle.relative(path)) for path in (broken, bundle.site_packages / "package" / "other.py")]
    done = compile_start(bundle, modules, console=Console(quiet=True))
    assert done.files == 1
    assert "SyntaxError" in done.failed[modules[0]]


def test_another_run_takes_away_what_the_last_one_made_and_no_other_bytecode(bundle: BundleTree) -> None:
    module = str(bundle.relative(bundle.site_packages / "package" / "inner.py"))
    compile_start(bundle, [module, "ComfyUI/used.py"], console=Console(quiet=True))
    subprocess.run([sys.executable, "-m", "compileall", "-q", bundle.nodes], check=True)
    timed = set(compiled(bundle)) - {f"ComfyUI/__pycache__/used.{TAG}.pyc"}
    forget_compiled(bundle)
    assert set(compiled(bundle)) == {path for path in timed if "custom_nodes" in path}
    assert not (bundle.app / "__pycache__").exists()


def wheel(folder: Path, version: str) -> Path:
    information = f"changing-{version}.dist-info"
    members = {
        "changing.py": f"VERSION = {version!r}\n",
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: changing\nVersion: {version}\n",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = "".join(record_row(name, text.encode()) for name, text in members.items())
    path = folder / f"changing-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**members, f"{information}/RECORD": f"{rows}{information}/RECORD,,\n"}.items():
            archive.writestr(name, text)
    return path


def test_bytecode_that_is_never_checked_goes_with_its_package_when_pip_replaces_it(tmp_path: Path) -> None:
    tree = BundleTree(root=tmp_path, target=targets.current(), python_version=VERSION)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tree.prefix], check=True)
    pip = [sys.executable, "-m", "pip", "--python", tree.python, "install", "--no-index", "--no-compile", "--quiet"]
    subprocess.run([*pip, wheel(tmp_path, "1.0")], check=True)
    compile_start(tree, [str(tree.relative(tree.site_packages / "changing.py"))], console=Console(quiet=True))
    assert len(compiled(tree)) == 1
    subprocess.run([*pip, wheel(tmp_path, "2.0")], check=True)
    done = subprocess.run(
        [tree.python, "-c", "import changing; print(changing.VERSION)"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "2.0\n"
