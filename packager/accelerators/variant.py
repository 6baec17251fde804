"""Which build of torch an environment really holds, found without importing anything.

pip and `pip check` compare names and versions and so take `2.11.0+cpu` for `2.11.0+cu128`; a torchvision built for
CUDA beside a CPU torch passes them and fails at import (`torchvision::nms does not exist`).
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from packager.accelerators.choice import FAMILY
from packager.accelerators.table import accelerators
from packager.binaries import elf
from packager.errors import InputError, ResolveError

_MAX_BYTES = 64 * 1024  # torch's has some hundred
_CUDA_RUNTIME = re.compile(r"libcudart\.so\.(\d+)")


@dataclass(frozen=True, kw_only=True)
class TorchBuild:
    """One package of the family. `version` is that of its metadata; `label` says what it was built for: cpu, cu128,
    rocm7.2, xpu, `cu13*` where only the linked library tells, None where nothing does. `cuda`, `hip` and `xpu` are
    torch's own words, None for the others."""

    name: str
    version: str
    label: str | None
    cuda: str | None = None
    hip: str | None = None
    xpu: str | None = None


def read_builds(site_packages: Path) -> dict[str, TorchBuild]:
    """What of the family is installed. Raises ResolveError if torch/version.py can't be read."""
    builds = {}
    for found in importlib.metadata.distributions(path=[str(site_packages)]):
        name = (found.metadata["Name"] or "").lower()
        if name in FAMILY:
            builds[name] = _read_build(name, found.version, site_packages / name)
    return builds


def assert_variant(site_packages: Path, accelerator: str | None) -> tuple[TorchBuild, ...]:
    """Check that the build asked for is the one installed, and that the family is of one build.

    Raises ResolveError naming the package, what it is, and what it should be.
    """
    builds = read_builds(site_packages)
    torch = builds.get("torch")
    if torch is None:
        return tuple(builds.values())
    wrong = [*_wrong_torch(torch, accelerator), *_wrong_siblings(torch, list(builds.values()))]
    if wrong:
        raise ResolveError(
            "the wrong build of torch is installed:\n" + "\n".join(wrong),
            where=f"accelerator {accelerator}" if accelerator else "torch",
            remedy="look who brought it: an override, a patch or a wheel without a local label; "
            "`accelerator:` and `torch:` in the recipe say where the family comes from",
        )
    return tuple(builds[name] for name in FAMILY if name in builds)


def _wrong_torch(torch: TorchBuild, accelerator: str | None) -> list[str]:
    if accelerator is None:
        return []
    row = accelerators()[accelerator]
    wrong = []
    for field in ("cuda", "hip", "xpu"):
        said: str | None = getattr(torch, field)
        wanted = row.reports.get(field)
        if not _fits(said, wanted):
            means = "none" if wanted is None else wanted or "any"
            wrong.append(f"  torch {torch.version} says {field} = {said}, but {accelerator} means {means}")
    return wrong


def _fits(said: str | None, wanted: str | None) -> bool:
    """Whether `said` begins with the parts of `wanted`; "" is any text, None is None."""
    if said is None or wanted is None:
        return said is wanted
    return not wanted or f"{said}.".startswith(f"{wanted}.")


def _wrong_siblings(torch: TorchBuild, builds: Sequence[TorchBuild]) -> list[str]:
    """A sibling without any label, as on macOS, is taken for right unless torch is a CUDA build's."""
    return [
        f"  {build.name} {build.version} is built for {build.label}, but torch {torch.version} for {torch.label}"
        for build in builds
        if build.label is not None and torch.label is not None and not _same(build.label, torch.label)
    ]


def _same(label: str, torch: str) -> bool:
    return torch.startswith(label[:-1]) if label.endswith("*") else label == torch


def _read_build(name: str, version: str, folder: Path) -> TorchBuild:
    said = _read_version_file(folder / "version.py")
    label = _label(said.get("__version__")) or _label(version)
    if name != "torch":
        return TorchBuild(name=name, version=version, label=label or _linked_label(folder))
    cuda, hip, xpu = said.get("cuda"), said.get("hip"), said.get("xpu")
    if cuda:
        label = "cu" + "".join(cuda.split(".")[:2])
    elif hip:
        label = "rocm" + ".".join(hip.split(".")[:2])
    elif xpu:
        label = "xpu"
    else:
        label = "cpu"
    return TorchBuild(name=name, version=version, label=label, cuda=cuda, hip=hip, xpu=xpu)


def _label(version: str | None) -> str | None:
    try:
        label = Version(version).local if version else None
    except InvalidVersion:
        return None
    # `rocm7.2` and `cu128` name a build; `git1a2b3c` does not.
    return label if label and re.match(r"(cpu|cu\d+|rocm[\d.]+|xpu)$", label) else None


def _read_version_file(path: Path) -> dict[str, str | None]:
    """The texts and Nones assigned at the top of a version.py. Torch's is needed, the others' may be missing."""
    try:
        with path.open("rb") as stream:
            tree = ast.parse(stream.read(_MAX_BYTES))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError) as error:
        if path.parent.name != "torch":
            return {}
        raise ResolveError(
            f"cannot be read, so nothing tells which build of torch it is: {error}",
            where=str(path),
            remedy="install torch from a wheel",
        ) from error
    said: dict[str, str | None] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            names = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            names = [statement.target]
        else:
            continue
        value = statement.value
        if isinstance(value, ast.Constant) and (value.value is None or isinstance(value.value, str)):
            said.update({name.id: value.value for name in names if isinstance(name, ast.Name)})
    return said


def _linked_label(folder: Path) -> str | None:
    """`cu13*` if a library of the package wants libcudart.so.13. Linux only: others are left unjudged."""
    for path in sorted(folder.rglob("*.so")):
        try:
            needed = elf.read_elf(path).needed
        except InputError:
            continue
        for library in needed:
            if found := _CUDA_RUNTIME.match(library):
                return f"cu{found[1]}*"
    return None
