"""What is installed after the locked packages: the recipe's patches, then its native packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urldefrag

from packager import uv
from packager.bundle import BundleTree
from packager.console import Console
from packager.distributions import changes, installed
from packager.errors import PackagerError, ResolveError
from packager.fetch.download import DownloadRequest, download
from packager.origins import Origins
from packager.patches import PatchPlan, wheel_name
from packager.wheel_matrix import Candidate, NativePlan

Changes = dict[str, tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class FetchedWheel:
    """A wheel that was installed from its address."""

    url: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Patched:
    """What one patch did. `changes`: name -> (version before, version after), "" where there was or is none."""

    patch: str
    wheels: tuple[FetchedWheel, ...]
    changes: Changes


@dataclass(frozen=True, kw_only=True)
class NativeInstalled:
    """How a native package was had. `chosen` is the candidate that worked, None if none did; `failed` are those tried
    before it, each with what went wrong."""

    name: str
    chosen: str | None
    wheel: FetchedWheel | None
    failed: tuple[str, ...]
    changes: Changes


@dataclass(frozen=True, kw_only=True)
class Means:
    """Where to install to and from. `constraints` is a file of `name==version` lines that native packages must leave as
    they are; `excludes` one of names that nothing may bring in; `folder` is for downloaded wheels."""

    tree: BundleTree
    origins: Origins
    constraints: Path
    excludes: Path
    folder: Path
    console: Console


def apply_patches(plan: PatchPlan, means: Means) -> tuple[Patched, ...]:
    """Do what the plan says, in its order. Raises FetchError, ResolveError or PackagerError."""
    done = []
    for step in plan.steps:
        means.console.info(str(step))
        if step.skipped:
            continue
        before = installed(means.tree.site_packages)
        if step.uninstall:
            uv.run_uv([*_uv_pip("uninstall", means.tree), *step.uninstall])
        wheels, lines = [], list(step.requirements)
        for url in step.wheels:
            path, wheel = _fetch(url, None, means)
            wheels.append(wheel)
            lines.append(str(path))
        if lines:
            options = ["--default-index", step.index] if step.index else []
            _install(lines, means, options)
        after = installed(means.tree.site_packages)
        done.append(Patched(patch=str(step), wheels=tuple(wheels), changes=changes(before, after)))
    return tuple(done)


def install_native(plans: Sequence[NativePlan], means: Means) -> tuple[NativeInstalled, ...]:
    """Try the candidates of each package until one works. What fails is a warning, unless the package is required.

    Raises ResolveError for a required package that can't be had.
    """
    done = []
    for plan in plans:
        result = _install_first(plan, means)
        name = plan.package.name
        if result.chosen:
            means.console.info(f"{name}: {result.chosen}")
        else:
            reasons = "\n".join(result.failed) or "the wheel matrix has nothing for this torch, Python and target"
            if plan.package.required:
                raise ResolveError(
                    f"is required and cannot be installed:\n{reasons}",
                    where=f"native_packages {name}",
                    remedy="choose another accelerator or Python, allow `source: true`, or leave `required` out",
                )
            means.console.warn(f"{name} is left out: {reasons}")
        done.append(result)
    return tuple(done)


def _install_first(plan: NativePlan, means: Means) -> NativeInstalled:
    failed: list[str] = []
    for candidate in plan.candidates:
        before = installed(means.tree.site_packages)
        try:
            wheel = _install_candidate(candidate, means)
        except PackagerError as error:
            failed.append(f"{candidate}: {error.what.strip()}")
            continue
        return NativeInstalled(
            name=plan.package.name,
            chosen=str(candidate),
            wheel=wheel,
            failed=tuple(failed),
            changes=changes(before, installed(means.tree.site_packages)),
        )
    return NativeInstalled(name=plan.package.name, chosen=None, wheel=None, failed=tuple(failed), changes={})


def _install_candidate(candidate: Candidate, means: Means) -> FetchedWheel | None:
    options = ["--constraints", str(means.constraints)]
    if candidate.index:
        options += ["--index", candidate.index, "--index-strategy", "unsafe-best-match"]
    if candidate.kind == "source":  # such a build imports the torch that is installed
        _install([candidate.what], means, [*options, "--no-build-isolation"])
        return None
    options += ["--only-binary", ":all:"]
    if candidate.kind == "requirement":
        _install([candidate.what], means, options)
        return None
    path, wheel = _fetch(candidate.what, candidate.sha256, means)
    _install([str(path)], means, options)
    return wheel


def _fetch(url: str, sha256: str | None, means: Means) -> tuple[Path, FetchedWheel]:
    """Download a wheel; `#sha256=...` at the end of its address is what it must be."""
    address, fragment = urldefrag(url)
    if fragment.startswith("sha256="):
        sha256 = fragment.removeprefix("sha256=")
    origins = means.origins
    got = download(
        DownloadRequest(url=address, sha256=sha256),
        means.folder / wheel_name(address),
        cache=origins.cache,
        mirrors=origins.mirrors,
        console=means.console,
        offline=origins.offline,
    )
    return got.path, FetchedWheel(url=address, sha256=got.sha256)


def _install(lines: Sequence[str], means: Means, options: Sequence[str]) -> None:
    common = uv.install_options(wheels=means.origins.wheels, offline=means.origins.offline)
    common += ["--excludes", str(means.excludes)]
    uv.run_uv([*_uv_pip("install", means.tree), *uv.INTO_TREE, *common, *options, "--", *lines])


def _uv_pip(command: str, tree: BundleTree) -> list[str]:
    return ["pip", command, "--quiet", "--no-config", "--python", str(tree.python), "--break-system-packages"]
