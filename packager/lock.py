"""The lock: exactly what will be installed, for one recipe and one target."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jsonschema import Draft202012Validator

from packager.errors import InputError
from packager.filesystem import write_json
from packager.resolution.conflicts import Decision, Wish
from packager.resolution.requirements import Removed

FORMAT = 3
PACKAGE_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")


@dataclass(frozen=True, kw_only=True)
class LockedRepository:
    """`commit` and `tree` are git object ids; a plain folder has no commit and `sha256:...` of its content as tree."""

    name: str
    url: str
    ref: str | None
    commit: str
    tree: str


@dataclass(frozen=True, kw_only=True)
class LockedPackage:
    """`hashes` as pip writes them (sha256:...); `via` are the repositories and packages that asked for it.

    `index` is the address of the index it was found in, without credentials; None for one from an address of its own.
    """

    name: str
    version: str
    url: str | None
    hashes: tuple[str, ...]
    via: tuple[str, ...]
    index: str | None = None

    @property
    def pin(self) -> str:
        """`name==version`, or `name @ address`."""
        return f"{self.name} @ {self.url}" if self.url else f"{self.name}=={self.version}"

    @property
    def requirement(self) -> str:
        """The line that installs exactly this, hashes on continuation lines."""
        return " \\\n    ".join([self.pin, *(f"--hash={digest}" for digest in self.hashes)])


@dataclass(frozen=True, kw_only=True)
class LockedAddition:
    """What a patch (`name` is as in patches[0]) or a native package puts in after the packages, and takes out before.

    `chosen` says in words what was taken, None if nothing; `tried` what was not, each with the reason. With `source`
    the package called `name` is built on the machine that makes the bundle, with what is installed.
    """

    kind: Literal["patch", "native"]
    name: str
    chosen: str | None
    tried: tuple[str, ...] = ()
    required: bool = True
    source: bool = False
    uninstall: tuple[str, ...] = ()
    packages: tuple[LockedPackage, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.chosen or 'left out'}"]
        lines += [f"    takes out {' '.join(self.uninstall)}"] if self.uninstall else []
        for package in self.packages:
            place = f" from {package.index}" if package.index else ""
            digest = f" {package.hashes[0]}" if len(package.hashes) == 1 else ""
            lines.append(f"    {package.pin}{place}{digest}")
        return "\n".join([*lines, *(f"    not {reason}" for reason in self.tried)])


@dataclass(frozen=True, kw_only=True)
class Lock:
    """Repositories (ComfyUI first), packages (by name), who asked for what, the conflicts that were settled, the
    requirement lines that were left out, and what comes after the packages, in its order.

    `runtime` tells equal Pythons from different ones: at least `name` and `python`, its full version.
    """

    version_id: str
    recipe_digest: str
    target: str
    accelerator: str | None
    runtime: dict[str, str]
    repositories: tuple[LockedRepository, ...]
    packages: tuple[LockedPackage, ...]
    asked: tuple[Wish, ...] = ()
    decisions: tuple[Decision, ...] = ()
    removed: tuple[Removed, ...] = ()
    additions: tuple[LockedAddition, ...] = ()

    @property
    def python_version(self) -> str:
        return self.runtime["python"]

    @property
    def digest(self) -> str:
        """Hex sha256 over the whole lock."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()

    def constraints(self, changed: Mapping[str, str] | None = None) -> str:
        """`name==version` lines: what a later install on the user's machine must leave as it is.

        `changed` are versions by normalised name that patches have put in the place of the locked ones, "" for none.
        """
        versions = {package.name: package.version for package in self.packages} | dict(changed or {})
        return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()) if version)

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **dataclasses.asdict(self)}

    def save(self, path: Path) -> None:
        write_json(path, self.to_json())


