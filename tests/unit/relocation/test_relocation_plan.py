"""The whole tree: planned, applied, moved, run; what cannot move is refused with every fault listed."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from relocation_trees import STUB, VERSION, add_distribution, build_pe, make_tree, run, zipped

from packager.bundle import BundleTree
from packager.errors import DocumentError, InputError
from packager.filesystem import tree_digest
from packager.relocation import apply as apply_module
from packager.relocation.apply import apply_relocation
from packager.relocation.edits import Edit, Remove, Rewrite
from packager.relocation.leaks import scan_leaks
from packager.relocation.plan import plan_relocation

SCRIPT = b"#!/gone/bin/python\nprint(1)\n"


def faults(tree: BundleTree, *build_paths: str) -> list[str]:
    with pytest.raises(DocumentError) as raised:
        plan_relocation(tree, build_paths=build_paths)
    assert raised.value.exit_code == 2
    assert all(fault.remedy for fault in raised.value.faults)
    return [f"{fault.where}: {fault.what}" for fault in raised.value.faults]


def edits(tree: BundleTree, *build_paths: str) -> list[Edit]:
    return list(plan_relocation(tree, build_paths=build_paths).edits)


def assert_records_agree(tree: BundleTree) -> None:
    """Each file that a RECORD lists with a hash is there and has that hash and size."""
    for record in tree.site_packages.glob("*.dist-info/RECORD"):
        for name, digest, size in csv.reader(record.open(encoding="utf-8", newline="")):
            path = tree.site_packages / name
            if digest and path.resolve().is_relative_to(tree.root):
                found = hashlib.sha256(path.read_bytes()).digest()
                wanted = "sha256=" + base64.urlsafe_b64encode(found).rstrip(b"=").decode()
                assert (digest, size) == (wanted, str(path.stat().st_size)), name


def test_real_bundle_is_planned_applied_moved_and_runs(built: BundleTree, tmp_path: Path) -> None:
    before = tree_digest(built.root)
    paths = [sys.base_prefix]
    plan = plan_relocation(built, build_paths=paths)
    assert tree_digest(built.root) == before, "planning writes nothing"
    names = {str(edit.path): edit for edit in plan.edits}
    assert {"python/bin/pip", "python/bin/demo", "python/bin/demo-gui", "python/bin/demo-doc"} <= set(names)
    assert "python/bin/demo-sh" not in names
    assert isinstance(names[f"python/lib/python{VERSION}/site-packages/demo_pkg-1.0.dist-info/direct_url.json"], Remove)
    assert {record.distribution.partition("-")[0] for record in plan.records} == {"pip", "demo_pkg"}
    assert len(list(plan.lines())) == len(plan.edits) + len(plan.records)

    apply_relocation(plan)
    assert_records_agree(built)
    assert edits(built, *paths) == []
    assert not (built.root / ".relocation").exists()
    needles = [str(built.root), f"{sys.base_prefix}/"]
    leaks = scan_leaks(built.root, needles, windows=False)
    assert [leak for leak in leaks if leak.path != f"python/bin/python{VERSION}" and ".so" not in leak.path] == []

    here = built.root
    for place in ["möved it's here", 'again "$HOME"']:
        moved = tmp_path / place / "bundle"
        moved.parent.mkdir()
        here = here.rename(moved)
        scripts = moved / "python" / "bin"
        env = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": f"{sys.base_prefix}/lib"}
        done = run([scripts / "demo", "a b", ""], env=env, cwd="/")
        assert (done.stdout, done.stderr, done.returncode) == (f"{scripts / 'python'}|a b|\n", "", 3)
        done = run([scripts / "demo-doc"], env=env)
        assert done.stdout == "The help of this script. []\n"
        assert run([scripts / "demo-sh", "x"], env=env).stdout == "shell x\n"
        done = run([scripts / "pip", "list", "--format", "json"], env=env)
        assert {item["name"] for item in json.loads(done.stdout)} == {"pip", "demo_pkg"}, done.stderr
        code = "import sysconfig; print(sysconfig.get_config_var('LIBDIR'), sysconfig.get_config_var('prefix'))"
        done = run([scripts / "python", "-c", code], env=env)
        assert done.stdout == f"{moved}/python/lib {moved}/python\n"
        done = run([scripts / "pip", "check"], env=env)
        assert done.returncode == 0, done.stdout
    done = run([scripts / "pip", "uninstall", "-y", "demo_pkg"], env=env)
    assert done.returncode == 0, done.stderr
    assert not (scripts / "demo").exists(), "pip finds its files by the RECORD that was updated"


def test_a_kill_at_any_moment_is_mended_by_planning_and_applying_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hostile: writing stops after each number of steps in turn."""

    class Killed(BaseException):
        pass

    def make(root: Path) -> BundleTree:
        tree = make_tree(root)
        info = add_distribution(tree, "demo", {"../../../bin/a": SCRIPT, "../../../bin/b": SCRIPT, "demo.py": b""})
        add_distribution(tree, "more", {"../../../bin/c": SCRIPT})
        (info / "direct_url.json").write_text('{"url": "file:///b", "dir_info": {}}')
        return tree

    whole = make(tmp_path / "whole")
    apply_relocation(plan_relocation(whole, build_paths=[]))
    wanted, steps = tree_digest(whole.root), 0
    real = apply_module.write_atomic
    while True:
        tree = make(tmp_path / f"kill {steps}")
        left = steps

        def stop(path: Path, content: bytes, *, mode: int | None = None) -> None:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            real(path, content, mode=mode)

        monkeypatch.setattr(apply_module, "write_atomic", stop)
        try:
            apply_relocation(plan_relocation(tree, build_paths=[]))
        except Killed:
            steps += 1
            monkeypatch.setattr(apply_module, "write_atomic", real)
            apply_relocation(plan_relocation(tree, build_paths=[]))
            assert tree_digest(tree.root) == wanted
            assert_records_agree(tree)
        else:
            break
    assert steps == 5, "two RECORDs and three scripts"


