"""SBOM and licence texts, of bundles made of real metadata files."""

from __future__ import annotations

import io
import json
from pathlib import Path, PurePosixPath

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from packager.bundle import BundleTree
from packager.console import Console
from packager.filesystem import tree_digest
from packager.lock import Lock, LockedPackage, LockedRepository
from packager.papers import write_papers
from packager.papers.components import Component
from packager.papers.inventory import inventory
from packager.papers.sbom import licences
from packager.papers.table import papers_table
from packager.resolution.conflicts import Wish
from packager.targets import get

EPOCH = 1_700_000_000
BUNDLE = {"name": "my-comfy", "version": "1.0", "description": "mine", "target": "linux-x86_64"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
ONE, TWO = "a" * 64, "b" * 64


def _distribution(site: Path, name: str, version: str, *lines: str, texts: tuple[str, ...] = ()) -> None:
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    head = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines]
    (info / "METADATA").write_text("\n".join(head) + "\n")
    (info / "INSTALLER").write_text("uv\n")
    for text in texts:
        path = site / text
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"licence text of {name}: {text}\n")
    recorded = [f"{info.name}/METADATA,,", f"{info.name}/INSTALLER,,", *(f"{text},," for text in texts)]
    (info / "RECORD").write_text("\n".join([*recorded, f"{info.name}/licenses/GONE,,", f"{info.name}/RECORD,,", ""]))


def make_bundle(root: Path) -> tuple[BundleTree, Lock]:
    tree = BundleTree(root=root, target=get("linux-x86_64"), python_version="3.11.7")
    site = tree.site_packages
    _distribution(
        site, "Alpha_One", "1.0", "License-Expression: MIT OR Apache-2.0", "License-File: vendor/x/COPYING",
        "Requires-Dist: beta[fast]>=1", 'Requires-Dist: nowhere; sys_platform == "win32"',
        "Project-URL: Homepage, https://alpha.example/",
        texts=("Alpha_One-1.0.dist-info/licenses/LICENSE", "Alpha_One-1.0.dist-info/licenses/vendor/x/COPYING",
               "alpha_one/data/dragon_LICENSE.txt", "alpha_one/license.py"),
    )  # fmt: skip
    _distribution(
        site, "beta", "2.0", "License: Apache 2.0", "Provides-Extra: fast", 'Requires-Dist: gamma; extra == "fast"',
        'Requires-Dist: delta; extra == "slow"', texts=("beta-2.0.dist-info/LICENSE.txt",),
    )  # fmt: skip
    _distribution(site, "gamma", "3.0", "Classifier: License :: OSI Approved :: MIT License")
    _distribution(site, "delta", "4.0", "Classifier: License :: OSI Approved :: BSD License")
    for folder, text in ((tree.app, "GNU GENERAL PUBLIC LICENSE\nVersion 3\n"), (tree.nodes / "node", "MIT License\n")):
        folder.mkdir(parents=True)
        (folder / "LICENSE").write_text(text)
    (tree.nodes / "node" / "web").mkdir()
    (tree.nodes / "node" / "web" / "NOTICE.md").write_text("of the web part")
    (tree.nodes / "node" / "pyproject.toml").write_text('[project]\nlicense = "MIT"\n')
    (tree.stdlib / "LICENSE.txt").write_text("PSF\n")
    (tree.prefix / "share/licenses/libssl3").mkdir(parents=True)
    (tree.prefix / "share/licenses/libssl3/copyright").write_text("OpenSSL\n")
    tree.portable.mkdir()
    packages = (
        LockedPackage(name="alpha-one", version="1.0", url=None, hashes=(f"sha256:{ONE}",), via=("ComfyUI",)),
        LockedPackage(name="beta", version="2.0", url=None, hashes=(f"sha256:{ONE}", f"sha256:{TWO}"), via=("node",)),
        LockedPackage(name="gamma", version="2.9", url=None, hashes=(f"sha256:{TWO}",), via=("beta",)),
    )
    lock = Lock(
        version_id="v", recipe_digest="r", target="linux-x86_64", accelerator=None,
        runtime={"name": "host", "python": "3.11.7"},
        repositories=(
            LockedRepository(name="ComfyUI", url="https://github.com/a/ComfyUI.git", ref="v1", commit=COMMIT, tree="t"),
            LockedRepository(name="node", url="/home/me/node", ref=None, commit="", tree=f"sha256:{TWO}"),
        ),
        packages=packages,
        asked=(Wish(layer="node", file="requirements.txt", line=1, text="beta"),),
    )  # fmt: skip
    return tree, lock


