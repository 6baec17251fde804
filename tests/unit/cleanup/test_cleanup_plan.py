"""Planning: what goes, what stays and why, over hostile and ordinary trees. Nothing here changes a tree."""

from __future__ import annotations

import json
import os
import string
import tempfile
from pathlib import Path

import pathspec
import pytest
from cleanup_trees import names, one_rule, removed, snapshot, write_tree
from hypothesis import given, settings
from hypothesis import strategies as st

from packager.bundle import BundleTree
from packager.cleanup import (
    Protection,
    RuleSet,
    TreeLayout,
    apply,
    detect_layout,
    layout_of,
    load_rules,
    plan_cleanup,
    removed_record,
    tree_bytes,
)
from packager.cleanup.patterns import NameIndex, compile_pattern, pattern_problem
from packager.cleanup.rules import Keep
from packager.errors import InputError

LIB = "python/lib/python3.11"
SITE = f"{LIB}/site-packages"


def site(root: Path) -> TreeLayout:
    return TreeLayout(root=root, os="linux", scopes={"": ("site-packages",)})


def test_safe_plan_of_a_bundle(bundle: BundleTree, rules: RuleSet) -> None:
    assert removed(plan_cleanup(bundle, rules)) == {
        "ComfyUI/.git/",
        "ComfyUI/.github/",
        "ComfyUI/tests/",
        "ComfyUI/custom_nodes/node/.git/",
        "python/bin/idle3",
        "python/lib/libpython3.11.a",
        "python/share/doc/xz/faq.txt",
        "python/share/man/",
        f"{LIB}/__pycache__/",
        f"{LIB}/config-3.11-x86_64-linux-gnu/",
        f"{LIB}/test/",
        f"{LIB}/unittest/__pycache__/",
        f"{LIB}/unittest/test/",
        f"{SITE}/demo/__pycache__/",
        f"{SITE}/demo/mixed/",
        f"{SITE}/demo/mixed/libdemo.a",
        f"{SITE}/demo/mixed/tests/",
        f"{SITE}/demo/native/tests/test_native.py",
        f"{SITE}/demo/tests/",
    }


def test_aggressive_plan_spares_what_nodes_serve_and_what_is_the_users(bundle: BundleTree, rules: RuleSet) -> None:
    plan = plan_cleanup(bundle, rules, tier="aggressive")
    assert "ComfyUI/custom_nodes/node/tests/" in removed(plan)
    assert not [path for path in removed(plan) if "served" in path or "/models/" in path or path.startswith("portable")]


def test_what_stays_in_spite_of_a_rule_is_told_with_the_reason(bundle: BundleTree, rules: RuleSet) -> None:
    kept = {kept.path: (kept.rule, kept.by) for kept in plan_cleanup(bundle, rules).kept}
    assert kept == {
        "python/share/doc/xz/COPYING": ("prefix-manuals", "licences"),
        f"{SITE}/demo/native/tests/libneeded.so": ("package-tests", "dynamic-libraries"),
    }


def test_a_folder_that_rules_empty_goes_and_one_that_was_empty_stays(bundle: BundleTree, rules: RuleSet) -> None:
    plan = plan_cleanup(bundle, rules)
    (emptied,) = [removal for removal in plan.removals if removal.emptied]
    order = [removal.path for removal in plan.removals]
    assert emptied.path == f"{SITE}/demo/mixed"
    assert order.index(emptied.path) > order.index(f"{SITE}/demo/mixed/tests")
    assert not [path for path in order if path.startswith("ComfyUI/input")]


def test_bytes_of_a_hard_link_count_once_and_only_if_no_name_stays(bundle: BundleTree, rules: RuleSet) -> None:
    tests = bundle.site_packages / "demo/tests"

    def tests_bytes() -> int:
        return next(item.bytes for item in plan_cleanup(bundle, rules).removals if item.path == f"{SITE}/demo/tests")

    others = sum(path.lstat().st_size for path in tests.rglob("*") if path.is_symlink() or path.name in ("run.sh",))
    assert tests_bytes() == 5000 + others + len("bytecode")
    os.link(tests / "data/big.bin", bundle.site_packages / "demo/kept.bin")
    assert tests_bytes() == others + len("bytecode")


def test_two_plans_are_equal_and_planning_changes_nothing(bundle: BundleTree, rules: RuleSet) -> None:
    before = snapshot(bundle.root)
    first, second = plan_cleanup(bundle, rules), plan_cleanup(detect_layout(bundle.root), rules)
    assert first == second
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())
    assert first.table() == second.table()
    assert snapshot(bundle.root) == before


