"""The running Python, and others of this machine, made self-contained: moved, run without the original, used."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runtimes_provisioned import Provisioned, other_interpreters, provision

from packager import targets
from packager.binaries.elf import glibc_floor
from packager.bundle import BundleTree
from packager.console import Console
from packager.errors import InputError
from packager.filesystem import tree_digest, walk_files
from packager.runtimes import HostRuntime, RuntimeRequest, locked_identity
from packager.runtimes.interpreter import describe

_IMPORT_ALL = """
import importlib, json, os, pathlib, platform, re, ssl, sys, sysconfig
folder = pathlib.Path(sysconfig.get_path("platstdlib"), "lib-dynload")
names = sorted({path.name.split(".")[0] for path in folder.glob("*.so")})
for name in names:
    importlib.import_module(name)
lines = [line.split(maxsplit=5) for line in open("/proc/self/maps") if " /" in line]
mapped = {line[5].strip() for line in lines if "x" in line[1]}
print(json.dumps({"names": names, "mapped": sorted(mapped), "version": platform.python_version(), "build": sys.version,
    "prefix": sys.prefix, "path": sys.path, "paths": sysconfig.get_paths(), "ssl": ssl.OPENSSL_VERSION,
    "libdir": sysconfig.get_config_var("LIBDIR")}))