def _papers(root: Path) -> tuple[BundleTree, str]:
    tree, lock = make_bundle(root)
    console = Console(stream=(said := io.StringIO()))
    write_papers(tree, lock, BUNDLE, epoch=EPOCH, console=console)
    return tree, said.getvalue()


@pytest.fixture
def bundle(tmp_path: Path) -> BundleTree:
    return _papers(tmp_path / "bundle")[0]


@pytest.fixture
def document(bundle: BundleTree) -> dict:
    return json.loads((bundle.portable / "sbom.cdx.json").read_text())


def _by_name(document: dict) -> dict[str, dict]:
    return {component["name"]: component for component in document["components"]}


def test_the_document_follows_the_official_schema(bundle: BundleTree) -> None:
    text = (bundle.portable / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    broken = text.replace('"type": "library"', '"type": "libary"', 1)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


def test_every_part_is_there_by_its_package_url(document: dict) -> None:
    assert sorted(component["purl"] for component in document["components"]) == [
        "pkg:generic/libssl3",
        f"pkg:generic/node@sha256:{TWO}",
        "pkg:generic/python@3.11.7",
        f"pkg:github/a/comfyui@{COMMIT}",
        "pkg:pypi/alpha-one@1.0",
        "pkg:pypi/beta@2.0",
        "pkg:pypi/delta@4.0",
        "pkg:pypi/gamma@3.0",
    ]
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert document["metadata"]["component"]["name"] == "my-comfy"
    assert "/home/me" not in json.dumps(document)  # a path of the build machine is nobody's business


def test_licences_as_spdx_where_the_metadata_has_them(document: dict) -> None:
    found = {name: item.get("licenses") for name, item in _by_name(document).items()}
    assert found["Alpha_One"] == [{"expression": "MIT OR Apache-2.0"}]
    assert found["beta"] == [{"license": {"name": "Apache 2.0"}}]
    assert found["gamma"] == [{"license": {"id": "MIT"}}]
    assert found["delta"] == [{"license": {"name": "BSD License"}}]
    assert found["node"] == [{"license": {"id": "MIT"}}]
    assert found["ComfyUI"] == [{"license": {"name": "GNU GENERAL PUBLIC LICENSE"}}]
    assert found["libssl3"] is None


def test_hashes_are_those_of_what_is_installed_or_none(document: dict) -> None:
    found = _by_name(document)
    assert found["Alpha_One"]["hashes"] == [{"alg": "SHA-256", "content": ONE}]
    assert "hashes" not in found["beta"]  # two files are allowed, and which was taken is not known
    assert {"name": "packager:allowed_sha256", "value": f"{ONE} {TWO}"} in found["beta"]["properties"]
    assert "hashes" not in found["gamma"]  # a patch put another version in the place of the locked one
    assert found["node"]["hashes"] == [{"alg": "SHA-256", "content": TWO}]


def test_the_graph_has_extras_that_are_asked_for_and_markers_of_the_target(document: dict) -> None:
    graph = {item["ref"]: item.get("dependsOn", []) for item in document["dependencies"]}
    assert graph["pkg:pypi/alpha-one@1.0"] == ["pkg:pypi/beta@2.0"]
    assert graph["pkg:pypi/beta@2.0"] == ["pkg:pypi/gamma@3.0"]
    assert graph[f"pkg:github/a/ComfyUI@{COMMIT}".replace("ComfyUI", "comfyui")] == ["pkg:pypi/alpha-one@1.0"]
    assert graph[f"pkg:generic/node@sha256:{TWO}"] == ["pkg:pypi/beta@2.0"]
    top = graph["bundle:pkg:generic/my-comfy@1.0"]
    assert "pkg:pypi/delta@4.0" in top
    assert "pkg:pypi/beta@2.0" not in top


def test_texts_are_gathered_and_what_has_none_is_listed(tmp_path: Path) -> None:
    tree, said = _papers(tmp_path / "bundle")
    found = sorted(
        p.relative_to(tree.root / "licenses").as_posix() for p in tree.root.glob("licenses/**/*") if p.is_file()
    )
    assert found == [
        "Alpha_One-1.0/LICENSE",
        "Alpha_One-1.0/alpha_one/data/dragon_LICENSE.txt",
        "Alpha_One-1.0/vendor/x/COPYING",
        "ComfyUI/LICENSE",
        "README.txt",
        "beta-2.0/LICENSE.txt",
        "libssl3/copyright",
        "node/LICENSE",
        "node/web/NOTICE.md",
        "python-3.11.7/LICENSE.txt",
    ]
    listing = (tree.root / "licenses/README.txt").read_text().splitlines()
    assert "gamma 3.0: MIT: NO TEXT FOUND" in listing
    assert "Alpha_One 1.0: MIT OR Apache-2.0: Alpha_One-1.0/" in listing
    assert "no licence text came with delta, gamma" in said
    assert (tree.app / "LICENSE").exists()


def test_the_same_papers_in_another_folder_and_the_second_time(tmp_path: Path) -> None:
    first, second = _papers(tmp_path / "one")[0], _papers(tmp_path / "another place")[0]
    once = tree_digest(first.root)
    assert once == tree_digest(second.root)
    write_papers(second, make_bundle(tmp_path / "third")[1], BUNDLE, epoch=EPOCH, console=Console(quiet=True))
    assert tree_digest(second.root) == once


def test_the_serial_number_follows_from_the_content(tmp_path: Path) -> None:
    tree, lock = make_bundle(tmp_path / "b")
    serials = []
    for epoch, version in ((EPOCH, "1.0"), (EPOCH, "1.0"), (EPOCH + 1, "1.0"), (EPOCH, "1.1")):
        write_papers(tree, lock, {**BUNDLE, "version": version}, epoch=epoch, console=Console(quiet=True))
        serials.append(json.loads((tree.portable / "sbom.cdx.json").read_text())["serialNumber"])
    assert serials[0] == serials[1]
    assert len(set(serials)) == 3


def test_a_windows_tree_is_read_by_its_own_layout(tmp_path: Path) -> None:
    tree = BundleTree(root=tmp_path, target=get("windows-x86_64"), python_version="3.11.7")
    _distribution(tree.site_packages, "alpha", "1", 'Requires-Dist: beta; sys_platform == "win32"')
    _distribution(tree.site_packages, "beta", "1")
    (tree.prefix / "LICENSE.txt").write_text("PSF\n")
    tree.app.mkdir()
    lock = Lock(version_id="v", recipe_digest="r", target="windows-x86_64", accelerator=None,
                runtime={"name": "host", "python": "3.11.7"}, repositories=(), packages=())  # fmt: skip
    found: dict[str, Component] = {component.name: component for component in inventory(tree, lock)}
    assert found["alpha"].needs == ("pkg:pypi/beta@1",)
    assert [text.name for text in found["python"].texts] == ["LICENSE.txt"]


@pytest.mark.parametrize(
    ("name", "is_text"),
    [
        ("LICENSE", True), ("licence.md", True), ("LICENSE-APACHE", True), ("COPYING.LESSER", True), ("NOTICE", True),
        ("x_LICENSE.txt", True), ("license.py", False), ("licensed.txt", False), ("notice.js", False), ("main", False),
    ],
)  # fmt: skip
def test_names_of_licence_texts(name: str, is_text: bool) -> None:
    assert papers_table().is_text(PurePosixPath("a", name)) is is_text


def test_what_is_no_spdx_stays_a_name() -> None:
    assert [item.id for item in licences(["mit"])] == ["MIT"]
    assert [item.name for item in licences(["Dual License"])] == ["Dual License"]
    assert [item.value for item in licences(["MIT AND Zlib"])] == ["MIT AND Zlib"]
