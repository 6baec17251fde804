"""Checks of the folder and of its Python. Each takes a site, or what was measured there, and gives a verdict."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packager.bundle import APP_DIR, PORTABLE_DIR, PYTHON_DIR, BundleTree
from packager.errors import InputError
from packager.proof.baseline import Baseline, compare
from packager.proof.probing import import_modules, why_it_ended
from packager.proof.site import Site, Verdict, failed, passed, remedies
from packager.proof.unpack import links_out
from packager.targets import Target

_FORMAT = 1
_MOST = 20  # of a list worth showing
_HELPERS = ("run_comfyui", "install_package", "manage")
_DUMP = "import json, os, sys; print(json.dumps([sys.prefix, dict(os.environ)]))"


def read_facts(root: Path, target: Target) -> dict[str, Any]:
    """The bundle.json of the bundle at `root`. Raises InputError if it is none, or one for another target."""
    path = root / PORTABLE_DIR / "bundle.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        fault = _facts_fault(facts, target)
    except (OSError, ValueError) as error:
        fault = str(error)
    if fault:
        raise InputError(
            f"describes no bundle that can be proved here: {fault}",
            where=str(path),
            remedy=f"give a bundle for {target.name}: a folder with {PYTHON_DIR}/, {APP_DIR}/ and {PORTABLE_DIR}/",
        )
    return facts


def _facts_fault(facts: Any, target: Target) -> str | None:
    if not isinstance(facts, dict) or facts.get("format") != _FORMAT:
        return f"it has not format {_FORMAT}"
    if facts.get("target") != target.name:
        return f"it was built for {facts.get('target')}, and this machine is {target.name}"
    if not isinstance(facts.get("python_version"), str):
        return "python_version is missing"
    launch = facts.get("launch", {})
    return None if isinstance(launch, dict) and isinstance(launch.get("args", []), list) else "launch.args is no list"


def check_layout(tree: BundleTree) -> Verdict:
    """Folders, helper scripts and their execute bits; no link leads out of the bundle."""
    faults = [f"{place.name}/ is missing" for place in (tree.prefix, tree.app, tree.portable) if not place.is_dir()]
    programs = [tree.root / f"{name}{tree.target.script_suffix}" for name in _HELPERS]
    for program in [*programs, tree.python]:
        if not program.is_file():
            faults.append(f"{tree.relative(program)} is missing")
        elif not tree.target.is_windows and not os.access(program, os.X_OK):
            faults.append(f"{tree.relative(program)} may not be executed")
    faults += [
        f"{tree.relative(link)} is a link to {link.readlink()}, outside the bundle" for link in links_out(tree.root)
    ]
    if faults:
        return failed(_list(faults), remedy="was the zip unpacked by a program that keeps links and permissions?")
    return passed(f"{tree.root.name} holds {PYTHON_DIR}, {APP_DIR}, {PORTABLE_DIR} and the helper scripts")


def bundle_environment(site: Site) -> tuple[Verdict, Mapping[str, str]]:
    """Whether `manage exec` runs the bundle's own Python, and the environment it gives programs (else the site's)."""
    command: list[str | Path] = [site.helper("manage"), "exec", "--", "python", "-c", _DUMP]
    finished = site.run(command, timeout=site.limits.pip)
    try:
        prefix, environment = json.loads(finished.stdout)
    except ValueError:
        why = why_it_ended(finished, site.limits.pip)
        return failed(f"{site.helper('manage').name} exec -- python {why}"), site.sandbox.environment
    if os.path.realpath(prefix) != os.path.realpath(site.tree.prefix):
        remedy = "the helper must put the bundle's Python first on PATH"
        foreign = failed(f"`manage exec -- python` runs the Python of {prefix}", remedy=remedy)
        return foreign, site.sandbox.environment
    return passed(f"`manage exec -- python` runs {PYTHON_DIR}/ of the bundle"), environment


def check_versions(site: Site, now: Baseline) -> Verdict:
    """Python is the one bundle.json names, and pip runs."""
    wanted = site.facts["python_version"]
    if now.python != wanted:
        return failed(f"python/ holds Python {now.python}, bundle.json says {wanted}", remedy="build python/ again")
    if site.baseline and now.pip != site.baseline.pip:
        return failed(f"pip was {site.baseline.pip}, is {now.pip}", remedy="clean-up must leave pip alone")
    return passed(f"Python {now.python}, pip {now.pip}")


def check_distributions(site: Site, now: Baseline) -> Verdict:
    """Distributions, what pip lists of them, their entry points and console scripts are those of the baseline."""
    if site.baseline is None:
        return passed(f"{len(now.distributions)} distributions; no baseline to compare with")
    kinds = {"distributions", "listed", "scripts", "entry_points"}
    faults = [str(difference) for difference in compare(site.baseline, now) if difference.kind in kinds]
    if faults:
        return failed(_list(faults), remedy="a clean-up rule took metadata or scripts away: add an exception to it")
    return passed(f"{len(now.distributions)} distributions, {len(now.scripts)} console scripts, all as installed")


def check_pip(site: Site, now: Baseline) -> Verdict:
    """`pip check` says what it said before clean-up; without a baseline what it says is a note."""
    if site.baseline is None:
        return passed("\n".join(now.pip_check))
    if now.pip_check != site.baseline.pip_check:
        faults = [str(item) for item in compare(site.baseline, now) if item.kind == "pip_check"]
        return failed(_list(faults), remedy="a clean-up rule took metadata away: add an exception to it")
    return passed("\n".join(now.pip_check))


def check_imports(site: Site, now: Baseline) -> Verdict:
    """What imported before imports. What never did, or any failure when there is no baseline, is a note."""
    before = site.baseline.imported if site.baseline else now.imported
    broken = {name: now.modules.get(name, "the module is gone") for name in before - now.imported}
    if broken:
        errors = [f"{name}: {error}" for name, error in sorted(broken.items())]
        known = remedies(errors)
        return failed(_list(errors), remedy=known or "a clean-up rule removed what it needs: add an exception to it")
    others = {name: error.splitlines()[0] for name, error in now.modules.items() if name not in now.imported}
    if not others:
        return passed(f"{len(before)} modules import")
    notes = [f"{name}: {error}" for name, error in sorted(others.items())]
    since = "these did not before either" if site.baseline else "these do not"
    return passed(f"{len(before)} modules import; {since}:\n{_list(notes)}", remedy=remedies(notes))


def check_host_libraries(site: Site, now: Baseline) -> Verdict:
    """No import needs a library of this machine that the user's machine may not have.

    One that is used only if it is there (Pillow looks for libfribidi, say) is told from one that is needed by importing
    once more with all of them out of sight, where that is possible.
    """
    users: dict[str, list[str]] = {}
    for module, libraries in now.host_libraries.items():
        for library in libraries:
            if not site.system_libraries & {Path(library).name, _soname_like(library)}:
                users.setdefault(library, []).append(module)
    if not users:
        return passed("no library of the machine is used, but those every machine has")
    modules = sorted({module for asking in users.values() for module in asking})
    sandbox = site.sandbox.without(sorted(users))
    if sandbox is not None:
        outcomes = import_modules(site.tree, modules, sandbox=sandbox, limits=site.limits)
        modules = [module for module in modules if outcomes[module] != now.modules[module]]
    faults = [
        f"{library} (by {', '.join(module for module in asking[:3])})"
        for library, asking in sorted(users.items())
        if not set(asking).isdisjoint(modules)
    ]
    if not faults:
        names = ", ".join(_soname_like(library) for library in sorted(users))
        return passed(f"all imports work without what this machine has beyond others: {names}")
    remedy = "bring the library along in the wheel or the runtime, or name it in the recipe's options.system_libraries"
    return failed(_list(faults), remedy=remedies(faults) or remedy)


def _soname_like(library: str) -> str:
    """libGL.so.1.7.0 -> libGL.so.1: how a recipe names it."""
    name, _, version = Path(library).name.partition(".so.")
    return f"{name}.so.{version.split('.')[0]}"


def _list(items: list[str]) -> str:
    more = [f"and {len(items) - _MOST} more"] if len(items) > _MOST else []
    return "\n".join([*items[:_MOST], *more])