def test_table_and_json_add_up(bundle: BundleTree, rules: RuleSet) -> None:
    plan = plan_cleanup(bundle, rules)
    assert sum(saving.bytes for saving in plan.by_rule()) == plan.bytes == sum(s.bytes for s in plan.by_package())
    assert sum(saving.files for saving in plan.by_rule()) == plan.files
    assert plan.tree_files == len([name for name in names(bundle.root) if not name.endswith("/")])
    table = plan.table(tree_bytes=tree_bytes(bundle.root))
    assert "package-tests" in table
    assert "demo" in table
    assert {item["rule"]: item["files"] for item in plan.to_json()["rules"]}["package-tests"] == 8


def test_the_record_names_folder_and_rule_of_each_removal(bundle: BundleTree, rules: RuleSet) -> None:
    record = removed_record(plan_cleanup(bundle, rules))
    by_id = {rule["id"]: rule for rule in record["rules"]}
    assert "tests/" in by_id["package-tests"]["removed"][f"{SITE}/demo"]
    assert by_id["package-tests"]["removed"][f"{SITE}/demo/native/tests"] == ["test_native.py"]
    assert set(by_id["bytecode"]) == {"id", "why", "rebuilt"}, "its size depends on where it was compiled"
    assert by_id["bytecode"]["rebuilt"]


def test_tier_none_removes_nothing(bundle: BundleTree, rules: RuleSet) -> None:
    plan = plan_cleanup(bundle, rules, tier="none")
    assert (plan.removals, plan.files, plan.bytes) == ((), 0, 0)
    assert plan.table()


