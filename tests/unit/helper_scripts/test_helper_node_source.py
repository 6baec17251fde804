"""What may be said of where a node comes from, and what follows from it; strangers' words are refused in time."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from fake_bundles import REPOSITORY
from fake_forge import Forge
from portable import download
from portable.errors import HelperError, UsageError
from portable.node_fetch import SameError, fetch
from portable.node_files import Origin, name_for
from portable.node_source import archive_address, is_folder_name, parse, read_refs, registry_address, table

HELPERS = REPOSITORY / "helper_scripts"


def test_the_table_keeps_its_schema() -> None:
    schema = json.loads((HELPERS / "forges.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(table())


@pytest.mark.parametrize(
    ("word", "kind", "address", "ref", "name"),
    [
        ("https://github.com/kijai/ComfyUI-KJNodes", "repository", None, None, "ComfyUI-KJNodes"),
        ("https://github.com/a/b.git@v1.0", "repository", "https://github.com/a/b", "v1.0", "b"),
        ("https://github.com/a/b/@feature/x", "repository", "https://github.com/a/b", "feature/x", "b"),
        ("HTTPS://host.example:8443/a/b@" + "0" * 40, "repository", "https://host.example:8443/a/b", "0" * 40, "b"),
        ("https://host.example/a/b.zip", "archive", None, None, "b"),
        ("comfyui-kjnodes", "registry", None, None, "comfyui-kjnodes"),
        ("comfyui-kjnodes@1.2.3", "registry", "comfyui-kjnodes", "1.2.3", "comfyui-kjnodes"),
    ],
)
def test_words_are_told_apart(word: str, kind: str, address: str | None, ref: str | None, name: str) -> None:
    source = parse(word)
    assert (source.kind, source.address, source.ref, source.name) == (kind, address or word, ref, name)


@pytest.mark.parametrize(
    "word",
    [
        "",
        "-rf",
        "--upload-pack=touch /tmp/x",
        "https://-oProxyCommand=x/a",
        "https://user:secret@github.com/a/b",
        "https://token@github.com/a/b@main",
        "http://github.com/a/b",
        "ssh://git@github.com/a/b",
        "git@github.com:a/b",
        "file:///etc",
        "ext::sh -c id",
        "git+https://github.com/a/b",
        "https://github.com/a/b@--upload-pack=x",
        "https://github.com/a/b@../x",
        "https://github.com/a/b@a..b",
        "https://github.com/../../etc",
        "https://github.com/a/%2e%2e/b",
        "https://github.com/a/b?x=1",
        "https://github.com/a/b#x",
        "https://github.com/a b",
        "https://github.com/a/b;id",
        "https://github.com/a/$(id)",
        "https://github.com",
        "https://github.com/a/b\n",
        "https://evil\\@github.com/a",
        "../x",
        "a/b",
        "name@",
        "name@../../x",
        "no-such-file.zip",
        ".zip",
    ],
)
def test_hostile_words_are_refused(word: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(word)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../x", "..", "a/b", "NUL", "con.txt", "x.", "-x", ".git", "x.disabled", "a\\b", "", "x" * 200]
)
def test_names_that_no_folder_may_have(name: str, tmp_path: Path) -> None:
    assert not is_folder_name(name)
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = {json.dumps(name)}\n", encoding="utf-8")
    assert name_for(tmp_path, "good-name") == "good-name"
    if name in ("NUL", "..", "x.disabled"):
        with pytest.raises(HelperError, match="cannot be a folder's name"):
            name_for(tmp_path, name)


def test_the_project_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b'\xef\xbb\xbf[project]\r\nname = "Some-Node"\r\n')
    assert name_for(tmp_path, "repository") == "Some-Node"
    (tmp_path / "pyproject.toml").write_text("[project", encoding="utf-8")
    assert name_for(tmp_path, "a node!") == "a-node-"


def test_addresses_of_archives_and_of_the_registry() -> None:
    commit = "a" * 40
    told = {
        "https://github.com/a/b": f"https://codeload.github.com/a/b/zip/{commit}",
        "https://gitlab.com/g/s/b": f"https://gitlab.com/g/s/b/-/archive/{commit}/b-{commit}.zip",
        "https://git.example.org/a/b": f"https://git.example.org/a/b/archive/{commit}.zip",
    }
    for repository, address in told.items():
        assert archive_address(parse(repository), commit) == address
    assert registry_address(parse("a-node@1.0"), {}).endswith("/nodes/a-node/install?version=1.0")
    assert registry_address(parse("a-node"), {"COMFY_REGISTRY_URL": "https://r/"}) == "https://r/nodes/a-node/install"


@pytest.mark.parametrize("answer", [b"", b"<html>", b"zzzz", b"0000", b"00", b"003fgarbage"])
def test_what_is_no_answer_of_git_names_no_refs(answer: bytes) -> None:
    assert read_refs(answer) == {}


@pytest.mark.parametrize("use_git", [True, False])
def test_fetching_with_and_without_git(tmp_path: Path, use_git: bool) -> None:
    forge = Forge(tmp_path / "forge")
    old = forge.commit("me/node", {"__init__.py": "OLD = 1\n", "run.sh": "#!/bin/sh\n"}, tag="v1")
    new = forge.commit("me/node", {"__init__.py": "NEW = 1\n"})
    side = forge.commit("me/node", {"__init__.py": "SIDE = 1\n"}, branch="feature/side")
    forge.commit("me/node", {}, branch="main")
    forge.git(tmp_path / "forge/me/node", "reset", "--quiet", "--hard", new)
    number = 0
    with forge.serving() as env:

        def get(ref: str, have: Origin | None = None) -> tuple[str, str]:
            nonlocal number
            number += 1
            (tmp_path / str(number)).mkdir()
            source = parse(f"{forge.url}/me/node{ref}")
            environ = {"PATH": "/usr/bin:/bin", **env}
            got = fetch(source, tmp_path / str(number), environ, have=have, use_git=use_git, say=lambda _: None)
            assert (got.tree / ".git").exists() == use_git
            return got.origin.commit, (got.tree / "__init__.py").read_text().split()[0]

        assert get("") == (new, "NEW")
        assert get("@v1") == (old, "OLD")
        assert get("@feature/side") == (side, "SIDE")
        assert get(f"@{old}") == (old, "OLD")
        with pytest.raises(SameError):
            get("", Origin(kind="repository", address="x", commit=new))
        with pytest.raises(HelperError, match="v9"):
            get("@v9")
        with pytest.raises(HelperError):
            get("x")
    if not use_git:
        assert not [path for path in forge.asked if path.endswith("/git-upload-pack")]


def test_an_archive_of_another_commit_is_refused(tmp_path: Path) -> None:
    forge = Forge(tmp_path / "forge")
    old = forge.commit("me/node", {"__init__.py": ""})
    new = forge.commit("me/node", {"__init__.py": "x"})
    _, content = forge.answer(f"/me/node/archive/{old}.zip", b"", False)
    assert content is not None
    forge.files[f"/me/node/archive/{new}.zip"] = content
    (tmp_path / "work").mkdir()
    with forge.serving() as env, pytest.raises(HelperError, match=f"sent commit {old} instead of {new}"):
        fetch(parse(f"{forge.url}/me/node"), tmp_path / "work", env, have=None, use_git=False, say=lambda _: None)


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "http://example.org/x.zip", "https://a:b@example.org/x.zip", None]
)
def test_a_registry_that_leads_astray_is_refused(tmp_path: Path, address: str | None) -> None:
    forge = Forge(tmp_path)
    with forge.serving() as env:
        forge.files["/nodes/x/install"] = json.dumps({"version": "1", "downloadUrl": address}).encode()
        with pytest.raises(HelperError, match="no version with an https address"):
            fetch(parse("x"), tmp_path, env, have=None, use_git=True, say=lambda _: None)
        forge.redirects["/nodes/y/install"] = address or "ftp://x"
        with pytest.raises(HelperError, match=r"not an https address|is not allowed"):
            fetch(parse("y"), tmp_path, env, have=None, use_git=True, say=lambda _: None)


def test_downloads_have_a_bound(tmp_path: Path) -> None:
    forge = Forge(tmp_path)
    forge.files["/big"] = b"x" * 1000
    with forge.serving() as env:
        with pytest.raises(HelperError, match="more than"):
            download.save(f"{forge.url}/big", tmp_path / "big", env, limit=999)
        with pytest.raises(HelperError, match="more than"):
            download.read(f"{forge.url}/big", env, limit=999)
        assert len(download.read(f"{forge.url}/big", env, limit=1000)) == 1000
        with pytest.raises(HelperError, match="answers 404"):
            download.read(f"{forge.url}/none", env, limit=9)
    with pytest.raises(HelperError, match="cannot be reached"):
        download.read(f"{forge.url}/big", env, limit=9)


def test_git_takes_nothing_but_https_and_no_link_out_of_the_node(tmp_path: Path) -> None:
    """A submodule could name a file of this machine or a command; a link could have a file elsewhere overwritten."""
    forge = Forge(tmp_path / "forge")
    forge.commit("me/part", {"secret.txt": "x"})
    forge.commit("me/node", {"__init__.py": ""})
    tree = tmp_path / "forge/me/node"
    forge.git(
        tree, "-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(tmp_path / "forge/me/part"), "p"
    )
    forge.commit("me/node", {})
    (tmp_path / "forge/me/links").mkdir()
    forge.commit("me/linked", {"__init__.py": ""})
    (tmp_path / "forge/me/linked/out").symlink_to("/etc")
    forge.commit("me/linked", {})
    for repository, says in (("node", "transport 'file' not allowed"), ("linked", "out is a link that leads out")):
        work = tmp_path / f"work {repository}"
        work.mkdir()
        with forge.serving() as env:
            environ, source = {"PATH": "/usr/bin:/bin", **env}, parse(f"{forge.url}/me/{repository}")
            with pytest.raises(HelperError, match=says):
                fetch(source, work, environ, have=None, use_git=True, say=lambda _: None)