def load_lock(path: Path) -> Lock:
    """Read a lock. Raises InputError naming the file and what is wrong with it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read as a lock: {error}", where=str(path), remedy="make it anew: packager lock RECIPE --upgrade"
        ) from error
    fault = next(Draft202012Validator(_SCHEMA).iter_errors(value), None)
    if fault:
        field = ".".join(str(part) for part in fault.absolute_path) or "document"
        raise InputError(
            f"{field}: {fault.message[:200]}", where=str(path), remedy="make it anew: packager lock RECIPE --upgrade"
        )
    return Lock(
        version_id=value["version_id"],
        recipe_digest=value["recipe_digest"],
        target=value["target"],
        accelerator=value["accelerator"],
        runtime=value["runtime"],
        repositories=tuple(LockedRepository(**item) for item in value["repositories"]),
        packages=_packages(value["packages"]),
        asked=tuple(_wish(item) for item in value["asked"]),
        decisions=tuple(
            Decision(**{**item, **{key: tuple(map(_wish, item[key])) for key in ("wants", "overruled")}})
            for item in value["decisions"]
        ),
        removed=tuple(Removed(**item) for item in value["removed"]),
        additions=tuple(_addition(item) for item in value["additions"]),
    )


def _packages(items: list[dict[str, Any]]) -> tuple[LockedPackage, ...]:
    return tuple(
        LockedPackage(**{**item, "hashes": tuple(item["hashes"]), "via": tuple(item["via"])}) for item in items
    )


def _addition(value: dict[str, Any]) -> LockedAddition:
    texts = {key: tuple(value[key]) for key in ("tried", "uninstall")}
    return LockedAddition(**{**value, **texts, "packages": _packages(value["packages"])})


def _wish(value: dict[str, Any]) -> Wish:
    return Wish(**{**value, "through": tuple(value["through"])})


_ADDRESS = r"^((git\+)?https://|http://(127\.0\.0\.1|localhost|\[::1\])[:/])\S+\Z"
_TEXT = {"type": "string"}
_OPTIONAL = {"type": ["string", "null"]}
_TEXTS = {"type": "array", "items": _TEXT}


def _record(**fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": list(fields), "properties": fields}


_WISHES = {
    "type": "array",
    "items": _record(layer=_TEXT, file=_TEXT, line={"type": "integer"}, text=_TEXT, through=_TEXTS),
}

_PACKAGES = {
    "type": "array",
    "items": _record(
        name={"type": "string", "pattern": PACKAGE_NAME.pattern},
        version={"type": "string", "pattern": r"^[^\s;]*\Z"},
        url={"anyOf": [{"type": "null"}, {"type": "string", "pattern": _ADDRESS}]},
        hashes={"type": "array", "items": {"type": "string", "pattern": r"^[a-z0-9]+:[0-9a-f]+\Z"}},
        via=_TEXTS,
        index=_OPTIONAL,
    ),
}

_SCHEMA = _record(
    format={"const": FORMAT},
    version_id=_TEXT,
    recipe_digest=_TEXT,
    target=_TEXT,
    accelerator=_OPTIONAL,
    runtime={"type": "object", "required": ["name", "python"], "additionalProperties": _TEXT},
    repositories={
        "type": "array",
        "minItems": 1,
        "items": _record(
            name={"type": "string", "pattern": r"^[A-Za-z0-9_][^/\\:]*\Z"},
            url=_TEXT,
            ref=_OPTIONAL,
            commit={"type": "string", "pattern": r"^([0-9a-f]{40,64})?\Z"},
            tree={"type": "string", "pattern": r"^(sha256:)?[0-9a-f]{40,64}\Z"},
        ),
    },
    packages=_PACKAGES,
    asked=_WISHES,
    decisions={
        "type": "array",
        "items": _record(
            package=_TEXT, wants=_WISHES, overruled=_WISHES, chosen=_TEXT, rule=_TEXT, why=_TEXT, override=_TEXT
        ),
    },
    removed={
        "type": "array",
        "items": _record(file=_TEXT, line={"type": "integer"}, text=_TEXT, reason=_TEXT),
    },
    additions={
        "type": "array",
        "items": _record(
            kind={"enum": ["patch", "native"]},
            name=_TEXT,
            chosen=_OPTIONAL,
            tried=_TEXTS,
            required={"type": "boolean"},
            source={"type": "boolean"},
            uninstall={"type": "array", "items": {"type": "string", "pattern": PACKAGE_NAME.pattern}},
            packages=_PACKAGES,
        ),
    },
)