def test_a_recipe_keeps_a_path_from_the_root_of_the_bundle(bundle: BundleTree, rules: RuleSet) -> None:
    added = rules.with_keeps(
        [(f"/{SITE}/demo/tests/data/", "demo reads it"), ("ComfyUI/tests", "why not")], source="r.yml"
    )
    plan = plan_cleanup(bundle, added)
    assert f"{SITE}/demo/tests/" not in removed(plan)
    assert not [path for path in removed(plan) if "big.bin" in path or path.startswith("ComfyUI/tests")]
    assert f"{SITE}/demo/tests/__init__.py" in removed(plan)
    assert "demo reads it" in {kept.reason for kept in plan.kept}


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link to a folder outside, one to a folder above (a loop), one named like what a folder rule removes."""
    outside = write_tree(tmp_path / "outside", {"tests/theirs.py": "", "__pycache__/x.pyc": ""})
    root = write_tree(tmp_path / "root", {"pkg/tests/mine.py": ""})
    (root / "pkg/away").symlink_to(outside)
    (root / "pkg/up").symlink_to(root)
    (root / "pkg/self").symlink_to("self")
    (root / "other").mkdir()
    (root / "other/tests").symlink_to(outside / "tests")
    plan = plan_cleanup(site(root), one_rule("tests/", "__pycache__/"))
    assert removed(plan) == {"pkg/tests/"}


def test_a_link_that_a_file_rule_names_goes_as_a_link(tmp_path: Path) -> None:
    target = write_tree(tmp_path, {"outside.a": "theirs", "root/keep.py": ""}) / "outside.a"
    (tmp_path / "root/lib.a").symlink_to(target)
    plan = plan_cleanup(site(tmp_path / "root"), one_rule("*.a"))
    assert removed(plan) == {"lib.a"}
    assert plan.bytes == len(os.fsencode(target))


def test_what_a_staying_link_reaches_through_other_links_stays(tmp_path: Path) -> None:
    """`lib64 -> lib` as venvs have it; a link that would go on the way; and one that leaves the tree and comes back."""
    tests = "lib/python3.12/site-packages/demo/tests"
    root = write_tree(tmp_path / "env", {"pyvenv.cfg": "", "lib/python3.12/os.py": "", "bin/": ""})
    write_tree(root, {f"{tests}/{name}.dat": name for name in ("near", "far", "round", "gone")})
    (root / "lib64").symlink_to("lib")
    (root / tests / "on").symlink_to("far.dat")
    (root / "bin/near").symlink_to(f"../lib64/{tests[4:]}/near.dat")
    (root / "bin/far").symlink_to(f"../lib64/../lib64/{tests[4:]}/on")
    (root / "bin/round").symlink_to(f"../../env/{tests}/round.dat")
    (root / "bin/circle").symlink_to("circle")
    (root / "bin/nowhere").symlink_to("../lib64/nothing/there")
    apply(plan_cleanup(detect_layout(root), load_rules()), tmp_path / "quarantine")
    assert {name: (root / "bin" / name).read_text() for name in ("near", "far", "round")} == {
        "near": "near",
        "far": "far",
        "round": "round",
    }
    assert not (root / tests / "gone.dat").exists()


@pytest.mark.parametrize("absolute", [True, False])
def test_what_a_staying_link_points_to_stays(tmp_path: Path, absolute: bool) -> None:
    """Also the link that keeps a second link: a -> b, b -> tests/data."""
    root = write_tree(tmp_path / "root", {"pkg/tests/data/table.bin": "", "pkg/tests/t.py": "", "pkg/x.py": ""})
    (root / "pkg/tests/b").symlink_to(root / "pkg/tests/data" if absolute else "data")
    (root / "pkg/a").symlink_to(root / "pkg/tests/b" if absolute else "tests/b")
    plan = plan_cleanup(site(root), one_rule("tests/"))
    assert removed(plan) == {"pkg/tests/t.py"}
    assert {kept.path for kept in plan.kept} == {"pkg/tests/b", "pkg/tests/data"}


def test_names_with_newlines_and_bytes_that_are_no_utf8(tmp_path: Path, rules: RuleSet) -> None:
    """A newline before a protected name, after a suffix, and bytes no table or JSON could print."""
    hostile = os.fsdecode(b"caf\xe9\n\x1b[31m")
    root = write_tree(
        tmp_path / "root",
        {f"{hostile}/tests/t.py": "", f"{hostile}/tests/LICENSE": "", f"{hostile}/x.a\n": "", f"{hostile}/x.a": ""},
    )
    plan = plan_cleanup(site(root), rules)
    assert removed(plan) == {f"{hostile}/tests/t.py", f"{hostile}/x.a"}
    shown = plan.table() + json.dumps(plan.to_json(), ensure_ascii=False) + json.dumps(removed_record(plan))
    shown.encode("utf-8")
    assert r"caf\xe9\n\x1b[31m" in plan.table()
    assert set(shown) <= set(string.printable) - {"\x0b", "\x0c", "\x1b"}


def test_a_tree_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    place = tmp_path
    for _ in range(400):
        place /= "d"
    place.mkdir(parents=True)
    with pytest.raises(InputError, match="nested"):
        plan_cleanup(site(tmp_path), one_rule("tests/"))


def test_the_quarantine_of_a_tree_is_not_part_of_its_plan(tmp_path: Path) -> None:
    write_tree(tmp_path, {".packager-quarantine/files/tests/t.py": "", "pkg/.packager-quarantine/tests/t.py": ""})
    assert removed(plan_cleanup(site(tmp_path), one_rule("tests/"))) == {"pkg/"}


def test_scope_folders_stay_even_if_all_in_them_goes(tmp_path: Path, rules: RuleSet) -> None:
    root = write_tree(tmp_path, {"lib/python3.12/site-packages/pkg/tests/t.py": "", "lib/python3.12/os.py": ""})
    assert removed(plan_cleanup(detect_layout(root), rules)) == {"lib/python3.12/site-packages/pkg/"}


def test_compiled_sources_go_only_beside_their_module(tmp_path: Path, rules: RuleSet) -> None:
    root = write_tree(
        tmp_path,
        {
            "fast/_fast.pyx": "",
            "fast/_fast.c": "",
            "fast/_fast.cpython-311-x86_64-linux-gnu.so": "",
            "fast/_fas.c": "",
            "fast/.c": "",
            "triton/backends/nvidia/driver.c": "",
            "numpy/f2py/src/fortranobject.c": "",
            "Cython/Runtime/refnanny.pyx": "",
            "Cython/Runtime/refnanny.cpython-311-x86_64-linux-gnu.so": "",
        },
    )
    assert removed(plan_cleanup(site(root), rules)) == {"fast/_fast.pyx", "fast/_fast.c"}


def test_windows_import_libraries_stay_and_static_ones_go(tmp_path: Path, rules: RuleSet) -> None:
    packages = {
        "torch/lib/dnnl.lib": True,
        "torch/lib/libprotoc.lib": True,
        "torch/lib/mimalloc-2.5/mimalloc.lib": True,
        "nvidia/cu13/lib/x64/cudart_static.lib": True,
        "av/av.pdb": False,
        "av/_core.pdb": True,
        "av/_core.cp312-win_amd64.pyd": False,
        "torch/lib/torch_python.lib": False,
        "torch/lib/c10.lib": False,
        "torch/lib/sleef.lib": False,
        "triton/backends/nvidia/lib/x64/cuda.lib": False,
        "triton/runtime/tcc/lib/libtcc1.a": False,
        "nvidia/cu13/lib/x64/cudart.lib": False,
    }
    tree = {f"Lib/site-packages/{name}": "" for name in packages}
    root = write_tree(
        tmp_path, tree | {"libs/python312.lib": "", "Lib/os.py": "", "DLLs/_testcapi.pyd": "", "DLLs/_ssl.pyd": ""}
    )
    plan = plan_cleanup(detect_layout(root), rules)
    gone = {
        name
        for path in removed(plan)
        for name in (*tree, "libs/python312.lib", "DLLs/_testcapi.pyd", "DLLs/_ssl.pyd")
        if name.startswith(path)
    }
    assert gone == {f"Lib/site-packages/{name}" for name, goes in packages.items() if goes} | {"DLLs/_testcapi.pyd"}


def test_conda_cache_goes_without_its_licences_and_other_environments_stay(tmp_path: Path, rules: RuleSet) -> None:
    root = write_tree(
        tmp_path,
        {
            "conda-meta/python-3.12.json": "{}",
            "lib/python3.12/os.py": "",
            "pkgs/xz-5.8-h1/lib/liblzma.so.5": "",
            "pkgs/xz-5.8-h1/info/licenses/COPYING": "",
            "pkgs/six-1.17-py_0/site-packages/six-1.dist-info/METADATA": "",
            "pkgs/xz-5.8-h1.conda": "",
            "envs/work/bin/python": "",
        },
    )
    layout = detect_layout(root)
    gone = removed(plan_cleanup(layout, rules, tier="aggressive"))
    assert gone == {"pkgs/six-1.17-py_0/", "pkgs/xz-5.8-h1.conda", "pkgs/xz-5.8-h1/lib/"}
    chosen = removed(plan_cleanup(layout, rules, opt_in=["conda-metadata", "conda-environments"]))
    assert chosen - gone == {"conda-meta/", "envs/"}


NAMES = ["a", "b", "tests", "LICENSE", "x.py", "y.js.map", "~z", "test_q", "A"]
PATTERNS = [
    "a/",
    "b",
    "tests/",
    "LICENSE*",
    "*.py",
    "*.map",
    "/a/*",
    "/a/b/",
    "**/b/x.py",
    "a/**/tests/",
    "~*",
    "/tests/*.py",
    "test_*",
    "[ab]/",
    "?",
]
trees = st.dictionaries(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(tuple), st.just(""), max_size=25)


@settings(max_examples=80, deadline=None)
@given(
    trees,
    st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3, unique=True),
    st.lists(st.sampled_from(PATTERNS), max_size=2),
    st.booleans(),
)
def test_a_plan_removes_exactly_what_pathspec_matches(
    tree: dict[tuple[str, ...], str], patterns: list[str], stays: list[str], protected: bool
) -> None:
    """Against pathspec on whole paths, file by file, with exceptions of the rule or with protections."""
    files = [
        "/".join(parts) for parts in tree if not any(other[: len(parts)] == parts for other in tree if other != parts)
    ]
    keep = tuple(Keep(pattern=pattern, reason="why", source="test") for pattern in stays)
    rules = one_rule(*patterns) if protected else one_rule(*patterns, keep=keep)
    if protected and stays:
        guard = Protection(id="p", scopes=("site-packages",), patterns=tuple(stays), reason="why", source="test")
        rules = RuleSet(rules=rules.rules, protections=(guard,))
    goes = pathspec.GitIgnoreSpec.from_lines(patterns)
    kept = [compile_pattern(pattern, ignore_case=True) for pattern in stays]
    expected = {file for file in files if goes.match_file(file) and not any(one.match(file) for one in kept)}
    with tempfile.TemporaryDirectory() as folder:
        root = write_tree(Path(folder), dict.fromkeys(files, ""))
        plan = plan_cleanup(site(root), rules)
        found = {
            file
            for file in files
            for path in removed(plan)
            if file == path or (path.endswith("/") and file.startswith(path))
        }
        assert found == expected
        assert plan.files == len(expected)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab/.*?[]!~ \\-:", max_size=12))
def test_a_pattern_is_either_refused_or_compiles(pattern: str) -> None:
    if pattern_problem(pattern) is None:
        NameIndex([(pattern, 1)])
        assert ".." not in pattern.split("/")


LAYOUTS = {
    "prefix": (
        ["lib/python3.12/os.py", "lib/python3.12/site-packages/a.py"],
        {"": ("prefix",), "lib/python3.12": ("stdlib",), "lib/python3.12/site-packages": ("site-packages",)},
        None,
    ),
    "venv": (
        ["lib/python3.12/site-packages/a.py", "pyvenv.cfg"],
        {"": ("venv",), "lib/python3.12/site-packages": ("site-packages",)},
        None,
    ),
    "windows": (
        ["Lib/site-packages/a.py", "python.exe"],
        {"": ("prefix",), "Lib/site-packages": ("site-packages",)},
        "windows",
    ),
    "conda": (
        ["lib/python3.12/os.py", "conda-meta/history"],
        {"": ("prefix", "conda"), "lib/python3.12": ("stdlib",)},
        None,
    ),
    "windows portable": (
        ["python_embeded/Lib/site-packages/a.py", "ComfyUI/main.py", "ComfyUI/custom_nodes/n.py"],
        {
            "python_embeded": ("prefix",),
            "python_embeded/Lib/site-packages": ("site-packages",),
            "ComfyUI": ("app",),
            "ComfyUI/custom_nodes": ("nodes",),
        },
        "windows",
    ),
    "target folder": (["a.py", "a-1.dist-info/METADATA"], {"": ("site-packages",)}, None),
}


@pytest.mark.parametrize(("files", "scopes", "os_name"), LAYOUTS.values(), ids=list(LAYOUTS))
def test_layout_is_found(tmp_path: Path, files: list[str], scopes: dict[str, tuple[str, ...]], os_name: str) -> None:
    layout = detect_layout(write_tree(tmp_path, dict.fromkeys(files, "")))
    assert (dict(layout.scopes), layout.os) == (scopes, os_name)


def test_layout_of_a_bundle_is_what_its_description_says(bundle: BundleTree) -> None:
    assert detect_layout(bundle.root) == layout_of(bundle)


@pytest.mark.parametrize(
    "described",
    [
        "{",
        "[]",
        '{"target": "linux-x86_64"}',
        '{"target": "amiga", "python_version": "3.11.7"}',
        '{"target": "linux-x86_64", "python_version": "../../3"}',
    ],
)
def test_a_hostile_description_of_a_bundle_is_bad_input(bundle: BundleTree, described: str) -> None:
    (bundle.portable / "bundle.json").write_text(described)
    with pytest.raises(InputError):
        detect_layout(bundle.root)


def test_what_is_no_python_tree_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Python tree"):
        detect_layout(write_tree(tmp_path / "photos", {"tests/holiday.jpg": ""}))
    with pytest.raises(InputError, match="not a folder"):
        detect_layout(tmp_path / "missing")


def test_served_folders_under_any_name(tmp_path: Path, rules: RuleSet) -> None:
    """Joined parts, an annotation, pyproject.toml; a path that climbs out and modules that do not parse are passed."""
    nodes = {
        "joined/__init__.py": 'import os\nWEB_DIRECTORY = os.path.join("ui", "js2")\n',
        "joined/ui/tests/a.js": "",
        "typed/__init__.py": 'WEB_DIRECTORY: str = "./front"\n',
        "typed/front/tests/a.js": "",
        "toml/pyproject.toml": '[project]\nname = "x"\n\n[tool.comfy]\nPublisherId = "y"\nweb = "assets"\n',
        "toml/assets/tests/a.js": "",
        "climbs/__init__.py": 'WEB_DIRECTORY = "../toml"\n',
        "climbs/tests/a.js": "",
        "broken/__init__.py": "WEB_DIRECTORY = (\x00",
        "broken/tests/a.js": "",
        "deep/__init__.py": "x = " + "(" * 5000 + "1" + ")" * 5000,
        "deep/tests/a.js": "",
        "whole/__init__.py": 'WEB_DIRECTORY = "."\n',
        "whole/tests/a.js": "",
    }
    root = write_tree(
        tmp_path,
        {f"custom_nodes/{name}": text for name, text in nodes.items()} | {"main.py": "", "site/a-1.dist-info/M": ""},
    )
    layout = TreeLayout(root=root, os="linux", scopes={"": ("app",), "custom_nodes": ("nodes",)})
    plan = plan_cleanup(layout, one_rule("tests/", scopes=("nodes",)))
    assert removed(plan) == {f"custom_nodes/{name}/tests/" for name in ("climbs", "broken", "deep", "whole")}
