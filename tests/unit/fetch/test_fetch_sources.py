from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fetch_servers import GitRepo

from packager.console import Console
from packager.errors import FetchError, InputError
from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors
from packager.fetch.sources import Pin, SourceRequest, pin, pin_all, place, place_all
from packager.filesystem import tree_digest, walk_files

MakeRepo = Callable[[str], GitRepo]

if shutil.which("git") is None:
    pytest.skip("git is not installed", allow_module_level=True)


class Sources:
    def __init__(self, cache: Cache, console: Console, out: Path) -> None:
        self.cache, self.console, self.out = cache, console, out

    def pin(self, url: object, ref: str | None = None, **more: Any) -> Pin:
        commit = more.pop("commit", None)
        request = SourceRequest(name="thing", url=str(url), ref=ref, commit=commit)
        more.setdefault("mirrors", Mirrors())
        return pin(request, cache=self.cache, console=self.console, **more)

    def place(self, pinned: Pin, to: Path | None = None, **more: Any) -> bool:
        more.setdefault("mirrors", Mirrors())
        return place(pinned, to or self.out, cache=self.cache, console=self.console, **more)

    def get(self, url: object, ref: str | None = None, **more: Any) -> Pin:
        pinned = self.pin(url, ref, **more)
        more.pop("commit", None)
        assert self.place(pinned, **more)
        return pinned


@pytest.fixture
def sources(cache: Cache, console: Console, tmp_path: Path) -> Sources:
    return Sources(cache, console, tmp_path / "out" / "thing")


def files(root: Path) -> dict[str, str]:
    """Path -> content, `-> target` for a link, a star behind what is executable."""
    found = {}
    for path in walk_files(root):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name + "*" * bool(path.stat().st_mode & 0o100)] = path.read_bytes().decode()
    return found


# What a ref means


def test_branch_tag_commit_and_default(sources: Sources, make_repo: MakeRepo) -> None:
    repo = make_repo("r")
    first = repo.head
    repo.git("tag", "light")
    repo.git("tag", "--annotate", "--message=m", "heavy")
    repo.git("checkout", "--quiet", "-b", "feature/x")
    repo.write("a.txt", "two\n")
    second = repo.commit()
    repo.git("checkout", "--quiet", "main")
    for ref, commit in (
        (None, first),
        ("HEAD", first),
        ("main", first),
        ("light", first),
        ("heavy", first),
        ("feature/x", second),
        ("refs/heads/feature/x", second),
        ("refs/tags/heavy", first),
        (first, first),
        (second[:10], second),
        (second[:10].upper(), second),
        (repo.git("rev-parse", "heavy"), first),
    ):
        pinned = sources.pin(repo.path, ref)
        assert (pinned.commit, pinned.ref) == (commit, ref), ref
        assert pinned.tree == repo.git("rev-parse", f"{commit}^{{tree}}")
    assert sources.pin(repo.path, "main", commit=second).commit == second, "a commit wins over a ref"
    sources.get(repo.path, "feature/x")
    assert files(sources.out) == {"a.txt": "two\n"}


def test_a_tag_wins_over_a_branch_of_its_name(sources: Sources, make_repo: MakeRepo) -> None:
    repo = make_repo("r")
    repo.git("tag", "v1")
    tagged = repo.head
    repo.git("branch", "v1")
    repo.git("checkout", "--quiet", "heads/v1")
    repo.commit()
    assert sources.pin(repo.path, "v1").commit == tagged


def test_a_moved_branch_is_followed_and_a_moved_pin_is_not(sources: Sources, make_repo: MakeRepo) -> None:
    repo = make_repo("r")
    old = sources.pin(repo.path, "main")
    repo.write("a.txt", "two\n")
    repo.commit()
    repo.git("branch", "d/f")
    sources.pin(repo.path, "d/f")
    mark = sources.cache.repository_path(str(repo.path)) / "mark"
    mark.touch()
    repo.git("branch", "--delete", "d/f")
    repo.git("branch", "d")  # where a folder of refs was
    assert sources.pin(repo.path, "d").commit == repo.head
    assert sources.pin(repo.path, "main").commit == repo.head
    assert mark.exists(), "the cache was not made anew for it"
    sources.place(old)
    assert files(sources.out) == {"a.txt": "one\n"}


