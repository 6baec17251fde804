"""Installing what comes after the locked packages: patches and native packages, exactly as the lock has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from packager import uv
from packager.bundle import BundleTree
from packager.console import Console
from packager.distributions import changes, installed
from packager.errors import MismatchError, PackagerError, ResolveError
from packager.lock import LockedAddition, LockedPackage
from packager.origins import Origins
from packager.pins import git_environment, requirement_lines
from packager.resolution.compiled import public_index

Changes = dict[str, tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Patched:
    """What one patch did. `changes`: name -> (version before, version after), "" where there was or is none."""

    patch: str
    changes: Changes


@dataclass(frozen=True, kw_only=True)
class NativeInstalled:
    """How a native package was had. `chosen` is the candidate that worked, None if none did; `failed` are those tried
    before it, each with what went wrong."""

    name: str
    chosen: str | None
    failed: tuple[str, ...]
    changes: Changes


@dataclass(frozen=True, kw_only=True)
class Means:
    """Where to install to and from. `indexes` are the addresses of indexes other than the default one, as the recipe
    and the table of accelerators have them; `folder` is for downloaded wheels."""

    tree: BundleTree
    origins: Origins
    indexes: tuple[str, ...]
    folder: Path
    console: Console


def apply_patches(additions: Sequence[LockedAddition], means: Means) -> tuple[Patched, ...]:
    """Do what the lock says, in its order. Raises FetchError, MismatchError, ResolveError or PackagerError."""
    done = []
    for addition in additions:
        if addition.chosen is None:
            continue
        means.console.info(f"{addition.name}: {addition.chosen}")
        before = installed(means.tree.site_packages)
        _uninstall(addition.uninstall, means)
        _put(addition, means)
        after = installed(means.tree.site_packages)
        done.append(Patched(patch=f"{addition.name}: {addition.chosen}", changes=changes(before, after)))
    return tuple(done)


def install_native(additions: Sequence[LockedAddition], means: Means) -> tuple[NativeInstalled, ...]:
    """Install what the lock chose. What fails is taken back and a warning, unless the package is required.

    Raises ResolveError for a required package that can't be had, and MismatchError for any that is not what was locked.
    """
    done = []
    for addition in additions:
        before = installed(means.tree.site_packages)
        failed, chosen = addition.tried, addition.chosen
        if chosen is not None:
            try:
                _put(addition, means)
                means.console.info(f"{addition.name}: {chosen}")
            except MismatchError:
                raise
            except PackagerError as error:
                _take_back(before, means)
                failed, chosen = (*failed, f"{chosen}: {error.what.strip()}"), None
                if addition.required:
                    raise ResolveError(
                        "\n".join(["is required and cannot be installed:", *failed]),
                        where=f"native_packages {addition.name}",
                        remedy="choose another accelerator or Python, allow `source: true`, or leave `required` out",
                    ) from error
        if chosen is None:
            means.console.warn("\n".join([f"{addition.name} is left out:", *failed]))
        after = installed(means.tree.site_packages)
        done.append(NativeInstalled(name=addition.name, chosen=chosen, failed=failed, changes=changes(before, after)))
    return tuple(done)


def _put(addition: LockedAddition, means: Means) -> None:
    """Install the packages of `addition`, each from the index it was locked from."""
    places = {public_index(index): index for index in means.indexes}
    groups: dict[str | None, list[LockedPackage]] = {}
    for package in addition.packages:
        groups.setdefault(places.get(package.index or ""), []).append(package)
    for index, packages in groups.items():
        options = ["--default-index", index] if index else []
        built = [package.name for package in packages if addition.source and _is(package, addition.name)]
        if built:  # it imports the torch that is installed
            options += ["--no-build-isolation", "--no-binary", built[0]]
        _install(packages, means, options)


def _install(packages: Sequence[LockedPackage], means: Means, options: Sequence[str]) -> None:
    origins = means.origins
    means.folder.mkdir(parents=True, exist_ok=True)
    pins = means.folder / "pins.txt"
    lines = requirement_lines(packages, origins=origins, folder=means.folder, console=means.console)
    pins.write_text(lines, encoding="utf-8")
    common = uv.install_options(wheels=origins.wheels, offline=origins.offline)
    command = [*_uv_pip("install", means.tree), "--no-deps", "--requirements", str(pins), *uv.INTO_TREE, *common]
    uv.run_uv([*command, *options], env=git_environment(origins.mirrors))


def _take_back(before: dict[str, str], means: Means) -> None:
    """Remove what came since; nothing else was changed, since a native package leaves the locked ones as they are."""
    _uninstall([name for name in installed(means.tree.site_packages) if name not in before], means)


def _uninstall(names: Sequence[str], means: Means) -> None:
    if names:
        uv.run_uv([*_uv_pip("uninstall", means.tree), "--", *names])


def _is(package: LockedPackage, name: str) -> bool:
    return canonicalize_name(package.name) == canonicalize_name(name)


def _uv_pip(command: str, tree: BundleTree) -> list[str]:
    return ["pip", command, "--quiet", "--no-config", "--python", str(tree.python), "--break-system-packages"]