"""


def _look(python: Provisioned) -> dict:
    return json.loads(python.run("-c", _IMPORT_ALL).stdout)


def test_imports_every_extension_module_without_the_original(provisioned: Provisioned, can_hide: None) -> None:
    seen = _look(provisioned)
    original = {path.name.split(".")[0] for path in (provisioned.original.stdlib / "lib-dynload").glob("*.so")}
    left_out = {name for name in original if any(f" {name}." in warning for warning in provisioned.warnings)}
    assert set(seen["names"]) == original - left_out
    assert left_out <= {"_tkinter", "nis"}
    assert seen["ssl"].startswith("OpenSSL")


def test_is_the_same_python_in_another_place(provisioned: Provisioned) -> None:
    seen = _look(provisioned)
    prefix = str(provisioned.tree.prefix)
    assert (seen["version"], seen["build"]) == (provisioned.original.version, sys.version)
    assert seen["prefix"] == prefix
    assert all(
        path.startswith(prefix) for path in (*filter(None, seen["path"]), *seen["paths"].values(), seen["libdir"])
    )
    assert str(provisioned.tree.site_packages) in seen["path"]


def test_loads_nothing_of_the_machine_but_glibc(provisioned: Provisioned) -> None:
    foreign = [path for path in _look(provisioned)["mapped"] if not path.startswith(str(provisioned.tree.prefix))]
    assert foreign
    assert all(
        re.match(r"(ld-linux|libc\.|libm\.|libdl\.|libpthread|librt|libutil|libresolv|libgcc_s)", Path(path).name)
        for path in foreign
    )


def test_libraries_named_by_the_user_do_not_come_in(provisioned: Provisioned, tmp_path: Path) -> None:
    """LD_LIBRARY_PATH with files that are no libraries: to look at one of them would end the process."""
    for library in (provisioned.tree.prefix / "lib").glob("*.so.*"):
        (tmp_path / library.name).write_text("not a library")
    provisioned.run("-c", "import ssl, sqlite3, ctypes, lzma, zlib", env={"LD_LIBRARY_PATH": str(tmp_path)})


def test_nothing_names_the_original(provisioned: Provisioned) -> None:
    needles = [path.encode() for path in provisioned.facts.build_paths]
    assert needles
    files = list(walk_files(provisioned.tree.root))
    assert len(files) > 500
    for path in files:
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
        assert not any(needle in content for needle in needles), path


def test_holds_what_belongs_to_the_interpreter_and_nothing_else(provisioned: Provisioned) -> None:
    prefix, minor = provisioned.tree.prefix, provisioned.original.minor
    assert sorted(path.name for path in prefix.iterdir()) in (
        ["bin", "include", "lib", "share", "ssl"],
        ["bin", "include", "lib", "ssl"],
        ["bin", "lib", "ssl"],
    )
    assert sorted(path.name for path in (prefix / "bin").iterdir()) == ["python", "python3", f"python{minor}"]
    assert list(provisioned.tree.site_packages.iterdir()) == []
    names = {path.name for path in walk_files(prefix)}
    assert not any(name.endswith((".pyc", ".a", ".la", ".pc")) or name == "EXTERNALLY-MANAGED" for name in names)
    for path in walk_files(prefix):
        if path.is_symlink():
            assert path.resolve().is_relative_to(prefix)


def test_licences_of_shared_libraries_come_along(provisioned: Provisioned) -> None:
    brought = {path.name for path in (provisioned.tree.prefix / "lib").glob("*.so.*")} - {
        f"libpython{provisioned.original.minor}.so.1.0"
    }
    if not brought or shutil.which("dpkg-query") is None:
        pytest.skip("no library of a Debian package was brought")
    texts = list((provisioned.tree.prefix / "share" / "licenses").glob("*/copyright"))
    assert texts
    assert all(text.stat().st_size > 100 for text in texts)


def test_glibc_floor_is_that_of_the_tree(provisioned: Provisioned) -> None:
    assert provisioned.facts.glibc_floor == glibc_floor(walk_files(provisioned.tree.prefix))
    assert re.fullmatch(r"2\.\d+", provisioned.facts.glibc_floor or "")


def test_certificates_can_be_used(provisioned: Provisioned) -> None:
    assert provisioned.facts.certificates is not None
    path = provisioned.tree.prefix / provisioned.facts.certificates
    code = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
    assert int(provisioned.run("-c", code, env={"SSL_CERT_FILE": str(path)}).stdout) > 50


def test_makes_virtual_environments(provisioned: Provisioned, tmp_path: Path) -> None:
    provisioned.run("-m", "venv", "--without-pip", str(tmp_path / "venv"))
    code = "import sys, sysconfig; print(sys.prefix, sysconfig.get_config_var('LIBDIR'), sep='|')"
    told = subprocess.run(
        [tmp_path / "venv/bin/python", "-Bc", code], capture_output=True, text=True, check=True, env={}
    )
    assert told.stdout.strip() == f"{tmp_path / 'venv'}|{provisioned.tree.prefix / 'lib'}"


def test_uv_installs_pip_a_wheel_and_a_c_extension(provisioned: Provisioned, tmp_path: Path) -> None:
    """The extension is built with the bundle's headers and settings, from a prefix with a space in it."""
    copy = tmp_path / "cöpy of it" / "python"
    shutil.copytree(provisioned.tree.prefix, copy, symlinks=True)
    project = tmp_path / "project"
    project.mkdir()
    (project / "setup.py").write_text(
        "from setuptools import Extension, setup\n"
        "setup(name='tiny-ext', ext_modules=[Extension('tiny_ext', ['tiny.c'])])\n"
    )
    (project / "tiny.c").write_text(
        '#include <Python.h>\nstatic struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "tiny_ext"};\n'
        "PyMODINIT_FUNC PyInit_tiny_ext(void) { return PyModule_Create(&def); }\n"
    )
    sources = [str(project)] if shutil.which("gcc") and (copy / "include").is_dir() else []
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}")
    assert uv
    command = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--link-mode",
        "copy",
        "--python",
        str(copy / "bin" / "python"),
        "pip",
        "six",
    ]
    subprocess.run([*command, *sources], check=True)
    code = "import six" + "; import tiny_ext" * len(sources)
    subprocess.run([copy / "bin/python", "-IBc", code], check=True, env={}, cwd="/")
    told = subprocess.run(
        [copy / "bin/python", "-IBm", "pip", "list"], check=True, env={}, cwd="/", capture_output=True, text=True
    )
    assert "six" in told.stdout