def test_the_cache_is_shallow(sources: Sources, make_repo: MakeRepo) -> None:
    repo = make_repo("r")
    for n in range(5):
        repo.write("a.txt", f"{n}\n")
        repo.commit()
    sources.pin(repo.path, "main")
    bare = sources.cache.repository_path(str(repo.path))
    count = subprocess.run(
        ["git", "--git-dir", str(bare), "rev-list", "--all", "--count"], check=True, capture_output=True, text=True
    )
    assert count.stdout.strip() == "1"


# Files as they are in the commit


def test_modes_links_and_all_files_are_kept(sources: Sources, make_repo: MakeRepo) -> None:
    repo = make_repo("r")
    repo.write("run.sh", "#!/bin/sh\n")
    (repo.path / "run.sh").chmod(0o755)
    repo.write("tests/secret.txt", "kept\n")
    repo.write("crlf.txt", "a\r\nb\r\n")
    repo.write("sp ace/ünï.txt", "x")
    repo.write(".gitignore", "ignored\n")
    repo.write("ignored", "kept\n")
    repo.write(".gitattributes", "tests export-ignore\n*.txt ident filter=evil\n")
    repo.write("id.txt", "$Id$\n")
    (repo.path / "link").symlink_to("a.txt")
    (repo.path / "out").symlink_to("/etc/passwd")
    repo.commit()
    pinned = sources.get(repo.path)
    placed = files(sources.out)
    assert placed.pop("id.txt").startswith("$Id")
    assert placed == {
        ".gitattributes": "tests export-ignore\n*.txt ident filter=evil\n",
        ".gitignore": "ignored\n",
        "a.txt": "one\n",
        "crlf.txt": "a\r\nb\r\n",
        "ignored": "kept\n",
        "link": "-> a.txt",
        "out": "-> /etc/passwd",
        "run.sh*": "#!/bin/sh\n",
        "sp ace/ünï.txt": "x",
        "tests/secret.txt": "kept\n",
    }
    assert sorted(path.name for path in sources.out.parent.iterdir()) == ["thing"]
    assert pinned.commit == repo.head


def test_what_is_there_and_right_is_left_alone(sources: Sources, make_repo: MakeRepo) -> None:
    repo = make_repo("r")
    repo.write("run.sh", "x")
    (repo.path / "run.sh").chmod(0o755)
    (repo.path / "link").symlink_to("a.txt")
    repo.commit()
    pinned = sources.get(repo.path)
    inode = sources.out.stat().st_ino
    assert not sources.place(pinned)
    assert sources.out.stat().st_ino == inode
    spoils: list[Callable[[], object]] = [
        lambda: (sources.out / "a.txt").write_text("two"),
        (sources.out / "a.txt").unlink,
        lambda: (sources.out / "more").write_text(""),
        lambda: (sources.out / "run.sh").chmod(0o644),
        lambda: ((sources.out / "link").unlink(), (sources.out / "link").write_text("a.txt")),
        lambda: ((sources.out / "link").unlink(), (sources.out / "link").symlink_to("b.txt")),
    ]
    for spoil in spoils:
        spoil()
        before = files(sources.out)
        with pytest.raises(InputError, match="holds something else"):
            sources.place(pinned)
        assert files(sources.out) == before, "nothing of the user's is deleted without being told to"
        assert sources.place(pinned, replace=True)
        assert files(sources.out) == {"a.txt": "one\n", "run.sh*": "x", "link": "-> a.txt"}


def test_an_empty_folder_is_filled_and_a_link_or_file_is_refused(
    sources: Sources, make_repo: MakeRepo, tmp_path: Path
) -> None:
    pinned = sources.pin(make_repo("r").path)
    (tmp_path / "victim").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    (tmp_path / "file").write_text("mine")
    for name in ("link", "file"):
        with pytest.raises(InputError, match="is not a folder"):
            sources.place(pinned, tmp_path / name, replace=True)
    assert not any((tmp_path / "victim").iterdir())
    (tmp_path / "empty").mkdir()
    assert sources.place(pinned, tmp_path / "empty")


# Over HTTP


def test_over_smart_http_with_a_bare_commit(sources: Sources, make_repo: MakeRepo, smart_http: str) -> None:
    repo = make_repo("r")
    old = repo.head
    repo.write("a.txt", "two\n")
    repo.commit()
    url = f"{smart_http}/r/.git"
    assert sources.pin(url).commit == repo.head
    sources.get(url, old)
    assert files(sources.out) == {"a.txt": "one\n"}


