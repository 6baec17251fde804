"""What the oracle remembers holds as long as nothing it depends on is other: content, libraries, the interpreter."""

from __future__ import annotations

import io
import os
import py_compile
import shutil
from pathlib import Path

import pytest
from cleanup_trees import one_rule, removed
from oracle_traps import Trap, a_library, judge, make_environment, site_of, works

from packager.cleanup import OracleMeans, RuleSet, apply, clean_into, detect_layout, load_rules, plan_cleanup
from packager.cleanup.oracle.subject import read_ownership, subject_of
from packager.cli import main
from packager.console import Console
from packager.probes.machine import machine_facts

pytestmark = pytest.mark.skipif(os.name != "posix", reason="a venv of this layout is POSIX")

BLIND = {"use_strace": False, "gate": False, "trace": False}  # so that the probes alone can tell


def demo(text: str, **files: str) -> Trap:
    return Trap(files={"demo/__init__.py": text, **files}, call="import demo", naive=())


def test_edit_of_the_same_size_is_seen(tmp_path: Path) -> None:
    trap = demo("import demo.aests", **{"demo/tests/__init__.py": "", "demo/aests/__init__.py": ""})
    for name, text in (("first", "import demo.aests"), ("second", "import demo.tests")):
        environment = make_environment(tmp_path / name / "env", trap)
        (environment / site_of(environment) / "demo/__init__.py").write_text(text)
        judged = judge(environment, "/demo/tests/", cache=tmp_path / "cache", **BLIND)
        assert works(environment, trap.call).returncode == 0, name
        assert judged.report
        assert bool(judged.report["kept"]) == (name == "second")


def test_probe_that_failed_is_asked_again_when_its_library_has_come(tmp_path: Path) -> None:
    """The library lies outside the tree, as one of the system does."""
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    library = libraries / "libcome.so"
    trap = demo(f"import ctypes\nctypes.CDLL({str(library)!r})\nimport demo.tests", **{"demo/tests/__init__.py": ""})
    failed = []
    for name in ("without", "with"):
        if name == "with":
            shutil.copy(a_library(), library)
        environment = make_environment(tmp_path / name / "env", trap)
        judged = judge(environment, "tests/", cache=tmp_path / "cache", **BLIND)
        assert judged.report
        failed.append("import demo" in judged.report["failed_before"])
    assert failed == [True, False]
    assert works(environment, trap.call).returncode == 0


def test_another_interpreter_or_library_is_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    libraries = tmp_path / "libraries"
    for folder in (programs, libraries):
        folder.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/bin{os.pathsep}/usr/bin")
    python = tmp_path / "python"
    env = {"LD_LIBRARY_PATH": str(libraries)}
    python.write_text("#!/bin/sh\necho 3.11.7 made in May\n")
    python.chmod(0o755)
    first = machine_facts(python, env=env)
    assert machine_facts(python, env=env) == first
    python.write_text("#!/bin/sh\necho 3.11.2 made in May\n")
    second = machine_facts(python, env=env)
    (libraries / "libz.so").touch()
    third = machine_facts(python, env=env)
    (programs / "git").touch()
    seen = [first, second, third, machine_facts(python, env=env)]
    assert all(one not in seen[:number] for number, one in enumerate(seen))
    python.write_text("#!/bin/sh\nexit 3\n")
    assert machine_facts(python, env=env)[1] == machine_facts(tmp_path / "none", env=env)[1] == ""


def test_another_interpreter_in_the_tree_is_asked_anew(tmp_path: Path) -> None:
    """Same packages, and a Python that says it is another build."""
    trap = demo("import demo.docs", **{"demo/docs/__init__.py": ""})
    for name in ("first", "other"):
        environment = make_environment(tmp_path / name / "env", trap)
        if name == "other":
            python = environment / "bin/python"
            real = os.path.realpath(python)
            python.unlink()
            version = 'case "$*" in *sys.version*) echo 3.11.2; exit;; esac'
            python.write_text(f'#!/bin/bash\n{version}\nexec -a "$0" "{real}" "$@"\n')
            python.chmod(0o755)
        judged = judge(environment, cache=tmp_path / "cache")
        assert judged.report
        assert judged.report["asked"], name


