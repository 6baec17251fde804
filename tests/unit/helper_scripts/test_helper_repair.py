"""repair: from a zip, from parts, over the network with servers of every kind; nothing else is touched."""

from __future__ import annotations

import functools
import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_bundles import call, facts, fill_bundle
from portable import bundle as bundles
from portable import inspection
from range_server import Manner, serving

from packager import targets
from packager.archive.archive_tree import archive_tree
from packager.archive.extract import Limits, extract
from packager.console import Console
from packager.release import is_first_part

NAME = f"fake-1.2.3-{targets.current().name}"
SITE = "python/lib/python3.11/site-packages"
BIG = 400_000  # bytes of each large file


@dataclass(frozen=True)
class Shipped:
    """The archives a bundle came in, and the bundle unzipped from them."""

    archives: tuple[Path, ...]
    root: Path

    def call(self, *words: str | Path) -> dict[str, object]:
        done = call(self.root / "manage.sh", *words, "--json", no_proxy="*")
        assert done.returncode in (0, 1), done.stderr
        value: dict[str, object] = json.loads(done.stdout)
        return {**value, "stderr": done.stderr, "code": done.returncode}

    @property
    def damage(self) -> list[str]:
        """What `verify` calls missing or damaged, looked at in this process because that is quicker."""
        return [item.path for item in inspection.inspect(bundles.read(self.root)).damage]

    def harm(self) -> None:
        """One of each: lost, changed, cut short, not executable any more, a link astray, an empty folder gone."""
        (self.root / "ComfyUI/a é.txt").unlink()
        (self.root / "ComfyUI/custom_nodes/shipped/node.py").write_text("ruined", encoding="utf-8")
        (self.root / f"{SITE}/big-1.bin").write_bytes(b"short")
        (self.root / "python/tool").chmod(0o644)
        (self.root / "python/link").unlink()
        (self.root / "python/link").symlink_to("elsewhere")
        (self.root / "ComfyUI/input/3d").rmdir()


HARMED = [
    "ComfyUI/a é.txt",
    "ComfyUI/custom_nodes/shipped/node.py",
    "ComfyUI/input/3d",
    f"{SITE}/big-1.bin",
    "python/link",
    "python/tool",
]


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], tuple[Path, ...]]:
    """Makes the release of a small bundle; `limit` is the largest size of a part in bytes."""

    @functools.cache
    def make(limit: int) -> tuple[Path, ...]:
        folder = tmp_path_factory.mktemp("release")
        tree = fill_bundle(folder / "build" / "fake", targets.current())
        chance = random.Random(1)
        texts = {
            "ComfyUI/a é.txt": "one",
            "ComfyUI/custom_nodes/shipped/node.py": "x = 1",
            "ComfyUI/models/small.safetensors": "weights",
            "python/tool": "#!/bin/sh\n",
        }
        for path, text in texts.items():
            (tree.root / path).parent.mkdir(parents=True, exist_ok=True)
            (tree.root / path).write_text(text, encoding="utf-8")
        (tree.root / "python/tool").chmod(0o755)
        (tree.root / "python/link").symlink_to("tool")
        (tree.root / "ComfyUI/input/3d").mkdir(parents=True)
        (tree.root / SITE).mkdir(parents=True)
        for number in range(3):
            (tree.root / f"{SITE}/big-{number}.bin").write_bytes(chance.randbytes(BIG))
            (tree.app / f"large-{number}.bin").write_bytes(chance.randbytes(BIG))
        (folder / "release").mkdir()
        done = archive_tree(
            tree.root, folder / "release" / f"{NAME}.zip", console=Console(quiet=True), epoch=1700000000,
            root_name="fake", bundle=facts(targets.current()), manifest_member="portable/manifest.json",
            max_part_size=limit, is_first=is_first_part,
        )  # fmt: skip
        return tuple(info.path for info in done.archives)

    return make


@pytest.fixture
def ship(tmp_path: Path, releases: Callable[[int], tuple[Path, ...]]) -> Callable[..., Shipped]:
    """Unzips the release."""

    def make(limit: int = 2**31) -> Shipped:
        archives = tuple(Path(shutil.copy(path, tmp_path)) for path in releases(limit))
        home = tmp_path / "my höme"
        extract(archives[0], home, console=Console(quiet=True), limits=Limits())
        root = home / "fake"
        (root / "python/bin").mkdir()
        (root / "python/bin/python").symlink_to(Path(sys.executable).resolve())
        return Shipped(archives, root)

    return make