def test_a_server_that_refuses_bare_commits_gives_them_in_its_history(
    sources: Sources, make_repo: MakeRepo, smart_http: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protocol 0 with its defaults refuses a commit that no ref names."""
    repo = make_repo("r")
    old = repo.head
    repo.write("a.txt", "two\n")
    repo.commit()
    url = f"{smart_http}/r/.git"
    sources.pin(url, "main")  # shallow already
    seen = []
    from packager.fetch import git

    honest = git.environment

    def old_protocol(location: str) -> dict[str, str]:
        seen.append(location)
        protocol = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "protocol.version", "GIT_CONFIG_VALUE_0": "0"}
        return honest(location) | protocol

    monkeypatch.setattr(git, "environment", old_protocol)
    sources.get(url, commit=old)
    assert seen
    assert files(sources.out) == {"a.txt": "one\n"}
    with pytest.raises(FetchError, match="has no commit 1111111"):
        sources.pin(url, "1" * 40)


def test_over_dumb_http(sources: Sources, make_repo: MakeRepo, dumb_http: str) -> None:
    repo = make_repo("r")
    old = repo.head
    repo.write("a.txt", "two\n")
    repo.commit()
    repo.git("update-server-info")
    url = f"{dumb_http}/r/.git"
    assert sources.pin(url, "main").commit == repo.head
    sources.get(url, old)
    assert files(sources.out) == {"a.txt": "one\n"}


def test_a_commit_in_the_cache_needs_no_server(sources: Sources, make_repo: MakeRepo, smart_http: str) -> None:
    repo = make_repo("r")
    url = f"{smart_http}/r/.git"
    with pytest.raises(FetchError, match="--offline forbids"):
        sources.pin(url, "main", offline=True)
    pinned = sources.pin(url, "main")
    repo.path.rename(repo.path.with_name("gone"))
    assert sources.pin(url, pinned.commit) == Pin(
        name="thing", url=url, ref=pinned.commit, commit=pinned.commit, tree=pinned.tree
    )
    assert sources.pin(url, "main", offline=True) == pinned
    assert sources.pin(url, pinned.commit[:8], offline=True).commit == pinned.commit
    assert sources.place(pinned, offline=True)
    for ref in ("other", None, "1" * 40):
        with pytest.raises(FetchError, match="--offline forbids"):
            sources.pin(url, ref, offline=True)


# Errors


def test_missing_things_are_called_by_their_names(
    sources: Sources, make_repo: MakeRepo, tmp_path: Path, smart_http: str, dumb_http: str
) -> None:
    (tmp_path / "file").write_text("x")
    GitRepo(tmp_path / "repos/empty")
    unborn = make_repo("unborn")
    unborn.git("symbolic-ref", "HEAD", "refs/heads/nothing")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        refused = f"http://127.0.0.1:{free.getsockname()[1]}/r"
        for url, why in (
            (tmp_path / "file", "is a file"),
            (tmp_path / "missing", "no such folder"),
            ((tmp_path / "missing").as_uri(), "no such folder"),
            (tmp_path / "repos/empty", "it is empty"),
            (f"{smart_http}/empty/.git", "it is empty"),
            (unborn.path, "no commit at its HEAD"),
            (f"{smart_http}/missing", "no git repository"),
            (f"{dumb_http}/missing", "no git repository"),
            (refused, "can't be reached"),
            ("https://host.invalid/r", "can't be reached"),
        ):
            with pytest.raises(FetchError, match=why) as caught:
                sources.pin(url)
            assert caught.value.exit_code == 3
            for way in ("--mirror", "--source"):
                assert way in str(caught.value), url


def test_a_ref_that_is_not_there_names_close_ones(sources: Sources, make_repo: MakeRepo) -> None:
    repo = make_repo("r")
    for n in range(30):
        repo.git("tag", f"v0.3.{n}")
    with pytest.raises(FetchError, match=r"no ref 'v0\.3\.100'") as caught:
        sources.pin(repo.path, "v0.3.100")
    assert "v0.3.10" in str(caught.value)
    with pytest.raises(FetchError, match="no ref 'abcd1234'"):
        sources.pin(repo.path, "abcd1234")


def test_a_lock_that_does_not_agree_with_the_repository(sources: Sources, make_repo: MakeRepo, tmp_path: Path) -> None:
    repo = make_repo("r")
    good = sources.pin(repo.path)
    with pytest.raises(FetchError, match="the lock says"):
        sources.place(Pin(name="thing", url=str(repo.path), ref=None, commit=good.commit, tree="1" * 40))
    with pytest.raises(InputError, match="not a full commit id"):
        sources.place(Pin(name="thing", url=str(repo.path), ref=None, commit="--help", tree=good.tree))
    (tmp_path / "plain").mkdir()
    with pytest.raises(FetchError, match="is a plain folder now"):
        sources.place(Pin(name="thing", url=str(tmp_path / "plain"), ref=None, commit=good.commit, tree=good.tree))
    assert not sources.out.parent.exists()


# Hostile input


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "--upload-pack=touch pwned",
        "-x",
        "+main",
        "main:refs/heads/x",
        "a b",
        "a..b",
        "main^",
        "main~1",
        "@{-1}",
        "@",
        "a\nb",
        "*",
        "refs/heads/*",
        "x.lock",
        "/x",
        "x/",
        "a//b",
        ".x",
        "a\\b",
        "main^{/x}",
        ":/x",
    ],
)
def test_refs_that_are_refused(sources: Sources, make_repo: MakeRepo, ref: str) -> None:
    repo = make_repo("r")
    for wanted in ({"ref": ref}, {"commit": ref}):
        with pytest.raises(InputError, match=r"thing: (ref|commit)"):
            sources.pin(repo.path, **wanted)


@pytest.mark.parametrize(
    "url", ["ext::touch pwned", "ext::touch%20pwned", "--upload-pack=touch pwned", "git@example.org:x", "ssh://-oX=y/z"]
)
def test_urls_that_would_run_something(
    sources: Sources, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        sources.pin(url)
    assert list(tmp_path.iterdir()) == []


def test_odd_but_honest_paths(sources: Sources, make_repo: MakeRepo, tmp_path: Path) -> None:
    for name in ("sp ace é", "100%25", "-dash", "a;b&c", "x::y"):
        repo = make_repo(name)
        assert sources.pin(repo.path).commit == repo.head, name
        assert sources.pin(repo.path.as_uri()).commit == repo.head, name


def test_the_users_git_is_not_listened_to(
    sources: Sources, make_repo: MakeRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks, filters, templates, aliases, rewrites, environment: whatever is set up to leave a mark must not."""
    repo = make_repo("r")
    repo.write(".gitattributes", "*.txt filter=mark\n")
    repo.commit()
    mark = tmp_path / "mark"
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (hooks / name).chmod(0o755)
    (tmp_path / "templates/hooks").mkdir(parents=True)
    shutil.copytree(hooks, tmp_path / "templates/hooks", dirs_exist_ok=True)
    config = tmp_path / ".gitconfig"
    config.write_text(
        f'[core]\n\thooksPath = {hooks}\n[filter "mark"]\n\tsmudge = touch {mark}; cat\n\trequired = true\n'
        f"[init]\n\ttemplateDir = {tmp_path}/templates\n[uploadpack]\n\tpackObjectsHook = touch {mark}; false\n"
        f'[url "file:///nowhere/"]\n\tinsteadOf = file://\n'
    )
    shutil.copytree(hooks, repo.path / ".git/hooks", dirs_exist_ok=True)
    with (repo.path / ".git/config").open("a") as stream:
        stream.write(f'[core]\n\tfsmonitor = "touch {mark}"\n[filter "mark"]\n\tsmudge = "touch {mark}; cat"\n')
    for name, value in {
        "HOME": str(tmp_path),
        "GIT_CONFIG_GLOBAL": str(config),
        "GIT_CONFIG_SYSTEM": str(config),
        "GIT_TEMPLATE_DIR": str(tmp_path / "templates"),
        "GIT_DIR": "/nowhere",
        "GIT_WORK_TREE": "/nowhere",
        "GIT_INDEX_FILE": "/nowhere/index",
        "GIT_EXTERNAL_DIFF": f"touch {mark}",
        "GIT_PROXY_COMMAND": f"touch {mark}",
        "GIT_ALLOW_PROTOCOL": "ext",
    }.items():
        monkeypatch.setenv(name, value)
    sources.pin(repo.path)
    shutil.copytree(hooks, sources.cache.repository_path(str(repo.path)) / "hooks")
    sources.get(repo.path, "main")
    assert files(sources.out)["a.txt"] == "one\n"
    assert not mark.exists()


def hostile_commit(repo: GitRepo, *lines: tuple[str, str, str]) -> str:
    """A commit whose tree holds (mode, content or id of a tree, name), unchecked."""
    tree = b""
    for mode, content, name in sorted(lines, key=lambda line: line[2]):
        oid = content if mode == "40000" else repo.git("hash-object", "-w", "--stdin", stdin=content.encode())
        tree += f"{mode} {name}".encode() + b"\0" + bytes.fromhex(oid)
    oid = repo.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=tree)
    commit = repo.git("commit-tree", "-m", "x", oid)
    repo.git("update-ref", "refs/heads/hostile", commit)
    return commit