def clean(environment: Path, *patterns: str, cache: Path) -> None:
    """By a rule for bytecode and a careless one."""
    bytecode = one_rule("__pycache__/", rebuilt=True, id="bytecode").rules
    means = OracleMeans(
        scratch=environment.with_name("scratch"), cache=cache, console=Console(stream=io.StringIO()), use_strace=False
    )
    clean_into(
        environment.with_name("quarantine"),
        detect_layout(environment),
        RuleSet(rules=(*bytecode, *one_rule(*patterns).rules), protections=()),
        tier="safe",
        opt_in=(),
        oracle=means,
    )


def plant_bytecode(environment: Path, module: str, to: str, *, source: bool) -> None:
    site = environment / site_of(environment)
    (site / to).parent.mkdir(parents=True, exist_ok=True)
    py_compile.compile(str(site / module), cfile=str(site / to), doraise=True)
    if not source:
        (site / module).unlink()


def test_bytecode_without_its_source_stays(tmp_path: Path) -> None:
    """Python cannot write it again; that which has its source goes from the same folder."""
    load = (
        "import importlib.util, os\nplace = os.path.join(os.path.dirname(__file__), '__pycache__', 'sec' + 'ret.pyc')\n"
        "spec = importlib.util.spec_from_file_location('secret', place)\n"
        "secret = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(secret)\nimport demo.hidden"
    )
    trap = demo(load, **{"demo/secret.py": "value = 1", "demo/hidden.py": ""})
    environment = make_environment(tmp_path / "env", trap)
    site = site_of(environment)
    plant_bytecode(environment, "demo/secret.py", "demo/__pycache__/secret.pyc", source=False)
    plant_bytecode(environment, "demo/hidden.py", "demo/hidden.pyc", source=False)
    plant_bytecode(environment, "demo/__init__.py", "demo/__pycache__/__init__.cpython-311.pyc", source=True)
    plan = plan_cleanup(detect_layout(environment), load_rules())
    apply(plan, tmp_path / "quarantine")
    assert works(environment, trap.call).returncode == 0
    gone = removed(plan)
    assert f"{site}/demo/__pycache__/__init__.cpython-311.pyc" in gone
    (kept,) = [kept for kept in plan.kept if kept.rule == "bytecode"]
    assert (kept.path, kept.reason.split(":")[0]) == (
        f"{site}/demo/__pycache__/secret.pyc",
        "bytecode without its source",
    )


def test_second_run_remembers_that_bytecode_was_needed(tmp_path: Path) -> None:
    """A package reads bytecode whose source is there. With nothing else to remove, it is still asked."""
    trap = demo(
        "import os\nplace = os.path.join(os.path.dirname(__file__), '__pycache__', 'thing.cpython-311.pyc')\n"
        "if not os.path.exists(place):\n    raise RuntimeError('incomplete')",
        **{"demo/thing.py": ""},
    )
    for name, patterns in (("first", ["/clutter/tests/"]), ("second", ["/nothing/"])):
        environment = make_environment(tmp_path / name / "env", trap)
        plant_bytecode(environment, "demo/thing.py", "demo/__pycache__/thing.cpython-311.pyc", source=True)
        clean(environment, *patterns, cache=tmp_path / "cache")
        assert works(environment, trap.call).returncode == 0, name


def test_metadata_in_another_encoding_and_a_pipe_are_read(tmp_path: Path) -> None:
    """A pipe would make its reader wait for ever."""
    trap = demo("", **{"demo/tests/__init__.py": ""})
    environment = make_environment(tmp_path / "env", trap)
    meta = environment / site_of(environment) / "demo-1.0.dist-info"
    (meta / "METADATA").write_bytes(
        "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\nAuthor: J\xf6rg\n".encode("latin-1")
    )
    (meta / "RECORD").write_bytes((meta / "RECORD").read_bytes() + b"demo/gr\xf6\xdfe.txt,,\n")
    os.mkfifo(environment / site_of(environment) / "demo/pipe")
    judged = judge(environment, "/demo/tests/")
    assert judged.report
    assert "import demo" not in judged.report["failed_before"]
    assert f"{site_of(environment)}/demo/tests/" in removed(judged.plan)
    ownership = read_ownership(subject_of(detect_layout(environment)))
    assert ownership.owner(f"{site_of(environment)}/demo/__init__.py") == "demo"


def test_dry_run_with_the_oracle_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = make_environment(tmp_path / "env", demo("", **{"demo/tests/__init__.py": ""}))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    assert main(["clean", str(environment), "--oracle", "--dry-run"]) == 0
    assert "package-tests" in capsys.readouterr().out
    assert set(tmp_path.iterdir()) == before