def test_mode_stays_and_the_other_name_of_a_hard_link_does_not_change(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    cached = tmp_path / "uv-cache-entry"
    cached.write_bytes(SCRIPT)
    cached.chmod(0o555)
    os.link(cached, tree.scripts / "demo")
    apply_relocation(plan_relocation(tree, build_paths=[]))
    assert cached.read_bytes() == SCRIPT
    assert (tree.scripts / "demo").read_bytes().startswith(b"#!/bin/sh\n''':'")
    assert stat.S_IMODE((tree.scripts / "demo").stat().st_mode) == 0o555


def test_record_that_leads_out_of_the_tree_touches_nothing_there(tmp_path: Path) -> None:
    """Hostile: absolute and climbing rows, one of another system, a quoted name, rows without hash, too short a row."""
    tree = make_tree(tmp_path / "root")
    outside = tmp_path / "outside"
    outside.write_bytes(SCRIPT)
    (tmp_path / "other").write_bytes(SCRIPT)
    rows = [
        f"{outside},sha256=AAA,1",
        "../../../../../other,sha256=AAA,1",
        "C:/x/y.py,sha256=AAA,1",
        '"a,""b.py",,',
        "short",
    ]
    info = add_distribution(tree, "demo", {"../../../bin/demo": SCRIPT}, *rows)
    apply_relocation(plan_relocation(tree, build_paths=[]))
    assert outside.read_bytes() == (tmp_path / "other").read_bytes() == SCRIPT
    kept = (info / "RECORD").read_text().splitlines()
    assert kept[1:-2] == rows[:-1]
    assert kept[0].endswith(f",{(tree.scripts / 'demo').stat().st_size}")


@pytest.mark.parametrize("content", [b"\xff\xfe,,\n", b"a,b,c,d\n", b'"open\n' + b"x" * 200_000, b"a\0b,,\n"])
def test_unreadable_record_is_bad_input(tmp_path: Path, content: bytes) -> None:
    tree = make_tree(tmp_path / "root")
    (add_distribution(tree, "demo", {"../../../bin/demo": SCRIPT}) / "RECORD").write_bytes(content)
    with pytest.raises(InputError, match="RECORD"):
        plan_relocation(tree, build_paths=[])


def test_record_keeps_its_line_ends_and_rows_without_a_hash(tmp_path: Path) -> None:
    """pip ends the lines by CRLF, uv by LF."""
    tree = make_tree(tmp_path / "root")
    record = add_distribution(tree, "demo", {"../../../bin/a": SCRIPT, "../../../bin/b": SCRIPT}) / "RECORD"
    record.write_bytes(b"../../../bin/a,,\r\n../../../bin/b,sha256=x,1\r\n")
    apply_relocation(plan_relocation(tree, build_paths=[]))
    first, second, rest = record.read_bytes().split(b"\r\n")
    assert (first, rest) == (b"../../../bin/a,,", b"")
    assert second.startswith(b"../../../bin/b,sha256=")
    assert_records_agree(tree)


def test_absolute_record_row_into_the_tree_becomes_relative(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    script = tree.scripts / "demo"
    info = add_distribution(tree, "demo", {str(script): SCRIPT})
    apply_relocation(plan_relocation(tree, build_paths=[]))
    assert (info / "RECORD").read_text().startswith("../../../bin/demo,sha256=")
    assert_records_agree(tree)


def test_editable_install_is_refused_once_with_the_distribution_and_a_remedy(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    pth = b"import __editable___demo_1_0_finder; __editable___demo_1_0_finder.install()\n"
    info = add_distribution(tree, "demo", {"__editable__.demo-1.0.pth": pth, "__editable___demo_1_0_finder.py": b""})
    url = {"url": "file:///home/author/demo", "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(url))
    (tree.site_packages / "old.egg-link").write_text("/home/author/old\n.\n")
    found = faults(tree)
    assert [text.partition(": ")[2].partition(" is")[0] for text in found] == ["demo-1.0", "old"]


def test_direct_url_alone_tells_an_editable_install(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    url = {"url": "https://example.org/demo", "dir_info": {"editable": True}}
    (add_distribution(tree, "demo", {}) / "direct_url.json").write_text(json.dumps(url))
    assert "demo-1.0 is an editable install" in faults(tree)[0]


def test_real_editable_install_is_refused(built: BundleTree, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "setup.py").write_text("from setuptools import setup\nsetup(name='local-demo', py_modules=['m'])\n")
    (project / "m.py").write_text("")
    try:
        import setuptools
    except ImportError:
        pytest.skip("setuptools is not installed")
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(setuptools.__file__).parent.parent)}
    done = run([built.python, "setup.py", "-q", "develop", "--no-deps"], cwd=project, env=env)
    if done.returncode:
        pytest.skip(f"setup.py develop does not work here: {done.stderr[-200:]}")
    assert any("editable install" in text or "folder of the build machine" in text for text in faults(built))


@pytest.mark.parametrize(
    ("origin", "removed"),
    [
        ('{"url": "file:///b/demo.whl", "archive_info": {}}', True),
        ('{"url": "FILE:///b/demo", "dir_info": {}}', True),
        ('{"url": "git+file:///b/demo", "vcs_info": {"vcs": "git", "commit_id": "0"}}', True),
        ('{"url": "https://example.org/demo.whl", "archive_info": {}}', False),
    ],
)
def test_direct_url_of_a_local_origin_goes_with_its_record_row(tmp_path: Path, origin: str, removed: bool) -> None:
    tree = make_tree(tmp_path / "root")
    info = add_distribution(tree, "demo", {"demo-1.0.dist-info/METADATA": b"Name: demo\n"})
    (info / "direct_url.json").write_text(origin)
    record = info / "RECORD"
    record.write_text(f"demo-1.0.dist-info/direct_url.json,sha256=x,1\n{record.read_text()}")
    apply_relocation(plan_relocation(tree, build_paths=[]))
    assert (info / "direct_url.json").exists() is not removed
    assert ("direct_url.json" in record.read_text()) is not removed


@pytest.mark.parametrize("origin", ["[]", "{", '{"url": 1, "dir_info": []}', "{}", "\xff"])
def test_direct_url_that_is_no_such_thing_is_refused(tmp_path: Path, origin: str) -> None:
    tree = make_tree(tmp_path / "root")
    (add_distribution(tree, "demo", {}) / "direct_url.json").write_bytes(origin.encode("latin-1"))
    assert "PEP 610" in faults(tree)[0]


def test_path_files_are_made_relative_or_refused(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    (tree.root / "ComfyUI" / "lib").mkdir(parents=True)
    pth = tree.site_packages / "x.pth"
    pth.write_bytes(
        f"# {tree.root} stays for the leak scan\n{tree.root}/ComfyUI/lib \r\nrelative\nimport os\n".encode()
    )
    apply_relocation(plan_relocation(tree, build_paths=[]))
    assert pth.read_bytes().splitlines()[1:] == [b"../../../../ComfyUI/lib ", b"relative", b"import os"]
    assert (tree.site_packages / "../../../../ComfyUI/lib").resolve() == tree.root / "ComfyUI" / "lib"
    pth.write_text("/home/author/src\n")
    assert "adds /home/author/src" in faults(tree)[0]
    pth.write_text(f"{tree.root}/not/there\n")
    assert "folder of the build machine" in faults(tree)[0]
    pth.write_text(f"import sys; sys.path.append('{tree.root}/x')\n")
    assert "runs code that names the build path" in faults(tree)[0]


def test_links_are_made_relative_copied_or_refused(tmp_path: Path) -> None:
    """Hostile: links to secrets of the author, by climbing, through a linked folder, and disguised by `..`."""
    original = tmp_path / "original python"
    (original / "bin").mkdir(parents=True)
    (original / "bin" / "python3.11").write_bytes(b"program")
    secret = tmp_path / "secret"
    secret.write_text("key")
    (original / "bin" / "trap").symlink_to(secret)
    tree = make_tree(tmp_path / "root")
    (tree.prefix / "lib" / "libx.so.1").write_bytes(b"")
    (tree.prefix / "lib" / "libx.so").symlink_to(tree.prefix / "lib" / "libx.so.1")
    (tree.scripts / "python3.11").symlink_to(original / "bin" / "python3.11")
    (tree.scripts / "python").symlink_to(original / "bin" / "python")
    (tree.scripts / "python3").symlink_to("python3.11")
    (tree.prefix / "lib" / "dangling").symlink_to("nowhere")
    (tree.prefix / "climbing").symlink_to("../../original python/bin/python")
    (original / "bin" / "python").write_bytes(b"")
    found = edits(tree, str(original))
    assert [(str(edit.path), type(edit).__name__) for edit in found] == [
        ("python/bin/python", "Materialise"),
        ("python/bin/python3.11", "Materialise"),
        ("python/climbing", "Relink"),
        ("python/lib/libx.so", "Relink"),
    ]
    apply_relocation(plan_relocation(tree, build_paths=[str(original)]))
    assert (tree.scripts / "python3.11").read_bytes() == b"program"
    assert not (tree.scripts / "python3.11").is_symlink()
    assert (tree.prefix / "lib" / "libx.so").readlink() == Path("libx.so.1")
    assert (tree.prefix / "climbing").readlink() == Path("bin/python")
    assert edits(tree, str(original)) == []

    node = tree.nodes / "evil"
    node.mkdir(parents=True)
    (node / "a").symlink_to(secret)
    (node / "b").symlink_to(f"{original}/../secret")
    (node / "c").symlink_to("../../../../secret")
    (node / "d").symlink_to(original / "bin" / "trap")
    (node / "e").symlink_to(tmp_path)
    (node / "f").symlink_to("e/secret")
    assert [text.partition(":")[0].rpartition("/")[2] for text in faults(tree, str(original))] == list("abcdef")
    assert secret.read_text() == "key"


def test_folder_that_holds_the_tree_is_no_other_name_of_the_prefix(tmp_path: Path) -> None:
    """Hostile: a link to a file of the work folder must not bring it in as if it were the interpreter's."""
    tree = make_tree(tmp_path / "work" / "root")
    (tmp_path / "work" / "journal").write_text("private")
    (tree.site_packages / "a.py").write_text("")
    cache = tree.site_packages / "__pycache__" / "a.cpython-311.pyc"
    cache.parent.mkdir()
    cache.write_bytes(os.fsencode(tmp_path / "work" / "wheels"))
    holder = str(tmp_path / "work")
    assert [edit.path.name for edit in edits(tree, holder)] == [cache.name]
    (tree.root / "link").symlink_to(tmp_path / "work" / "journal")
    assert "points out of the bundle" in faults(tree, holder)[0]


def test_standard_library_of_a_shared_prefix_is_known_by_its_end(tmp_path: Path) -> None:
    """Debian's Python lies in /usr, which is no name to look for; its lib/python3.x is."""
    tree = make_tree(tmp_path / "root")
    (tree.stdlib / "os.py").write_text("")
    (tree.root / "link.py").symlink_to("/opt/shared/lib/python3.11/os.py")
    apply_relocation(plan_relocation(tree, build_paths=["/opt/shared/lib/python3.11"]))
    assert (tree.root / "link.py").readlink() == Path("python/lib/python3.11/os.py")


def test_text_files_of_the_interpreter_lose_the_prefix(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    old = "/home/author/conda/envs/x"
    library = tree.prefix / "lib"
    config = tree.stdlib / "config-3.11-x86_64-linux-gnu"
    files = {
        library / "pkgconfig" / "p.pc": f"prefix={old}\nlibdir={tree.prefix}/lib\nLibs: -L{old}/lib -L{old}2/lib\n",
        library / "libx.la": f"libdir='{old}/lib'\n",
        config / "Makefile": f"prefix={tree.prefix}\nsrc={tree.root}/src\n",
        config / "python-config.py": f"#!{old}/bin/python3.11\n",
        tree.stdlib / "_sysconfigdata__linux.py": f"build_time_vars = {{'LIBDIR': '{old}/lib', 'N': 1}}\n",
        tree.scripts / "python3.11-config": f'#!/bin/sh\nprefix="{old}"\n',
        tree.site_packages / "notes.txt": f"{old}\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    apply_relocation(plan_relocation(tree, build_paths=[old]))
    now = {path.name: path.read_text() for path in files}
    relative = "${pcfiledir}/../.."
    assert now["p.pc"] == f"prefix={relative}\nlibdir={relative}/lib\nLibs: -L{relative}/lib -L{old}2/lib\n"
    assert now["libx.la"] == "libdir='/portable/python/lib'\n"
    assert now["Makefile"] == "prefix=/portable/python\nsrc=/portable/src\n"
    assert 'printf %s "$PWD/../../../bin/python"' in now["python-config.py"]
    assert now["python3.11-config"] == '#!/bin/sh\nprefix="/portable/python"\n'
    assert now["notes.txt"] == f"{old}\n", "only what a rule names is rewritten"
    variables: dict[str, dict[str, object]] = {}
    exec(now["_sysconfigdata__linux.py"], variables)
    assert variables["build_time_vars"] == {"LIBDIR": f"{sys.base_prefix}/lib", "N": 1}
    assert edits(tree, old) == []


def test_bytecode_with_the_build_path_goes_and_other_bytecode_stays(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    for name in ("a.py", "b.py"):
        (tree.site_packages / name).write_text("def f(): pass\n")
    code = "import compileall; compileall.compile_dir('.', quiet=1, stripdir={!r})"
    subprocess.run([sys.executable, "-c", code.format(str(tree.root))], cwd=tree.site_packages, check=True)
    cache = next(tree.site_packages.glob("__pycache__/b.*.pyc"))
    subprocess.run([sys.executable, "-m", "compileall", "-qf", tree.site_packages / "b.py"], check=True)
    tag = cache.name.partition(".")[2]
    rows = [f"__pycache__/a.{tag},,", f"__pycache__/b.{tag},,"]
    info = add_distribution(tree, "demo", {}, *rows)
    assert edits(tree) == [
        Remove(
            path=tree.relative(cache),
            kind="bytecode",
            reason="names its source by the build path; Python makes it anew",
        )
    ]
    apply_relocation(plan_relocation(tree, build_paths=[]))
    assert (info / "RECORD").read_text() == f"{rows[0]}\ndemo-1.0.dist-info/RECORD,,\n"
    (tree.site_packages / "c.pyc").write_bytes(os.fsencode(tree.root))
    assert "bytecode without a source" in faults(tree)[0]


def test_virtual_environment_is_refused(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    (tree.nodes / "node" / "venv").mkdir(parents=True)
    (tree.nodes / "node" / "venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    assert "virtual environment" in faults(tree)[0]


def test_pipe_in_the_scripts_folder_does_not_hang(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    os.mkfifo(tree.scripts / "pipe")
    os.mkfifo(tree.site_packages / "direct.pth")
    assert edits(tree) == []


@pytest.mark.parametrize("path", ["/", "/usr", "/usr/", "/root", "relative/path", "/x", "", "C:\\Users\\"])
def test_build_path_that_says_nothing_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(InputError, match="build path"):
        plan_relocation(make_tree(tmp_path / "root"), build_paths=[path])


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to make a shared library")
@pytest.mark.parametrize("tags", ["--enable-new-dtags", "--disable-new-dtags"])
def test_search_path_of_a_library_becomes_relative_and_the_record_follows(tmp_path: Path, tags: str) -> None:
    tree = make_tree(tmp_path / "root")
    rpath = f"{tree.prefix}/lib:/home/author/conda/lib:{tree.root}/gone:/opt/other"
    made = tmp_path / "libx.so"
    subprocess.run(["gcc", "-shared", "-o", made, "-x", "c", "/dev/null", f"-Wl,-rpath,{rpath},{tags}"], check=True)
    add_distribution(tree, "demo", {"demo/libx.so": made.read_bytes()})
    library = tree.site_packages / "demo" / "libx.so"
    library.chmod(0o444)
    (tree.site_packages / "demo" / "broken.so").write_bytes(b"\x7fELF" + b"\xff" * 30)
    apply_relocation(plan_relocation(tree, build_paths=["/home/author/conda"]))
    shown = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert "[$ORIGIN/../../..:$ORIGIN/../../..:/opt/other]".replace("$ORIGIN/../../..:$ORIGIN", "$ORIGIN", 1) in shown
    assert ("RUNPATH" in shown) is (tags == "--enable-new-dtags")
    assert stat.S_IMODE(library.stat().st_mode) == 0o444
    assert_records_agree(tree)
    assert edits(tree, "/home/author/conda") == []


def test_windows_tree_gets_relative_launchers_of_all_three_kinds(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root", "windows-x86_64")
    trampoline, native = build_pe(("UV_PYTHON_PATH",)), build_pe(()) + b"data"
    one = STUB + b"#!C:\\build\\python.exe\r\n" + zipped()
    info = add_distribution(
        tree,
        "demo",
        {
            "../../Scripts/one.exe": one,
            "../../Scripts/two.exe": native,
            "../../Scripts/two-script.py": b"#!C:\\build\\python.exe\r\nprint(2)\r\n",
            "../../Scripts/three.exe": trampoline,
            "../../Scripts/native.exe": native,
        },
    )
    (info / "entry_points.txt").write_text("[console_scripts]\nother = demo:other\nThree = demo:main\n")
    plan = plan_relocation(tree, build_paths=["C:\\build"])
    assert [edit.path.name for edit in plan.edits] == ["one.exe", "three.exe", "two-script.py"]
    assert all(isinstance(edit, Rewrite) for edit in plan.edits)
    apply_relocation(plan)
    assert (tree.scripts / "one.exe").read_bytes() == STUB + b"#!<launcher_dir>\\..\\python.exe\r\n" + zipped()
    assert b"from demo import main" in (tree.scripts / "three.exe").read_bytes()
    assert (tree.scripts / "two-script.py").read_bytes() == b"print(2)\r\n"
    assert (tree.scripts / "native.exe").read_bytes() == native
    assert_records_agree(tree)
    assert edits(tree, "C:\\build") == []
    (tree.scripts / "torn.exe").write_bytes(one[:-30])
    (tree.scripts / "alone.exe").write_bytes(trampoline)
    found = faults(tree)
    assert "alone.exe: is uv's launcher for an entry point that is not in the metadata" in found[0]
    assert "torn.exe: looks like a launcher" in found[1]


def test_plan_says_each_edit_in_words(tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "root")
    add_distribution(tree, "demo", {"../../../bin/demo": SCRIPT})
    assert list(plan_relocation(tree, build_paths=[]).lines()) == [
        "rewrite python/bin/demo (script): its first line names its Python by an absolute path or by PATH",
        "update python/lib/python3.11/site-packages/demo-1.0.dist-info/RECORD (RECORD): files of demo-1.0 change",
    ]