def test_each_kind_of_damage_is_mended_and_nothing_else_touched(ship: Callable[..., Shipped]) -> None:
    shipped = ship()
    assert shipped.damage == []
    shipped.harm()
    own = {
        "ComfyUI/models/small.safetensors": "my own of this name",
        "ComfyUI/custom_nodes/mine/node.py": "mine",
        "ComfyUI/user/default/workflows/w.json": "{}",
        "ComfyUI/output/x.png": "picture",
    }
    for path, text in own.items():
        (shipped.root / path).parent.mkdir(parents=True, exist_ok=True)
        (shipped.root / path).write_text(text, encoding="utf-8")
    assert shipped.damage == HARMED
    assert shipped.call("repair", shipped.archives[0], "--dry-run")["applied"] is False
    assert shipped.damage == HARMED
    done = shipped.call("repair", shipped.archives[0])
    assert sorted(done["files"]) == HARMED  # type: ignore[type-var]
    assert done["left"] == {"ComfyUI/models/small.safetensors": "it is yours"}
    assert shipped.damage == []
    assert {path: (shipped.root / path).read_text(encoding="utf-8") for path in own} == own
    assert (shipped.root / "python/tool").stat().st_mode & 0o777 == 0o755
    assert call(shipped.root / "manage.sh", "rollback").returncode == 0
    assert shipped.damage == HARMED


def test_the_zip_beside_the_folder_is_found_and_none_is_told(ship: Callable[..., Shipped]) -> None:
    shipped = ship()
    (shipped.root / "ComfyUI/a é.txt").unlink()
    told = call(shipped.root / "manage.sh", "repair")
    assert told.returncode == 2
    assert f"{NAME}.zip or its parts are not in" in told.stderr
    shutil.copy(shipped.archives[0], shipped.root.parent)
    assert call(shipped.root / "manage.sh", "repair").stdout.splitlines()[0].strip() == "ComfyUI/a é.txt"
    assert call(shipped.root / "manage.sh", "repair").stdout == "nothing to put back\n"


def test_parts_are_taken_from_their_folder_and_a_missing_one_is_named(ship: Callable[..., Shipped]) -> None:
    shipped = ship(limit=1_000_000)
    assert len(shipped.archives) >= 3
    for number in range(3):
        (shipped.root / f"ComfyUI/large-{number}.bin").unlink()
    away = shipped.archives[-1].rename(shipped.archives[-1].with_suffix(".away"))
    failed = shipped.call("repair", shipped.archives[0])
    assert failed["applied"] is False
    assert f"{shipped.archives[-1].name} is wanted, and is not in" in str(failed["error"])
    assert len(shipped.damage) == 3
    away.rename(shipped.archives[-1])
    assert shipped.call("repair", shipped.archives[0].parent)["applied"] is True
    assert shipped.damage == []


@pytest.mark.parametrize("limit", [2**31, 1_000_000])
def test_over_the_network_only_what_is_needed_comes(ship: Callable[..., Shipped], limit: int) -> None:
    shipped = ship(limit)
    (shipped.root / "ComfyUI/a é.txt").unlink()
    (shipped.root / "ComfyUI/large-1.bin").write_bytes(b"x")
    with serving(shipped.archives[0].parent) as served:
        done = shipped.call("repair", f"{served.url}{shipped.archives[0].name}?token=secret")
    assert done["applied"] is True, done
    assert shipped.damage == []
    assert BIG < served.sent < BIG + 300_000
    assert all(served.ranges)
    records = (shipped.root / "portable/state/transactions/0001/transaction.json").read_text(encoding="utf-8")
    assert "secret" not in records


def test_a_server_without_ranges_sends_all_of_it(ship: Callable[..., Shipped]) -> None:
    shipped = ship()
    shipped.harm()
    with serving(shipped.archives[0].parent, "no ranges") as served:
        done = shipped.call("repair", f"{served.url}{NAME}.zip")
    assert done["applied"] is True
    assert "All of it is fetched (" in str(done["stderr"])
    assert shipped.damage == []


@pytest.mark.parametrize(
    ("manner", "says"),
    [
        ("other range", "sends other bytes than asked for"),
        ("shifted", "damaged"),
        ("changing", "has changed it meanwhile"),
        ("cut off", "broke off"),
    ],
)
def test_a_server_that_lies_changes_nothing(ship: Callable[..., Shipped], manner: Manner, says: str) -> None:
    shipped = ship()
    (shipped.root / "ComfyUI/large-1.bin").unlink()
    with serving(shipped.archives[0].parent, manner) as served:
        failed = shipped.call("repair", f"{served.url}{NAME}.zip")
    assert failed["applied"] is False
    assert says in str(failed["error"])
    assert shipped.damage == ["ComfyUI/large-1.bin"]
    assert not (shipped.root / "portable/state/active").exists()


def test_a_server_that_is_busy_now_and_then_is_asked_again(ship: Callable[..., Shipped]) -> None:
    shipped = ship()
    (shipped.root / "ComfyUI/large-1.bin").unlink()
    with serving(shipped.archives[0].parent, "busy") as served:
        assert shipped.call("repair", f"{served.url}{NAME}.zip")["applied"] is True


