# ruff: noqa: E501
"""Small packages that a careless rule breaks, one for each way in which packages break, in a real environment."""

from __future__ import annotations

import io
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cleanup_trees import one_rule, write_tree

from packager.cleanup import Judgement, OracleMeans, clean_into, detect_layout
from packager.console import Console

LIBRARY = "libneeded.so"
CLUTTER = ("/clutter/tests/", "/clutter/docs/")


@dataclass(frozen=True, kw_only=True)
class Trap:
    """`call` is what a user does with the package; `naive` are the patterns that break it.

    `raises` False: it does not fail without the files, it answers otherwise.
    """

    files: Mapping[str, str]
    call: str
    naive: tuple[str, ...]
    library: str = ""


TRAPS = {
    "module in tests imported at import": Trap(
        files={
            "demo/__init__.py": "from .tests.helper import value",
            "demo/tests/__init__.py": "",
            "demo/tests/helper.py": "value = 1",
        },
        call="import demo; assert demo.value",
        naive=("tests/",),
    ),
    "module in tests imported at the first call": Trap(
        files={
            "demo/__init__.py": "def go():\n    from demo.tests import helper\n    return helper.value",
            "demo/tests/__init__.py": "",
            "demo/tests/helper.py": "from .more import value",
            "demo/tests/more.py": "value = 1",
        },
        call="import demo; assert demo.go()",
        naive=("tests/",),
    ),
    "module imported by a name in a string": Trap(
        files={
            "demo/__init__.py": "import importlib\ndef go():\n    return importlib.import_module('.tests.helper', __name__)",
            "demo/tests/helper.py": "",
        },
        call="import demo; assert demo.go()",
        naive=("tests/",),
    ),
    "module imported by a name put together": Trap(
        files={
            "demo/__init__.py": "import importlib\nmodule = importlib.import_module(f\"demo.{'_'.join(['te', 'st'])}s\")",
            "demo/te_sts/__init__.py": "",
        },
        call="import demo; assert demo.module",
        naive=("te_sts/",),
    ),
    "docs package": Trap(
        files={
            "demo/__init__.py": "import demo.docs",
            "demo/docs/__init__.py": "from . import service",
            "demo/docs/service.py": "",
        },
        call="import demo",
        naive=("docs/",),
    ),
    "data file opened at the first call": Trap(
        files={
            "demo/__init__.py": "import os\nHERE = os.path.dirname(os.path.abspath(__file__))\n"
            "def go(name='grammar.txt'):\n    return open(os.path.join(HERE, 'data', 'grammar.txt')).read()",
            "demo/data/grammar.txt": "text",
        },
        call="import demo; assert demo.go()",
        naive=("*.txt",),
    ),
    "data folder read by names that are put together": Trap(
        files={
            "demo/__init__.py": "from pathlib import Path\nDATA = Path(__file__).resolve().parent / 'data'\n"
            "def go(name):\n    return (DATA / f'{name}.txt').read_text()",
            "demo/data/a.txt": "text",
        },
        call="import demo; assert demo.go('a')",
        naive=("data/",),
    ),
    "resource of a package": Trap(
        files={
            "demo/__init__.py": "import importlib.resources\n"
            "def go():\n    return (importlib.resources.files('demo.assets') / 'words.md').read_text()",
            "demo/assets/__init__.py": "",
            "demo/assets/words.md": "text",
        },
        call="import demo; assert demo.go()",
        naive=("*.md",),
    ),
    "resource by pkgutil": Trap(
        files={
            "demo/__init__.py": "import pkgutil\ndef go():\n    return pkgutil.get_data(__name__, 'templates/page.html')",
            "demo/templates/page.html": "<p>",
        },
        call="import demo; assert demo.go()",
        naive=("templates/",),
    ),
    "stub read by attach_stub": Trap(
        files={
            "lazy_loader.py": "import pathlib\ndef attach_stub(name, file):\n"
            "    pathlib.Path(file).with_suffix('.pyi').read_text()\n    return None, None, []",
            "demo/__init__.py": "def go():\n    import demo.sub",
            "demo/sub/__init__.py": "import lazy_loader\n"
            "__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)",
            "demo/sub/__init__.pyi": "from . import io",
        },
        call="import demo; demo.go()",
        naive=("*.pyi",),
    ),
    "version from metadata at import": Trap(
        files={"demo/__init__.py": "from importlib.metadata import version\n__version__ = version('demo')"},
        call="import demo; assert demo.__version__ == '1.0'",
        naive=("*.dist-info/",),
    ),
    "entry point": Trap(
        files={"demo/__init__.py": "def main(): pass"},
        call="from importlib.metadata import entry_points\nassert [e.load() for e in entry_points(group='console_scripts') if e.name == 'demo']",
        naive=("entry_points.txt",),
    ),
    "list of a distribution's files": Trap(
        files={"demo/__init__.py": ""},
        call="from importlib.metadata import files\nassert files('demo'), 'pip could not uninstall it'",
        naive=("RECORD",),
    ),
    "modules named like tests": Trap(
        files={
            "demo/__init__.py": "from importlib import import_module\nfrom . import _page_trend_test\n"
            "for name in ('ts', '_operators'):\n    import_module('demo.' + 'tes' + (name if name == 'ts' else 't' + name))",
            "demo/tests.py": "",
            "demo/_page_trend_test.py": "",
            "demo/test_operators.py": "",
        },
        call="import demo.tests, demo.test_operators",
        naive=("tests.py", "test_*.py", "*_test.py"),
    ),
    "testing package": Trap(
        files={
            "demo/__init__.py": "def __getattr__(name):\n    import demo.testing\n    return demo.testing.value",
            "demo/testing/__init__.py": "from .test_utils import value",
            "demo/testing/test_utils.py": "value = 1",
        },
        call="import demo; assert demo.value",
        naive=("testing/", "test_utils*"),
    ),
    "benchmark and example packages": Trap(
        files={
            "demo/__init__.py": "def go():\n    from demo.utils import benchmark\n    from . import examples",
            "demo/utils/__init__.py": "",
            "demo/utils/benchmark/__init__.py": "",
            "demo/examples/__init__.py": "",
        },
        call="import demo; demo.go()",
        naive=("benchmark/", "examples/"),
    ),
    "header that a compiler is given": Trap(
        files={
            "demo/__init__.py": "import os\ndef build():\n    folder = os.path.join(os.path.dirname(__file__), 'include')\n"
            "    return open(os.path.join(folder, 'demo.h')).read()",
            "demo/include/demo.h": "#define DEMO",
        },
        call="import demo; assert demo.build()",
        naive=("*.h",),
    ),
    "library in a strange folder": Trap(
        files={
            "demo/__init__.py": "import ctypes, pathlib\nctypes.CDLL(str(next(pathlib.Path(__file__).parent.rglob('*.so'))))"
        },
        library="demo/benchmark/",
        call="import demo",
        naive=("benchmark/",),
    ),
    "library that a library asks for": Trap(
        files={
            "demo/__init__.py": "from demo import _bridge",
            "demo/_bridge.py": "import ctypes\nimport demo.place\nctypes.CDLL(demo.place.where)",
            "demo/place.py": "import glob, os\n"
            "where = sorted(glob.glob(os.path.join(os.path.dirname(__file__), 'l*', '*.so')))[0]",
        },
        library="demo/lib-test/",
        call="import demo",
        naive=("lib-test/",),
    ),
    "swallowed ImportError": Trap(
        files={
            "demo/__init__.py": "try:\n    from . import extra_docs as docs\nexcept ImportError:\n    docs = None",
            "demo/extra_docs.py": "",
        },
        call="import demo; assert demo.docs",
        naive=("*_docs.py",),
    ),
    "flag that tells of a package": Trap(
        files={
            "demo/__init__.py": "import importlib\ndef is_helper_available():\n    try:\n"
            "        importlib.import_module('help' + 'er')\n        return True\n    except ImportError:\n        return False",
            "helper/__init__.py": "",
        },
        call="import demo; assert demo.is_helper_available()",
        naive=("helper/",),
    ),
    "file that is only looked for": Trap(
        files={
            "demo/__init__.py": "import os\nfast = os.path.exists(os.path.join(os.path.dirname(__file__), *'testing flag'.split()))",
            "demo/testing/flag": "",
        },
        call="import demo; assert demo.fast",
        naive=("testing/",),
    ),
    "program in bin": Trap(
        files={
            "demo/__init__.py": "import subprocess, pathlib\n"
            "subprocess.run([pathlib.Path(__file__).with_name('bin') / 'manager'], check=True)",
            "demo/bin/manager": "#!/bin/sh\n",
        },
        call="import demo",
        naive=("bin/",),
    ),
    "cause hidden behind another error": Trap(
        files={
            "demo/__init__.py": "try:\n    open(__file__.replace('__init__.py', 'kernel.jinja')).read()\n"
            "except OSError as error:\n    raise RuntimeError('a fault inside') from None",
            "demo/kernel.jinja": "",
        },
        call="import demo",
        naive=("*.jinja",),
    ),
    "source text read by docstring tools": Trap(
        files={
            "demo/__init__.py": "import inspect\nfrom demo import thing\ntext = inspect.getsource(thing)",
            "demo/thing.py": "value = 1",
        },
        call="import demo; assert demo.text",
        naive=("thing.py",),
    ),
}


