"""Small packages that a naive clean-up breaks, each in its own way. The naive rule must break the package, the shipped
rules of the aggressive tier must not: what the package does is run in a fresh interpreter before and after."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cleanup_trees import one_rule, python, removed, write_tree

from packager.cleanup import RuleSet, TreeLayout, apply, detect_layout, plan_cleanup


@dataclass(frozen=True, kw_only=True)
class Trap:
    """`probe` is Python that works while the package is whole; `naive` are the patterns that break it."""

    files: Mapping[str, str]
    probe: str
    naive: tuple[str, ...]
    extension: str | None = field(default=None)  # where a real extension module is put


DIST = {
    "demo/__init__.py": "from importlib.metadata import version\n__version__ = version('demo')\n",
    "demo-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
    "demo-1.0.dist-info/RECORD": "demo/__init__.py,,\n",
    "demo-1.0.dist-info/entry_points.txt": "[demo.plugins]\none = demo:__version__\n",
}
ATTACH_STUB = "import pathlib\nstub = pathlib.Path(__file__ + 'i').read_text()\n"

TRAPS = {
    "modules named like tests": Trap(
        files={
            "jinja2/__init__.py": "from . import tests",
            "jinja2/tests.py": "",
            "scipy/__init__.py": "from . import _page_trend_test, test_operators",
            "scipy/_page_trend_test.py": "",
            "scipy/test_operators.py": "",
        },
        probe="import jinja2, scipy",
        naive=("tests.py", "test_*.py", "*_test.py"),
    ),
    "testing package": Trap(
        files={"torch/__init__.py": "import torch.testing", "torch/testing/__init__.py": ""},
        probe="import torch",
        naive=("testing/",),
    ),
    "test_utils folder": Trap(
        files={"diffusers/__init__.py": "from . import test_utils", "diffusers/test_utils/__init__.py": ""},
        probe="import diffusers",
        naive=("test_utils/",),
    ),
    "docs package imported": Trap(
        files={"botocore/__init__.py": "import botocore.docs", "botocore/docs/__init__.py": ""},
        probe="import botocore",
        naive=("docs/",),
    ),
    "node help": Trap(
        files={"comfyui_embedded_docs/__init__.py": "", "comfyui_embedded_docs/docs/KSampler/en.md": "# KSampler"},
        probe="import comfyui_embedded_docs as d, pathlib\n"
        "assert (pathlib.Path(d.__file__).parent / 'docs/KSampler/en.md').read_text()",
        naive=("docs/", "*.md"),
    ),
    "examples and benchmark packages": Trap(
        files={
            "torch/__init__.py": "",
            "torch/utils/benchmark/__init__.py": "",
            "botocore/docs/example/__init__.py": "",
            "botocore/examples/__init__.py": "",
        },
        probe="import torch.utils.benchmark, botocore.docs.example, botocore.examples",
        naive=("examples/", "example/", "benchmark/"),
    ),
    "version from metadata at import": Trap(files=DIST, probe="import demo", naive=("*.dist-info/",)),
    "entry points": Trap(
        files=DIST,
        probe="from importlib.metadata import entry_points\n"
        "assert [entry.load() for entry in entry_points(group='demo.plugins')]",
        naive=("*.dist-info/",),
    ),
    "files of RECORD": Trap(
        files=DIST,
        probe="from importlib.metadata import files\nassert files('demo')",
        naive=("RECORD",),
    ),
    "stub read at import": Trap(
        files={"skimage/__init__.py": ATTACH_STUB, "skimage/__init__.pyi": "from . import io"},
        probe="import skimage",
        naive=("*.pyi",),
    ),
    "headers": Trap(
        files={
            "torch/__init__.py": "",
            "torch/include/c10/test/helpers.h": "",
            "triton/backends/nvidia/include/cuda.h": "",
        },
        probe="import torch, pathlib\n"
        "site = pathlib.Path(torch.__file__).parents[1]\n"
        "assert (site / 'torch/include/c10/test/helpers.h').exists()\n"
        "assert (site / 'triton/backends/nvidia/include/cuda.h').exists()",
        naive=("*.h",),
    ),
    "programs in bin": Trap(
        files={"torch/__init__.py": "", "torch/bin/torch_shm_manager": "elf", "torch/bin/ptxas": "elf"},
        probe="import torch, pathlib\n"
        "bin = pathlib.Path(torch.__file__).with_name('bin')\n"
        "assert {program.name for program in bin.iterdir()} == {'torch_shm_manager', 'ptxas'}",
        naive=("bin/",),
    ),
    "text and template data": Trap(
        files={
            "data_files/__init__.py": "import pathlib\n"
            "here = pathlib.Path(__file__).parent\n"
            "texts = [(here / n).read_text() for n in ('Lorem ipsum.txt', 'grammar311.txt', 'templates/html.tpl',"
            " 'data/iris.csv', 'world.map', 'notes.rst', 'kernel.jinja')]",
            "data_files/Lorem ipsum.txt": "",
            "data_files/grammar311.txt": "",
            "data_files/templates/html.tpl": "",
            "data_files/data/iris.csv": "",
            "data_files/world.map": "",
            "data_files/notes.rst": "",
            "data_files/kernel.jinja": "",
        },
        probe="import data_files",
        naive=("*.txt", "templates/", "data/", "*.map"),
    ),
    "sources compiled at run time": Trap(
        files={
            "triton/__init__.py": "import pathlib\n"
            "pathlib.Path(__file__).with_name('driver.c').read_text()\n"
            "pathlib.Path(__file__).with_name('launch.cpp').read_text()",
            "triton/driver.c": "",
            "triton/launch.cpp": "",
        },
        probe="import triton",
        naive=("*.c", "*.cpp"),
    ),
    "a library in a folder of tests": Trap(
        files={
            "odd/__init__.py": "import ctypes, pathlib\n"
            "ctypes.CDLL(str(pathlib.Path(__file__).with_name('tests') / 'n.so'))"
        },
        extension="odd/tests/n.so",
        probe="import odd",
        naive=("tests/",),
    ),
    "libraries beside the package": Trap(
        files={
            "odd/__init__.py": "import ctypes, pathlib\n"
            "ctypes.CDLL(str(pathlib.Path(__file__).parents[1] / 'odd.libs/test/n.so'))"
        },
        extension="odd.libs/test/n.so",
        probe="import odd",
        naive=("*.libs/",),
    ),
    "public package called test": Trap(
        files={
            "django/__init__.py": "",
            "django/test/__init__.py": "",
            "onnx/__init__.py": "",
            "onnx/backend/test/__init__.py": "",
        },
        probe="import django.test, onnx.backend.test",
        naive=("test/",),
    ),
    "tests imported by the package itself": Trap(
        files={"tables/__init__.py": "from .tests import test", "tables/tests/__init__.py": "test = print"},
        probe="import tables",
        naive=("tests/",),
    ),
    "entry point in a folder of tests": Trap(
        files={
            "networkx/__init__.py": "",
            "networkx/classes/__init__.py": "",
            "networkx/classes/tests/__init__.py": "",
            "networkx/classes/tests/dispatch_interface.py": "backend_interface = 1",
            "networkx-3.6.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: networkx\nVersion: 3.6.1\n",
            "networkx-3.6.1.dist-info/entry_points.txt": "[networkx.backends]\n"
            "nx_loopback = networkx.classes.tests.dispatch_interface:backend_interface\n",
        },
        probe="from importlib.metadata import entry_points\n"
        "assert [entry.load() for entry in entry_points(group='networkx.backends')]",
        naive=("tests/",),
    ),
    "licence in a folder of tests": Trap(
        files={"corpus/__init__.py": "", "corpus/tests/data/LICENSE.txt": "CC-BY", "corpus/tests/data/copying": "GPL"},
        probe="import corpus, pathlib\n"
        "data = pathlib.Path(corpus.__file__).parent / 'tests/data'\n"
        "assert {f.name for f in data.iterdir()} == {'LICENSE.txt', 'copying'}",
        naive=("tests/",),
    ),
    "file that is only looked for": Trap(
        files={
            "lazy/__init__.py": "import os\nassert os.stat(os.path.join(os.path.dirname(__file__), 'testing', 'flag'))",
            "lazy/testing/flag": "",
        },
        probe="import lazy",
        naive=("testing/",),
    ),
    "swallowed ImportError": Trap(
        files={
            "soft/__init__.py": "try:\n    from . import docs\nexcept ImportError:\n    docs = None",
            "soft/docs.py": "",
        },
        probe="import soft\nassert soft.docs",
        naive=("docs.py", "docs/"),
    ),
    "source text at run time": Trap(
        files={"script/__init__.py": "def f():\n    return 1\n"},
        probe="import inspect, script\nassert 'return 1' in inspect.getsource(script.f)",
        naive=("*.py",),
    ),
}


@pytest.mark.parametrize("trap", TRAPS.values(), ids=list(TRAPS))
def test_naive_rule_breaks_it_and_shipped_rules_do_not(tmp_path: Path, rules: RuleSet, trap: Trap) -> None:
    clutter = {
        "clutter/__init__.py": "",
        "clutter/tests/test_it.py": "",
        "clutter/x.py": "",
        "clutter/__pycache__/x.pyc": "",
    }
    for kind in ("naive", "shipped"):
        root = write_tree(tmp_path / kind, {**trap.files, **clutter})
        if trap.extension:
            (root / trap.extension).parent.mkdir(parents=True)
            shutil.copy(a_library(), root / trap.extension)
        before = python(trap.probe, root)
        assert before.returncode == 0, before.stderr
        layout = TreeLayout(root=root, os="linux", scopes={"": ("site-packages",)})
        plan = (
            plan_cleanup(layout, one_rule(*trap.naive))
            if kind == "naive"
            else plan_cleanup(layout, rules, tier="aggressive")
        )
        assert plan.removals
        apply(plan, tmp_path / f"quarantine-{kind}")
        after = python(trap.probe, root)
        assert (after.returncode == 0) == (kind == "shipped"), after.stderr
    assert {"clutter/tests/", "clutter/__pycache__/"} <= removed(plan)


def a_library() -> Path:
    """A shared library of this machine that can be loaded from anywhere."""
    folder = Path(sysconfig.get_config_var("DESTSHARED"))
    found = sorted(folder.glob("_bisect*.so")) or sorted(folder.glob("*.so"))
    if not found:
        pytest.skip("this Python has no extension modules of its own")
    return found[0]


NEEDED = (
    "asyncio, bz2, cProfile, cmd, ctypes, doctest, email.mime.text, fileinput, ftplib, importlib.metadata, json, lzma, "
    "modulefinder, multiprocessing, netrc, pdb, pickletools, plistlib, pstats, pydoc, pydoc_data.topics, sqlite3, ssl, "
    "sysconfig, timeit, tkinter.constants, unittest.mock, venv, wsgiref.util, xml.dom"
)


@pytest.mark.skipif(os.name != "posix", reason="copies a POSIX standard library")
def test_a_real_standard_library_still_imports_what_looks_unused(tmp_path: Path, rules: RuleSet) -> None:
    """The running interpreter with a cleaned copy of its standard library."""
    source = Path(sysconfig.get_path("stdlib"))
    stdlib = tmp_path / "lib" / source.name
    ignored = shutil.ignore_patterns("site-packages", "dist-packages", "__pycache__", "config-*", "test", "*.a")
    shutil.copytree(source, stdlib, ignore=ignored, symlinks=True)
    write_tree(stdlib, {"test/test_os.py": "", "config-3-linux/Makefile": "", "lib-dynload/_testcapi.x.so": ""})
    write_tree(tmp_path, {"bin/idle3": "", "bin/python3-config": "", "bin/python3": ""})

    def run(code: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONHOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        interpreter = os.path.realpath(sys.executable)
        return subprocess.run([interpreter, "-s", "-c", code], env=env, capture_output=True, text=True, check=False)

    probe = f"import {NEEDED}, os\nprint(os.__file__)"
    before = run(probe)
    if before.returncode != 0:
        pytest.skip(f"this Python lacks a module itself: {before.stderr[-200:]}")
    assert before.stdout.startswith(str(tmp_path)), "the copy is what runs"
    plan = plan_cleanup(detect_layout(tmp_path), rules)
    apply(plan, tmp_path.with_name("quarantine"))
    after = run(probe)
    assert (after.returncode, after.stdout) == (0, before.stdout), after.stderr
    gone = {path.removeprefix(f"lib/{source.name}/") for path in removed(plan)}
    assert {"test/", "config-3-linux/", "bin/idle3", "bin/python3-config"} <= gone
    assert "lib-dynload/_testcapi.x.so" in gone
    assert (stdlib / "ensurepip").is_dir() == (source / "ensurepip").is_dir()
    assert (tmp_path / "bin/python3").exists()