def test_an_archive_of_another_version_and_no_zip_at_all(ship: Callable[..., Shipped], tmp_path: Path) -> None:
    shipped = ship()
    manifest = shipped.root / "portable/manifest.json"
    text = manifest.read_text(encoding="utf-8")
    other = json.loads(text)
    next(item for item in other["entries"] if item["path"] == "ComfyUI/a é.txt")["size"] = 4
    manifest.write_text(json.dumps(other), encoding="utf-8")
    failed = shipped.call("repair", shipped.archives[0])
    assert "is not the file this bundle was shipped with" in str(failed["error"])
    manifest.write_text(text, encoding="utf-8")
    (shipped.root / "ComfyUI/a é.txt").unlink()
    (tmp_path / "torn.zip").write_bytes(shipped.archives[0].read_bytes()[:5000])
    assert "torn.zip is no whole zip" in str(shipped.call("repair", tmp_path / "torn.zip")["error"])
    with serving(tmp_path) as served:
        assert "answers 404" in str(shipped.call("repair", f"{served.url}other.zip")["error"])
    for bad in ("http://example.org/x.zip", "ftp://x/y.zip", "file:///etc/passwd", "/no/such.zip"):
        assert call(shipped.root / "manage.sh", "repair", bad).returncode == 2


def test_a_lost_manifest_comes_from_the_archive_of_this_very_bundle(ship: Callable[..., Shipped]) -> None:
    shipped = ship(limit=1_000_000)
    (shipped.root / "portable/manifest.json").unlink()
    (shipped.root / "ComfyUI/large-1.bin").unlink()
    assert shipped.call("repair", shipped.archives[0].parent)["applied"] is True
    assert shipped.damage == []
    (shipped.root / "portable/manifest.json").unlink()
    described = shipped.root / "portable/bundle.json"
    described.write_text(described.read_text(encoding="utf-8").replace("1.2.3", "1.2.4"), encoding="utf-8")
    failed = shipped.call("repair", shipped.archives[0])
    assert "give the archive of this bundle" in str(failed["error"])


def test_what_stands_in_the_way_is_left_and_told(ship: Callable[..., Shipped]) -> None:
    shipped = ship()
    (shipped.root / "ComfyUI/a é.txt").unlink()
    (shipped.root / "ComfyUI/a é.txt").mkdir()
    (shipped.root / "ComfyUI/a é.txt/mine.txt").touch()
    shutil.rmtree(shipped.root / "python/lib")
    (shipped.root / "python/lib").write_text("a file", encoding="utf-8")
    done = shipped.call("repair", shipped.archives[0])
    assert done["applied"] is False
    assert set(done["left"]) == {"ComfyUI/a é.txt", *(f"{SITE}/big-{number}.bin" for number in range(3))}  # type: ignore[call-overload]
    assert (shipped.root / "ComfyUI/a é.txt/mine.txt").exists()


def test_verify_knows_unknown_files_and_tells_why_something_is_not_there(ship: Callable[..., Shipped]) -> None:
    shipped = ship()
    record = {"format": 1, "rules": [{"id": "tests", "why": "nobody runs them", "removed": {"python/lib": ["test/"]}}]}
    (shipped.root / "portable/removed.json").write_text(json.dumps(record), encoding="utf-8")
    (shipped.root / "python/lib/stray").mkdir()
    (shipped.root / "python/lib/stray/a.py").touch()
    (shipped.root / "ComfyUI/notes.txt").touch()
    (shipped.root / "ComfyUI/models/my.safetensors").touch()
    found = {item["path"]: item["files"] for item in shipped.call("verify")["unknown"]}  # type: ignore[attr-defined]
    assert found.pop("python/bin/") == 1
    assert found.pop("portable/removed.json") == 1
    assert found == {"ComfyUI/notes.txt": 1, "python/lib/stray/": 1}
    for word in ("verify", "doctor"):
        done = call(shipped.root / "manage.sh", word, "python/lib/test/x.py", "python/tool", "ComfyUI/notes.txt")
        assert done.returncode == 0
        assert done.stdout.splitlines() == [
            "python/lib/test/x.py: left out when the bundle was built, by rule tests: nobody runs them",
            "python/tool: as it should be",
            "ComfyUI/notes.txt: unknown: it was not shipped, and no helper put it there",
        ]
        assert call(shipped.root / "manage.sh", word, "../../etc/passwd").returncode == 2
    missed = str(shipped.root / "python/lib/test/x.py")  # as a log names it
    assert "by rule tests" in call(shipped.root / "manage.sh", "doctor", missed, "--json").stdout
    assert call(shipped.root / "manage.sh", "doctor", missed, "--report").returncode == 2