def hostile_tree(repo: GitRepo, *lines: tuple[str, str, str]) -> str:
    return repo.git("rev-parse", f"{hostile_commit(repo, *lines)}^{{tree}}")


@pytest.mark.parametrize(
    "name", ["..", ".", ".git", ".GIT", "git~1", ".git\\x", "../pwned", "a/../../pwned", "/pwned", ".git/config"]
)
def test_names_that_lead_outside_are_refused(sources: Sources, make_repo: MakeRepo, tmp_path: Path, name: str) -> None:
    repo = make_repo("r")
    inner = hostile_tree(repo, ("100644", "bad", "pwned"))
    for line in (("100644", "bad", name), ("40000", inner, name)):
        hostile_commit(repo, line)
        with pytest.raises(InputError, match=r"no name for a file|git refuses"):
            sources.get(repo.path, "hostile")
    assert not [path for path in tmp_path.rglob("*pwned*") if "cache" not in path.parts]
    assert not sources.out.exists()


@pytest.mark.parametrize(("link", "folder"), [("folder", "folder"), ("FOLDER", "folder"), ("folder", "Folder")])
def test_nothing_is_written_through_a_link_in_the_tree(
    sources: Sources, make_repo: MakeRepo, tmp_path: Path, link: str, folder: str
) -> None:
    """A link out of the tree and a file below the same name, also where only the case differs."""
    (tmp_path / "victim").mkdir()
    repo = make_repo("r")
    inner = hostile_tree(repo, ("100644", "bad", "pwned"))
    hostile_commit(repo, ("120000", str(tmp_path / "victim"), link), ("40000", inner, folder))
    with pytest.raises(InputError, match="below a symbolic link"):
        sources.get(repo.path, "hostile")
    assert not any((tmp_path / "victim").iterdir())
    assert not sources.out.exists()


