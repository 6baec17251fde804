"""What Triton and torch.compile compile with on Windows, and the opt-in that gives it up."""

from __future__ import annotations

from pathlib import Path

import pytest
from cleanup_trees import removed, write_tree

from packager import targets
from packager.bundle import BundleTree
from packager.cleanup import RuleSet, plan_cleanup

COMPILED_WITH = (
    "python/include/Python.h",
    "python/include/cpython/object.h",
    "python/libs/python3.lib",
    "python/libs/python312.lib",
    "python/Lib/site-packages/torch/include/torch/csrc/inductor/cpp_prefix.h",
    "python/Lib/site-packages/triton/backends/nvidia/include/cuda.h",
)
TRITONS_OWN = (
    "python/Lib/site-packages/torch/lib/c10.lib",
    "python/Lib/site-packages/triton/backends/nvidia/bin/ptxas.exe",
    "python/Lib/site-packages/triton/backends/nvidia/driver.c",
    "python/Lib/site-packages/triton/runtime/tcc/tcc.exe",
    "python/Lib/site-packages/triton/runtime/tcc/lib/libtcc1.a",
)


@pytest.mark.parametrize("tier", ["safe", "aggressive"])
def test_headers_and_import_libraries_stay_unless_no_jit_is_asked_for(
    tmp_path: Path, rules: RuleSet, tier: str
) -> None:
    files = dict.fromkeys(
        [*COMPILED_WITH, *TRITONS_OWN, "python/python.exe", "python/Lib/os.py", "ComfyUI/main.py"], ""
    )
    root = write_tree(tmp_path / "root", files)
    tree = BundleTree(root=root, target=targets.get("windows-x86_64"), python_version="3.12.4")
    assert removed(plan_cleanup(tree, rules, tier=tier)) == set()
    gone = removed(plan_cleanup(tree, rules, tier=tier, opt_in=["no-jit"]))
    assert {name for name in files if any(name.startswith(path) for path in gone)} == set(COMPILED_WITH)
