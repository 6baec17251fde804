"""install: with a real pip and real wheels, held by the lock, safe against options in names, and movable afterwards."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from fake_bundles import REPOSITORY, call, make_wheel
from portable import packages
from portable.bundle import read
from portable.errors import HelperError, UsageError
from portable.packages import Request, explain, held_by_lock, pip_command

from packager.bundle import BundleTree


def installed(tree: BundleTree) -> dict[str, str]:
    listed = json.loads(
        call(tree.root / "manage.sh", "exec", "--", "python", "-m", "pip", "list", "--format=json").stdout
    )
    return {entry["name"]: entry["version"] for entry in listed}


def test_install_holds_the_lock_and_scripts_survive_a_move(pip_bundle: BundleTree, tmp_path: Path) -> None:
    """One road, since pip is slow: conflict, --force, a wheel folder, requirement files, pip check, move, uninstall."""
    root = pip_bundle.root
    wheels = tmp_path / "the wheels"
    for version in ("1.0", "2.0"):
        make_wheel(wheels, "locked", version)
    wheel = make_wheel(tmp_path, "wanted", requires=("locked>=1",))
    (pip_bundle.portable / "lock.txt").write_text("Locked==1.0\n", encoding="utf-8")
    install = root / "install_package.sh"

    done = call(install, "--wheels-dir", wheels, wheel.name, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert installed(pip_bundle)["locked"] == "1.0"

    refused = call(install, "--wheels-dir", "the wheels", "locked==2.0", cwd=tmp_path)
    assert refused.returncode == 1
    assert "The lock of this bundle holds Locked==1.0." in refused.stderr
    assert "--force" in refused.stderr
    assert installed(pip_bundle)["locked"] == "1.0"

    wish = tmp_path / "my requirements.txt"
    wish.write_text("locked==2.0\n", encoding="utf-8")
    make_wheel(wheels, "picky", requires=("locked<2",))
    assert call(install, "--wheels-dir", wheels, "picky").returncode == 0
    forced = call(install, "--force", "--wheels-dir", wheels, "-r", wish)
    assert forced.returncode == 0
    assert installed(pip_bundle)["locked"] == "2.0"
    assert "picky 1.0 has requirement locked<2, but you have locked 2.0." in forced.stderr

    moved = tmp_path / "moved & 'gone'"
    root.rename(moved)
    script = moved / "python/bin/wanted"
    assert call(script, cwd=tmp_path).stdout == f"wanted 1.0 on {moved}/python/bin/python\n"
    link = tmp_path / "link"
    link.symlink_to(script)
    assert call(link).stdout == f"wanted 1.0 on {moved}/python/bin/python\n"
    assert str(root).encode() not in script.read_bytes()
    removed = call(moved / "manage.sh", "exec", "--", "python", "-m", "pip", "uninstall", "-y", "wanted")
    assert removed.returncode == 0
    assert not script.exists()


def test_failures_are_explained(pip_bundle: BundleTree, tmp_path: Path) -> None:
    """A name that does not exist, a wheel for Windows, an empty wheel folder, options as names, a lost lock."""
    install = pip_bundle.root / "install_package.sh"
    foreign = make_wheel(tmp_path, "foreign").rename(tmp_path / "foreign-1.0-cp39-cp39-win_amd64.whl")
    wheels = make_wheel(tmp_path / "wheels", "thing").parent
    before = installed(pip_bundle)
    for words, said in (
        (["--wheels-dir", wheels, "no-such-thing"], "Check the spelling"),
        ([foreign], "for another system"),
        (["--wheels-dir", tmp_path / "empty", "x"], "holds no wheels"),
        (["--wheels-dir", wheels, "--", "--target=/elsewhere"], "pip did not install it"),
        (["--wheels-dir", wheels, "--", "-e."], "pip did not install it"),
        (["-r", tmp_path / "none.txt"], "pip did not install it"),
    ):
        finished = call(install, *words)
        assert finished.returncode == 1, words
        assert said in finished.stderr, words
    (pip_bundle.portable / "lock.txt").unlink()
    assert "lock.txt is missing" in call(install, wheels / "thing-1.0-py3-none-any.whl").stderr
    assert installed(pip_bundle) == before


def test_nothing_named_can_become_an_option_of_pip(make_bundle) -> None:
    bundle = read(make_bundle().root)
    hostile = ("--target=/x", "-e.", "; rm -rf /", "$(id)", "--")
    words = pip_command(bundle, Request(requirements=hostile, files=("--log=/x",)))
    assert words[-len(hostile) - 1 :] == ["--", *hostile]
    assert words[words.index("--log=/x") - 1] == "--requirement"
    assert pip_command(bundle, Request(requirements=("x",), force=True)).count("--constraint") == 0
    with pytest.raises(UsageError):
        pip_command(bundle, Request())


def test_a_wheel_folder_alone_means_all_of_it(make_bundle, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    wheels = [make_wheel(folder, name) for name in ("a", "b")]
    words = pip_command(read(make_bundle().root), Request(wheels_dir=str(folder)))
    assert words[words.index("--") + 1 :] == [str(wheel) for wheel in wheels]
    assert "--no-index" in words
    shutil.rmtree(folder)
    with pytest.raises(HelperError, match="holds no wheels"):
        pip_command(read(make_bundle("other").root), Request(wheels_dir=str(folder)))


def test_what_the_lock_holds_is_found_by_any_spelling(make_bundle) -> None:
    tree = make_bundle()
    (tree.portable / "lock.txt").write_text("Foo.Bar==1\nnumpy==2.0\n\n# note\n", encoding="utf-8")
    bundle = read(tree.root)
    assert held_by_lock(bundle, ["foo_bar>=2"]) == ["Foo.Bar==1"]
    assert held_by_lock(bundle, ["dir/NumPy-1.0-py3-none-any.whl", "foo-bar[x]~=3"]) == ["Foo.Bar==1", "numpy==2.0"]
    assert held_by_lock(bundle, ["num", "", "--numpy", "é"]) == []


def test_every_remedy_has_a_pattern_that_compiles_and_the_first_match_wins() -> None:
    remedies = json.loads((REPOSITORY / "helper_scripts/portable/pip_remedies.json").read_text(encoding="utf-8"))
    for entry in remedies:
        assert set(entry) == {"pattern", "remedy"}
        re.compile(entry["pattern"])
    assert explain("OSError: [Errno 28] No space left on device") == [remedies[4]["remedy"]]
    assert explain("ResolutionImpossible\nNo matching distribution found") == [remedies[0]["remedy"]]
    assert explain("all is well") == []
    assert packages.explain("[Errno -2] Name or service not known")[0].startswith("The package index cannot")