def test_one_name_twice_and_a_name_that_is_not_utf8(sources: Sources, make_repo: MakeRepo) -> None:
    repo = make_repo("r")
    hostile_commit(repo, ("100644", "one", "x"), ("100755", "two", "x"))
    with pytest.raises(InputError, match="twice"):
        sources.get(repo.path, "hostile")
    (Path(os.fsdecode(os.fsencode(repo.path) + b"/\xff.txt"))).write_text("x")
    repo.commit()
    with pytest.raises(InputError, match="no name for a file"):
        sources.get(repo.path, "main")


# Submodules


@pytest.mark.parametrize("over", ["path", "http"])
def test_submodules_come_along_recursively(sources: Sources, make_repo: MakeRepo, smart_http: str, over: str) -> None:
    inner, middle, outer = make_repo("inner"), make_repo("group/middle"), make_repo("outer")
    pinned = inner.head
    inner.write("a.txt", "later\n")
    inner.commit()
    # Over HTTP each repository's URL ends in /.git, so there is one folder more to climb.
    up, end = ("../", "") if over == "path" else ("../../", "/.git")
    middle.add_submodule("deep/inner", f"{up}../inner{end}", pinned)
    outer.add_submodule("middle", f"{up}group/middle{end}/", middle.head)
    url = str(outer.path) if over == "path" else f"{smart_http}/outer/.git"
    found = sources.get(url)
    placed = {name: text for name, text in files(sources.out).items() if not name.endswith(".gitmodules")}
    assert placed == {"a.txt": "one\n", "middle/a.txt": "one\n", "middle/deep/inner/a.txt": "one\n"}
    assert not list(sources.out.rglob(".git"))
    assert not sources.place(found), "right already"


def test_a_submodule_without_an_address_stays_empty(sources: Sources, make_repo: MakeRepo, said: io.StringIO) -> None:
    repo = make_repo("r")
    repo.add_submodule("stray", "../x", "1" * 40)
    repo.git("rm", "--quiet", "--cached", ".gitmodules")
    repo.git("commit", "--quiet", "--message=x")
    sources.get(repo.path)
    assert (sources.out / "stray").is_dir()
    assert "stray" in said.getvalue()


