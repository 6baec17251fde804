"""What a bundle says of itself in portable/, which the helpers in it go by; bundle.json stands in the manifest too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packager import accelerators
from packager.bundle import APP_DIR, BundleTree
from packager.filesystem import write_json
from packager.lock import Lock
from packager.model_files import FIRST_RUN_LIST, first_run_list
from packager.models import wanted_models
from packager.protected import protected_packages
from packager.recipe import Recipe
from packager.relocation.prefix_table import PREFIX_TABLE
from packager.targets import Target


def bundle_facts(
    recipe: Recipe, lock: Lock, target: Target, *, python_version: str, glibc_floor: str | None
) -> dict[str, Any]:
    """`python_version` in full; `glibc_floor` is the oldest glibc that all of the bundle loads with."""
    return {
        "format": 1,
        "name": recipe.name,
        "version": recipe.version,
        "description": recipe.description,
        "target": target.name,
        "accelerator": recipe.accelerator,
        "root": recipe.root,
        "python_version": python_version,
        "app": APP_DIR,
        "env": recipe.env,
        "glibc_floor": glibc_floor,
        "launch": {"args": list(recipe.launch_args)},
        "system_libraries": list(recipe.system_libraries),
        "repositories": [
            {
                "name": repo.name,
                "url": repo.url if repo.url.startswith("https://") else None,  # a path here means nothing there
                "commit": repo.commit,
                "tree": repo.tree,
            }
            for repo in lock.repositories
        ],
        "created_from": {"recipe_digest": recipe.digest, "lock_digest": lock.digest},
    }


def write_facts(
    tree: BundleTree, recipe: Recipe, lock: Lock, facts: Mapping[str, Any], results: Mapping[str, Any]
) -> None:
    """Write `facts` (bundle.json) and what follows from the `results` of the stages, by their names."""
    portable, installed = tree.portable, results["install"]
    write_json(portable / "bundle.json", facts)
    changed = {name: new for name, (_, new) in installed["changes"].items()}
    (portable / "lock.txt").write_text(lock.constraints(changed), encoding="utf-8")
    if recipe.model_mode == "first-run" and recipe.models:
        models = wanted_models(recipe.models, tree.target, tree.python_version)
        write_json(portable / FIRST_RUN_LIST, first_run_list(models))
    if needs := accelerators.machine_needs(lock.accelerator, installed["torch"], tree.target):
        write_json(portable / accelerators.FILE_NAME, needs)
    if results["relocate"]["prefixes"]["files"]:
        write_json(portable / PREFIX_TABLE, results["relocate"]["prefixes"])
    protected = protected_packages(installed["native"], target=tree.target.name, accelerator=recipe.accelerator)
    write_json(portable / "protected.json", protected)
    write_json(portable / "removed.json", results["clean"]["record"])
