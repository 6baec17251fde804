"""_sysconfigdata made relocatable, also from a prefix with a space, and from text that is no literal."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from packager.errors import InputError
from packager.runtimes.sysconfig_data import relocatable

PREFIX = "/home/some one/py/3.11.7"
PATHS = {"prefix": "", "LIBDIR": "lib", "MANDIR": "share/man"}


def _variables(value: str, name: str = "LDFLAGS") -> dict[str, object]:
    source = f"build_time_vars = {{{name!r}: {value!r}, 'prefix': {PREFIX!r}, 'LIBDIR': '{PREFIX}/lib', 'PY_INT': 1}}"
    made = relocatable(source, where="x.py", paths=PATHS, build_paths=(PREFIX,))
    assert PREFIX not in made
    namespace: dict[str, dict[str, object]] = {}
    exec(made, namespace)  # what the import system does with it
    return namespace["build_time_vars"]


def test_paths_are_made_at_import_and_other_values_stay() -> None:
    variables = _variables("-O3 -Wall")
    assert variables == {
        "LDFLAGS": "-O3 -Wall",
        "prefix": sys.base_prefix,
        "LIBDIR": f"{sys.base_prefix}/lib",
        "PY_INT": 1,
    }


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (f"gcc -L{PREFIX}/lib -shared -Wl,-rpath,{PREFIX}/lib -O2", "gcc -shared -O2"),
        (f"{PREFIX}/share/man", ""),
        (f"-I. -I{PREFIX}/include", "-I."),
    ],
)
def test_words_with_the_original_path_are_dropped(value: str, left: str) -> None:
    assert _variables(value)["LDFLAGS"] == left


def test_quoted_words_stay_whole() -> None:
    value = f"'--prefix={PREFIX}' '--enable-shared' 'CFLAGS=-O2 -g' 'LDFLAGS=-L{PREFIX}/lib -Wl,-x'"
    assert shlex.split(str(_variables(value, "CONFIG_ARGS")["CONFIG_ARGS"])) == ["--enable-shared", "CFLAGS=-O2 -g"]


def test_a_quote_without_its_fellow_loses_the_value_and_not_the_build() -> None:
    assert _variables(f"it's {PREFIX}")["LDFLAGS"] == ""


@pytest.mark.parametrize(
    "source",
    [
        "build_time_vars = dict(a=__import__('os').system('touch owned'))",
        "build_time_vars = [1]",
        "build_time_vars = {",
        "",
        "build_time_vars = {}\nbuild_time_vars = {}",
    ],
)
def test_what_is_no_literal_is_refused_and_not_run(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="build_time_vars"):
        relocatable(source, where="x.py", paths=PATHS, build_paths=(PREFIX,))
    assert not (tmp_path / "owned").exists()


def test_in_a_virtual_environment_paths_are_those_of_its_base(tmp_path: Path) -> None:
    source = f"build_time_vars = {{'LIBDIR': '{PREFIX}/lib'}}"
    module = tmp_path / "data.py"
    module.write_text(relocatable(source, where="x.py", paths=PATHS, build_paths=(PREFIX,)))
    code = (
        f"import runpy, sys; sys.prefix = '/venv'; print(runpy.run_path({str(module)!r})['build_time_vars']['LIBDIR'])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == f"{sys.base_prefix}/lib"