@pytest.mark.parametrize(
    "url",
    [
        "ext::touch pwned",
        "git@github.com:a/b.git",
        "ssh://example.org/x",
        "--upload-pack=touch pwned",
        "http://example.org/x",
        "../../../../../../../../../../../../../../x",
    ],
)
def test_submodule_urls_that_are_refused(sources: Sources, make_repo: MakeRepo, url: str) -> None:
    repo = make_repo("r")
    repo.add_submodule("sub", url, "1" * 40)
    with pytest.raises(InputError):
        sources.get(repo.path)
    assert not sources.out.exists()


def test_a_repository_from_afar_may_not_take_a_local_one_along(
    sources: Sources, make_repo: MakeRepo, smart_http: str, tmp_path: Path
) -> None:
    """CVE-2022-39253's kin: https://... with a submodule at file:///home/you/private. A mirror changes nothing."""
    private, public = make_repo("private"), make_repo("public")
    public.add_submodule("sub", private.path.as_uri(), private.head)
    mirrors = Mirrors.parse([f"https://example.org/={tmp_path}/repos"])
    for url, more in ((f"{smart_http}/public/.git", {}), ("https://example.org/public", {"mirrors": mirrors})):
        pinned = sources.pin(url, **more)
        with pytest.raises(InputError, match="named by another"):
            sources.place(pinned, **more)
    assert not sources.out.exists()
    allowed = Mirrors.parse([f"https://example.org/={tmp_path}/repos", f"file:///={'/'}"])
    assert sources.place(sources.pin("https://example.org/public", mirrors=allowed), mirrors=allowed)


def test_a_submodules_address_goes_through_the_mirrors(sources: Sources, make_repo: MakeRepo, tmp_path: Path) -> None:
    inner, outer = make_repo("inner"), make_repo("outer")
    outer.add_submodule("ssh", "git@example.org:inner.git", inner.head)
    outer.add_submodule("relative", "../inner.git", inner.head)
    mirrors = Mirrors.parse([f"git@example.org:={tmp_path}/repos", f"https://example.org/={tmp_path}/repos"])
    sources.get("https://example.org/outer.git", mirrors=mirrors)
    assert {"ssh/a.txt", "relative/a.txt"} <= files(sources.out).keys()


def test_submodules_within_submodules_end_somewhere(sources: Sources, make_repo: MakeRepo) -> None:
    repo = make_repo("r")
    for _ in range(12):
        (repo.path / ".gitmodules").unlink(missing_ok=True)
        repo.git("rm", "--quiet", "--cached", "--ignore-unmatch", "-f", "sub")
        repo.add_submodule("sub", "./", repo.head)
    with pytest.raises(InputError, match="too many submodules"):
        sources.get(repo.path)


def test_a_gitmodules_that_is_a_link_is_refused(sources: Sources, make_repo: MakeRepo, tmp_path: Path) -> None:
    repo = make_repo("r")
    hostile_commit(repo, ("120000", str(tmp_path / "other"), ".gitmodules"))
    with pytest.raises(InputError, match="symbolic link"):
        sources.get(repo.path, "hostile")


# Local stand-ins


def test_a_plain_folder_stands_in_for_a_repository(sources: Sources, tmp_path: Path, said: io.StringIO) -> None:
    folder = tmp_path / "plain"
    (folder / "sub/__pycache__").mkdir(parents=True)
    (folder / "sub/__pycache__/x.pyc").write_text("x")
    (folder / "run.sh").write_text("x")
    (folder / "run.sh").chmod(0o700)
    (folder / "sub/link").symlink_to("../run.sh")
    pinned = sources.get(folder, "v1")
    assert (pinned.commit, pinned.tree) == ("", f"sha256:{tree_digest(sources.out)}")
    assert files(sources.out) == {"run.sh*": "x", "sub/link": "-> ../run.sh"}
    assert "plain folder" in said.getvalue()
    assert not sources.place(pinned)
    (folder / "new").write_text("x")
    with pytest.raises(FetchError, match="has changed since it was pinned"):
        sources.place(pinned, tmp_path / "out/second")
    assert not (tmp_path / "out/second").exists()


def test_folders_that_can_not_be_copied(sources: Sources, tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "file").write_text("x")
    pinned = sources.pin(folder)
    for inside in (folder / "out", tmp_path):
        with pytest.raises(InputError):
            sources.place(pinned, inside)
    os.mkfifo(folder / "pipe")
    with pytest.raises(InputError, match="neither a file nor a link"):
        sources.pin(folder)