def make_environment(place: Path, trap: Trap) -> Path:
    """A virtual environment at `place` that holds the trap as an installed distribution, and clutter that may go."""
    venv.create(place, symlinks=True)
    site = next(place.glob("lib/python3*/site-packages"))
    write_tree(
        site, {"clutter/__init__.py": "", "clutter/tests/test_it.py": "", "clutter/docs/page.txt": "", **trap.files}
    )
    for program in site.glob("demo/bin/*"):
        program.chmod(0o755)
    if trap.library:
        (site / trap.library).mkdir(parents=True)
        shutil.copy(a_library(), site / trap.library / LIBRARY)
    files = sorted(path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file())
    meta = {
        "METADATA": "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n",
        "entry_points.txt": "[console_scripts]\ndemo = demo:main\n" if "entry" in trap.call else "",
        "RECORD": "".join(
            f"{name},,\n" for name in [*files, "demo-1.0.dist-info/METADATA", "demo-1.0.dist-info/RECORD"]
        ),
    }
    write_tree(site, {f"demo-1.0.dist-info/{name}": text for name, text in meta.items() if text})
    return place


def a_library() -> Path:
    folder = Path(sysconfig.get_config_var("DESTSHARED"))
    return (sorted(folder.glob("_bisect*.so")) or sorted(folder.glob("*.so")))[0]


def works(environment: Path, call: str) -> subprocess.CompletedProcess[str]:
    """What a user does, with bytecode of no earlier run."""
    return subprocess.run(
        [environment / "bin/python", "-I", "-B", "-c", call], capture_output=True, text=True, check=False, timeout=60
    )


def judge(environment: Path, *patterns: str, cache: Path | None = None, oracle: bool = True, **steps: Any) -> Judgement:
    """Clean by one careless rule, with or without the oracle."""
    steps.setdefault("console", Console(stream=io.StringIO()))
    means = OracleMeans(scratch=environment.with_name("scratch"), cache=cache, **steps)
    return clean_into(
        environment.with_name("quarantine"),
        detect_layout(environment),
        one_rule(*patterns, *CLUTTER),
        tier="safe",
        opt_in=(),
        oracle=means if oracle else None,
    )


def site_of(environment: Path) -> str:
    return next(environment.glob("lib/python3*/site-packages")).relative_to(environment).as_posix()