@pytest.mark.parametrize("executable", other_interpreters(), ids=str)
def test_other_pythons_of_this_machine(executable: Path, tmp_path: Path) -> None:
    """Among them Debian's own, whose dist-packages and local/bin must be gone."""
    if not (Path(describe(executable).stdlib) / "ensurepip").is_dir():
        pytest.skip("its standard library is incomplete")
    python = provision(executable, tmp_path / "höme 1", move_to=tmp_path / "ünder 2")
    seen = _look(python)
    assert seen["version"] == python.original.version
    assert seen["paths"]["purelib"] == str(python.tree.site_packages)
    assert seen["paths"]["scripts"] == str(python.tree.scripts)
    assert str(python.tree.site_packages) in seen["path"]
    assert not any("dist-packages" in path for path in seen["path"])
    foreign = [Path(path).name for path in seen["mapped"] if not path.startswith(str(python.tree.prefix))]
    assert not any(name.startswith(("libpython", "libssl", "libcrypto", "libz", "libexpat")) for name in foreign)
    (python.tree.site_packages / "lead.pth").write_text("/lead-was-read\n")
    assert "/lead-was-read" not in python.run("-c", "import sys; print(sys.path)").stdout
    (python.tree.site_packages / "lead.pth").write_text("import sys; sys.lead_was_read = True\n")
    assert python.run("-c", "import sys; print(sys.lead_was_read)").stdout.strip() == "True"


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    tree = BundleTree(root=tmp_path, target=targets.current(), python_version="3.11.7")
    tree.prefix.mkdir()
    (tree.prefix / "precious").write_text("mine")
    facts = HostRuntime().inspect(RuntimeRequest(python=None, target=targets.current()))
    with pytest.raises(InputError, match="is not empty"):
        HostRuntime().provision(tree, facts, console=Console(quiet=True))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["precious", "python"]


def test_a_killed_run_leaves_no_prefix_and_the_next_gives_an_equal_tree(
    tmp_path: Path, provisioned: Provisioned
) -> None:
    root = tmp_path / "bundle"
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from packager.runtimes import host\nfrom runtimes_provisioned import provision\n"
        "host.verify_copy = lambda *_: os.kill(os.getpid(), 9)\nprovision(Path(sys.executable), Path(sys.argv[1]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    killed = subprocess.run([sys.executable, "-c", code, str(root)], check=False, env=environment, capture_output=True)
    assert killed.returncode == -9, killed.stderr
    assert (root / "python.partial").is_dir()
    assert not (root / "python").exists()
    again = provision(Path(sys.executable), root)
    assert tree_digest(again.tree.root) == tree_digest(provisioned.tree.root)
    assert again.facts == provisioned.facts


def test_a_python_that_changed_since_it_was_locked_is_refused(tmp_path: Path, provisioned: Provisioned) -> None:
    stale = dataclasses.replace(provisioned.facts, identity={**provisioned.facts.identity, "content": "0" * 64})
    tree = BundleTree(root=tmp_path, target=targets.current(), python_version=stale.python_version)
    with pytest.raises(InputError, match="no longer the Python that was locked"):
        HostRuntime().provision(tree, stale, console=Console(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_runs_on_a_pristine_system(provisioned: Provisioned) -> None:
    """A root without Python and without network, such as `debootstrap --variant=minbase` makes."""
    root = os.environ.get("PACKAGER_PRISTINE_ROOT")
    if not root:
        pytest.skip("PACKAGER_PRISTINE_ROOT names no root folder")
    words = ["bwrap", "--ro-bind", root, "/", "--tmpfs", "/opt", "--ro-bind", str(provisioned.tree.root), "/opt/ü b"]
    words += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--unshare-net", "--die-with-parent", "--clearenv"]
    finished = subprocess.run(
        [*words, "/opt/ü b/python/bin/python", "-c", _IMPORT_ALL], check=False, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["prefix"] == "/opt/ü b/python"


def test_what_a_lock_holds_is_known_without_looking_at_each_file(monkeypatch: pytest.MonkeyPatch) -> None:
    request = RuntimeRequest(python=None, target=targets.current())
    expected = locked_identity(HostRuntime().inspect(request))
    monkeypatch.setattr("packager.runtimes.host.plan_copy", lambda *_, **__: pytest.fail("planned a copy"))
    assert HostRuntime().identify(request) == expected == {"name": "host", "python": platform.python_version()}
    with pytest.raises(InputError, match="is wanted"):
        HostRuntime().identify(dataclasses.replace(request, python="2.7"))
