"""Faults planted in a sound bundle, each of which its check must catch and name."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from proof_bundles import replace_program, replace_text, write_script

from packager import targets
from packager.bundle import BundleTree
from packager.errors import InputError
from packager.proof import app, checks, contents, programs
from packager.proof.site import Site
from packager.relocation import scan_leaks

OpenSite = Callable[..., Site]

# -- layout ------------------------------------------------------------------------------------------------------------


def test_layout_of_a_sound_bundle(tree: BundleTree) -> None:
    assert checks.check_layout(tree).passed


def test_missing_parts_are_all_named(tree: BundleTree) -> None:
    shutil.rmtree(tree.app)
    (tree.root / "manage.sh").unlink()
    replace_text(tree.root / "run_comfyui.sh", "#!/bin/sh\n")  # without its execute bit
    detail = checks.check_layout(tree).detail
    assert [line for line in detail.splitlines() if line] == [
        "ComfyUI/ is missing",
        "run_comfyui.sh may not be executed",
        "manage.sh is missing",
    ]


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "ComfyUI/../../outside"])
def test_a_link_out_of_the_bundle_is_found(tree: BundleTree, target: str) -> None:
    (tree.root / "link").symlink_to(target)
    (tree.root / "inner").symlink_to("ComfyUI")
    verdict = checks.check_layout(tree)
    assert verdict.detail == f"link is a link to {target}, outside the bundle"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ("[]", "not format 1"),
        ('{"format": 2}', "not format 1"),
        ('{"format": 1, "target": "plan9-mips"}', "built for plan9-mips"),
        ('{"format": 1, "target": "TARGET", "python_version": 3.11}', "python_version is missing"),
        ('{"format": 1, "target": "TARGET", "python_version": "3.11", "launch": []}', "launch.args"),
    ],
)
def test_a_description_that_is_none_is_bad_input(tree: BundleTree, text: str, said: str) -> None:
    target = targets.current()
    replace_text(tree.portable / "bundle.json", text.replace("TARGET", target.name))
    with pytest.raises(InputError, match=said):
        checks.read_facts(tree.root, target)


def test_a_leaked_build_path_is_named_with_its_file(tree: BundleTree, open_site: OpenSite) -> None:
    site = open_site(tree)
    needles = ["/build/tree/of/somebody"]
    assert contents.check_leaks(site, scan_leaks, needles).passed
    (tree.site_packages / "direct_url.json").write_text('{"url": "file:///build/tree/of/somebody/x.whl"}')
    verdict = contents.check_leaks(site, scan_leaks, needles)
    assert not verdict.passed
    assert "site-packages/direct_url.json: byte " in verdict.detail


# -- environment -------------------------------------------------------------------------------------------------------


def test_environment_of_a_sound_bundle(tree: BundleTree, open_site: OpenSite) -> None:
    verdict, environment = checks.bundle_environment(open_site(tree))
    assert verdict.passed
    assert environment["PATH"].split(":")[0] == str(tree.scripts)


def test_a_helper_that_runs_another_python_fails(tree: BundleTree, open_site: OpenSite) -> None:
    replace_program(tree.root / "manage.sh", "#!/bin/sh\necho '[\"/usr\", {}]'\n")
    verdict, _ = checks.bundle_environment(open_site(tree))
    assert "runs the Python of /usr" in verdict.detail


@pytest.mark.parametrize("body", ["exit 0", "echo oops >&2; exit 1"])
def test_a_helper_that_runs_nothing_fails(tree: BundleTree, open_site: OpenSite, body: str) -> None:
    replace_program(tree.root / "manage.sh", f"#!/bin/sh\n{body}\n")
    verdict, environment = checks.bundle_environment(open_site(tree))
    assert not verdict.passed
    assert "ended with exit code" in verdict.detail
    assert environment


# -- console scripts ---------------------------------------------------------------------------------------------------

SCRIPTS = {
    "helps": ("import sys; sys.exit(sys.argv[1] != '--help')", None),
    "tells-version": ("import sys; sys.exit(sys.argv[1] != '--version')", None),
    "starts": ("import sys; sys.exit('no such option')", None),
    "wants-another-module": ("import absent_dependency", None),
    "lost-its-module": ("import lost.inner", "No module named 'lost'"),
    "lost-its-function": ("from sound import vanished", "cannot import name 'vanished'"),
    "crashes": ("import os; os.abort()", "killed by signal 6"),
}
MODULES = {"lost-its-module": "lost.inner:main", "lost-its-function": "sound:vanished"}
FIRST_LINES = {
    "build-path": "#!/build/tree/of/somebody/python/bin/python3.11",
    "host-python": "#!/usr/bin/python3",
    "env-python": "#!/usr/bin/env python3.11",
    "empty-line": "#!",
}


def test_scripts_that_run_or_start_pass_and_all_others_are_named(tree: BundleTree, open_site: OpenSite) -> None:
    for name, (body, _) in SCRIPTS.items():
        write_script(tree.scripts / name, body + "\n")
    for name, line in FIRST_LINES.items():
        replace_program(tree.scripts / name, f"{line}\nprint('runs')\n")
    replace_text(tree.scripts / "not-executable", "#!/bin/sh\n")
    site = open_site(tree)
    names = {**SCRIPTS, **FIRST_LINES, "not-executable": None}
    verdict = programs.check_scripts(site, {name: MODULES.get(name, "sound:main") for name in names})
    faults = verdict.detail
    assert not verdict.passed
    for name, (_, fault) in SCRIPTS.items():
        assert (f"/bin/{name}: " in faults) == (fault is not None), name
        assert fault is None or fault in faults
    for name, line in FIRST_LINES.items():
        assert f"/bin/{name}: line 1 asks for '{line[2:]}'" in faults
    assert "/bin/not-executable: ended with exit code 126" in faults


def test_scripts_that_only_start_are_listed(tree: BundleTree, open_site: OpenSite) -> None:
    write_script(tree.scripts / "starts", SCRIPTS["starts"][0] + "\n")
    verdict = programs.check_scripts(open_site(tree), {"sound": "sound:main", "starts": "sound:main"})
    assert verdict.passed
    assert "neither --help nor --version: starts" in verdict.detail


def test_a_script_that_hangs_at_version_alone_only_starts(tree: BundleTree, open_site: OpenSite) -> None:
    replace_program(tree.scripts / "odd", "#!/bin/sh\n[ $1 = --help ] && exit 1\nsleep 300\n")
    verdict = programs.check_scripts(open_site(tree, script=2), {"odd": "sound:main"})
    assert "neither --help nor --version: odd" in verdict.detail


def test_a_script_that_hangs_is_named(tree: BundleTree, open_site: OpenSite) -> None:
    write_script(tree.scripts / "hangs", "import time; time.sleep(300)\n")
    verdict = programs.check_scripts(open_site(tree, script=1), {"hangs": "sound:main"})
    assert "/bin/hangs: took longer than 1 s" in verdict.detail
    assert not verdict.passed


# -- installing --------------------------------------------------------------------------------------------------------


SAMPLE = '"${0%/*}/python/bin/portable-proof-sample"'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("echo 'no network' >&2; exit 1", "exit code 1: no network"),
        ("exit 0", "ended with 0, but .*portable-proof-sample is not there"),
        (f"printf '#!/build/bin/python3\n' > {SAMPLE}", "asks for '/build/bin/python3'"),
        (f"printf '#!/bin/sh\necho /usr\n' > {SAMPLE}; chmod +x {SAMPLE}", "ended with exit code 0: /usr"),
    ],
)
def test_a_broken_install_package_fails(tree: BundleTree, open_site: OpenSite, body: str, said: str) -> None:
    replace_program(tree.root / "install_package.sh", f"#!/bin/sh\n{body}\n")
    verdict = programs.check_install(open_site(tree))
    assert not verdict.passed
    assert re.search(said, verdict.detail)


# -- the app -----------------------------------------------------------------------------------------------------------


def test_quick_test_of_a_sound_bundle(tree: BundleTree, open_site: OpenSite) -> None:
    verdict = app.check_quick_test(open_site(tree))
    assert (verdict.passed, verdict.detail) == (True, "the app starts, 1 custom nodes are loaded")


def test_a_node_that_fails_although_the_exit_code_is_0(tree: BundleTree, open_site: OpenSite) -> None:
    node = tree.nodes / "bad node"
    node.mkdir()
    (node / "__init__.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")
    verdict = app.check_quick_test(open_site(tree))
    assert not verdict.passed
    assert "bad node (IMPORT FAILED): ImportError: libGL.so.1" in verdict.detail
    assert "good_node" not in verdict.detail
    assert "opencv-python-headless" in (verdict.remedy or "")


def test_an_app_that_hangs_at_start_fails(tree: BundleTree, open_site: OpenSite) -> None:
    replace_text(tree.app / "main.py", "import time; time.sleep(300)")
    verdict = app.check_quick_test(open_site(tree, quick_test=1))
    assert not verdict.passed
    assert "took longer than 1 s" in verdict.detail
    assert running_from(tree.root) == []


@pytest.mark.parametrize(
    ("main", "said"),
    [("import absent", "No module named 'absent'"), ("", "does not tell that it loaded good_node")],
)
def test_an_app_that_crashes_or_loads_nothing_fails(
    tree: BundleTree, open_site: OpenSite, main: str, said: str
) -> None:
    replace_text(tree.app / "main.py", main)
    verdict = app.check_quick_test(open_site(tree))
    assert not verdict.passed
    assert said in verdict.detail


def test_a_helper_that_ends_with_0_and_does_nothing_fails(tree: BundleTree, open_site: OpenSite) -> None:
    replace_program(tree.root / "run_comfyui.sh", "#!/bin/sh\nexit 0\n")
    site = open_site(tree)
    assert not app.check_quick_test(site).passed
    assert "ended with exit code 0 before it answered" in app.check_server(site).detail


def test_server_of_a_sound_bundle(tree: BundleTree, open_site: OpenSite) -> None:
    assert app.check_server(open_site(tree)).passed


IGNORES_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
LEAVES_A_CHILD = "import subprocess; subprocess.Popen(['sh', '-c', 'trap \"\" INT; sleep 300'])\n"


@pytest.mark.parametrize(
    ("first", "limits", "said"),
    [
        (IGNORES_CTRL_C, {"server_stop": 1}, "did not end within 1 s of Ctrl-C"),
        (LEAVES_A_CHILD, {}, "left 2 process(es) running"),
        ("import time; time.sleep(300)\n", {"server_start": 1}, "did not answer within 1 s"),
        ("1 / 0\n", {}, "ended with exit code 1 before it answered"),
    ],
)
def test_servers_that_misbehave_fail_and_none_survives(
    tree: BundleTree, open_site: OpenSite, first: str, limits: dict[str, float], said: str
) -> None:
    replace_text(tree.app / "main.py", first + (tree.app / "main.py").read_text())
    verdict = app.check_server(open_site(tree, **limits))
    assert not verdict.passed
    assert said in verdict.detail
    assert running_from(tree.root) == []


def test_a_server_without_object_info_fails(tree: BundleTree, open_site: OpenSite) -> None:
    main = (tree.app / "main.py").read_text()
    replace_text(tree.app / "main.py", main.replace('"/object_info")', '"/other")'))
    assert app.check_server(open_site(tree)).detail.startswith("GET /object_info: 404")


def running_from(root: Path) -> list[str]:
    """Command lines of processes that still run from `root`."""
    found = []
    for link in Path("/proc").glob("[0-9]*/exe"):
        try:
            found += [str(link)] if str(link.readlink()).startswith(str(root)) else []
        except OSError:
            continue
    return found