def test_a_work_tree_gives_its_commit_a_bare_repository_too(
    sources: Sources, make_repo: MakeRepo, tmp_path: Path, said: io.StringIO
) -> None:
    repo = make_repo("r")
    repo.commit()
    repo.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    repo.git("clone", "--quiet", "--depth=1", f"file://{repo.path}", str(tmp_path / "shallow"))
    repo.git("worktree", "add", "--quiet", str(tmp_path / "linked"))
    repo.write("a.txt", "not committed\n")
    for place_ in (repo.path, tmp_path / "bare.git", tmp_path / "bare", tmp_path / "shallow", tmp_path / "linked"):
        assert sources.pin(place_, repo.head[:9]).commit == repo.head, place_
        assert sources.pin(place_).commit == repo.head, place_
    kept = sources.cache.repository_path(str(tmp_path / "shallow")) / "refs/all/heads/main"
    assert kept.read_text().strip() == repo.head, "a shallow repository's refs are taken as well"
    sources.get(repo.path)
    assert files(sources.out) == {"a.txt": "one\n"}
    assert "without what is not committed there" in said.getvalue()


def test_a_repository_of_another_user_may_be_named(sources: Sources, make_repo: MakeRepo) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    repo = make_repo("r")
    for path in [repo.path, *repo.path.rglob("*")]:
        os.chown(path, 12345, 12345)
    bare = sources.pin(repo.path)
    assert bare.tree


# Several at once, interruptions, damage


def test_several_at_once_and_all_errors_named(
    cache: Cache, console: Console, make_repo: MakeRepo, tmp_path: Path
) -> None:
    repos = [make_repo(f"r{n}") for n in range(4)]
    means: dict[str, Any] = {"cache": cache, "mirrors": Mirrors(), "console": console}
    requests = [SourceRequest(name=repo.path.name, url=str(repo.path)) for repo in [*repos, *repos]]
    pins = pin_all(requests, **means)
    assert [pinned.commit for pinned in pins] == [repo.head for repo in repos] * 2
    pairs = [(pinned, tmp_path / "out" / str(n)) for n, pinned in enumerate(pins)]
    assert place_all(pairs, **means) == [True] * 8
    assert place_all(pairs, **means) == [False] * 8
    with pytest.raises(FetchError, match="nowhere"):
        pin_all([*requests, SourceRequest(name="x", url="/nowhere")], **means)
    bad = [SourceRequest(name=name, url="ssh://x/y") for name in ("x", "y")]
    with pytest.raises(InputError):
        pin_all(bad, **means)


def test_one_inside_another_is_no_part_of_it(
    cache: Cache, console: Console, make_repo: MakeRepo, tmp_path: Path
) -> None:
    app, node = make_repo("app"), make_repo("node")
    app.write("nodes/readme", "x")
    app.commit()
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "main.py").write_text("x")
    means: dict[str, Any] = {"cache": cache, "mirrors": Mirrors(), "console": console}
    inner, repo, folder = pin_all(
        [SourceRequest(name=name, url=str(url)) for name, url in (("n", node.path), ("a", app.path), ("p", plain))],
        **means,
    )
    out = tmp_path / "out"
    pairs = [(inner, out / "app/nodes/n"), (repo, out / "app"), (inner, out / "plain/n"), (folder, out / "plain")]
    assert place_all(pairs, **means) == [True] * 4
    assert place_all(pairs, **means) == [False] * 4
    assert files(out / "app").keys() == {"a.txt", "nodes/readme", "nodes/n/a.txt"}


def test_a_damaged_cache_is_made_anew(sources: Sources, make_repo: MakeRepo) -> None:
    repo = make_repo("r")
    pinned = sources.pin(repo.path)
    bare = sources.cache.repository_path(str(repo.path))

    def cut_packs() -> None:
        for pack in (bare / "objects/pack").glob("*.pack"):
            pack.chmod(0o644)
            pack.write_bytes(pack.read_bytes()[:40])

    mark = bare / "mark"

    def leave_locks() -> None:
        mark.touch()
        (bare / "shallow.lock").touch()
        (bare / "packed-refs.lock").touch()
        (bare / "export.index.lock").touch()
        (bare / "objects/pack/tmp_pack_x").touch()
        (bare / "refs/one/x.lock").touch()

    leave_locks()
    repo.write("b.txt", "x")
    repo.commit()
    assert sources.pin(repo.path).commit == repo.head
    assert mark.exists(), "locks that a dead process left are no reason to fetch all anew"
    repo.git("reset", "--quiet", "--hard", pinned.commit)
    for damage in (
        cut_packs,
        (bare / "HEAD").unlink,
        lambda: (bare / "config").write_text("rubbish ["),
        lambda: shutil.rmtree(bare / "objects"),
    ):
        damage()
        shutil.rmtree(sources.out, ignore_errors=True)
        assert sources.place(pinned)
        assert files(sources.out) == {"a.txt": "one\n"}
        assert sources.pin(repo.path) == pinned


SCRIPT = """
import sys
from pathlib import Path
from packager.console import Console
from packager.fetch.cache import Cache
from packager.fetch.mirrors import Mirrors
from packager.fetch.sources import SourceRequest, pin_all, place_all
means = {"cache": Cache(Path(sys.argv[1])), "mirrors": Mirrors(), "console": Console(quiet=True)}
pins = pin_all([SourceRequest(name="r", url=sys.argv[2])], **means)
print("pinned", flush=True)
place_all([(pins[0], Path(sys.argv[3]))], **means)
"""


def test_killed_at_any_time_and_run_again(sources: Sources, make_repo: MakeRepo) -> None:
    """kill -9 after 0, 50, 100 ... ms until a run gets through; the last one finds everything as it should be."""
    repo = make_repo("r")
    for n in range(300):
        repo.write(f"many/{n}.txt", f"{n}\n" * 50)
    repo.commit()
    command = [sys.executable, "-c", SCRIPT, str(sources.cache.root), str(repo.path), str(sources.out)]
    kills = 0
    for delay in range(2, 40, 3):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                process.wait(delay / 20)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                kills += 1
    assert kills
    pinned = sources.pin(repo.path)
    sources.place(pinned)
    assert len(files(sources.out)) == 301
    assert sorted(path.name for path in sources.out.parent.iterdir()) == ["thing"]
    assert tree_digest(sources.out / "many") == tree_digest(repo.path / "many")


def test_ctrl_c_leaves_no_git_behind(cache: Cache, tmp_path: Path) -> None:
    """A server that accepts and never answers: Ctrl-C ends at once, and the git that waits for it ends as well."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/r"
        command = [sys.executable, "-c", SCRIPT, str(cache.root), url, str(tmp_path / "out")]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            connection, _ = silent.accept()
            connection.settimeout(20)
            assert connection.recv(65536).startswith(b"GET /r/info/refs")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
            assert process.returncode != 0
            assert connection.recv(65536) == b"", "git should have hung up"
            connection.close()


def test_no_room_for_the_cache_or_the_files(
    make_repo: MakeRepo, small_disk: Path, console: Console, cache: Cache, tmp_path: Path
) -> None:
    repo = make_repo("r")
    (repo.path / "big").write_bytes(os.urandom(3 * 1024 * 1024))
    repo.commit()
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "big").write_bytes(os.urandom(3 * 1024 * 1024))
    full = Sources(Cache(small_disk / "cache"), console, tmp_path / "out")
    with pytest.raises(FetchError, match="no space left") as caught:
        full.pin(repo.path)
    assert str(small_disk / "cache") in str(caught.value)
    shutil.rmtree(small_disk / "cache")
    sources = Sources(cache, console, small_disk / "out")
    for pinned in (sources.pin(repo.path), sources.pin(plain)):
        with pytest.raises(FetchError, match="no space left") as caught:
            sources.place(pinned)
        assert str(small_disk) in str(caught.value)
        assert not any(small_disk.iterdir()), "nothing half is left"


def test_a_waiting_job_gives_up_when_another_fails(
    cache: Cache, console: Console, make_repo: MakeRepo, tmp_path: Path
) -> None:
    """One repository is locked by somebody else for good; the other is missing: the error comes at once."""
    repo = make_repo("r")
    location = str(repo.path)
    name = cache.repository_path(location).stem
    requests = [SourceRequest(name="r", url=location), SourceRequest(name="x", url="/nowhere")]
    with cache.lock(f"git-{name}"):
        start = time.monotonic()
        with pytest.raises(FetchError, match="/nowhere"):
            pin_all(requests, cache=cache, mirrors=Mirrors(), console=console)
        assert time.monotonic() - start < 9, "did not sit out the grace period"
    assert threading.active_count() < 20
