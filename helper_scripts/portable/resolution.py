"""What an installation would change, from pip's own report; pure but for the calls of pip."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from portable import pip
from portable.bundle import Bundle
from portable.distributions import Distribution, normalise, version_key
from portable.errors import HelperError
from portable.requirement_lines import Asked

Action = Literal["add", "upgrade", "downgrade", "reinstall", "remove"]
_DISAGREES = re.compile(r"\(constraint\)|ResolutionImpossible|conflicting dependencies")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What becomes of one package. `before` and `after` are versions, None where it is not there.

    `lock` is the version the lock holds if that is not `after`; `protected` why it should not change, if it should not.
    """

    name: str
    action: Action
    before: str | None
    after: str | None
    requested: bool = True
    lock: str | None = None
    protected: str | None = None

    @property
    def is_held(self) -> bool:
        """Whether it takes --force."""
        return self.lock is not None or self.protected is not None

    def __str__(self) -> str:
        versions = " -> ".join(filter(None, [self.before, self.after]))
        notes = [f"the lock holds {self.lock}"] if self.lock else []
        notes += [f"protected: {self.protected}"] if self.protected else []
        return f"{self.action:9} {self.name} {versions}" + (f"   ({'; '.join(notes)})" if notes else "")


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file to install from. `url` as pip reports it; `hashes` by algorithm, empty for a repository."""

    name: str
    version: str
    url: str
    hashes: Mapping[str, str]
    is_direct: bool
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Resolution:
    steps: tuple[Step, ...]
    downloads: tuple[Download, ...] = field(default=())

    @property
    def held(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.is_held)

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(step) for step in self.steps]


@dataclass(frozen=True, kw_only=True)
class Holds:
    """What should stay: `lock` version by name, `protected` reason by name."""

    lock: Mapping[str, str]
    protected: Mapping[str, str]


def read_holds(bundle: Bundle) -> Holds:
    """portable/lock.txt and portable/protected.json. Raises HelperError if the lock is missing or either is broken."""
    lock, marked = bundle.portable / "lock.txt", bundle.portable / "protected.json"
    try:
        lines = [line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines()]
        value: Any = json.loads(marked.read_text(encoding="utf-8")) if marked.exists() else {"packages": []}
        protected = {normalise(item["name"]): str(item["why"]) for item in value["packages"]}
    except FileNotFoundError:
        raise HelperError(
            f"{lock} is missing: unzip the bundle again, or add --force to go without the lock."
        ) from None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise HelperError(f"{lock} or {marked} cannot be read ({error}): unzip the bundle again.") from error
    pins = (line.partition(";")[0].partition("==") for line in lines if "==" in line)
    return Holds(lock={normalise(name): version.strip() for name, _, version in pins}, protected=protected)


def resolve(
    bundle: Bundle,
    asked: Asked,
    sources: Sequence[str],
    work: Path,
    *,
    lock: bool,
    there: Mapping[str, Distribution],
    holds: Holds,
) -> Resolution | None:
    """Ask pip what installing `asked` would change, with the lock as constraints if `lock`; nothing is changed.

    None if it does not go with the lock. Raises HelperError if it cannot be had at all.
    """
    wanted, report = work / "wanted.txt", work / "report.json"
    lines = [*asked.requirements, *(f"{path.name.split('-')[0]} @ {path.as_uri()}" for path in asked.wheels)]
    wanted.write_text("\n".join([*lines, ""]), encoding="utf-8")
    constraints = ["--constraint", str(bundle.portable / "lock.txt")] if lock else []
    said = pip.call(
        bundle,
        "install", "--dry-run", "--quiet", "--no-input", "--upgrade-strategy", "only-if-needed", "--report", report,
        *constraints, *sources, "--requirement", wanted,
        cwd=work, show=not lock,
    )  # fmt: skip
    if said.code != 0:
        if lock and _DISAGREES.search(said.errors):
            return None
        raise pip.failure("pip cannot install it.", said)
    return read_report(json.loads(report.read_text(encoding="utf-8")), there, holds)


def read_report(report: Mapping[str, Any], there: Mapping[str, Distribution], holds: Holds) -> Resolution:
    """The steps in pip's report (format 1, pip's documentation, "Installation Report"), sorted by name."""
    steps, downloads = [], []
    for item in report["install"]:
        name, version = normalise(item["metadata"]["name"]), str(item["metadata"]["version"])
        source = item["download_info"]
        archive = source.get("archive_info", {})
        hashes = dict(archive.get("hashes") or {})
        if not hashes and "=" in (archive.get("hash") or ""):
            algorithm, _, digest = archive["hash"].partition("=")
            hashes = {algorithm: digest}
        steps.append(step_of(name, there.get(name), version, holds, requested=bool(item.get("requested"))))
        downloads.append(
            Download(
                name=name,
                version=version,
                url=source["url"],
                hashes=hashes,
                is_direct=bool(item.get("is_direct")),
                commit=source.get("vcs_info", {}).get("commit_id"),
            )
        )
    return Resolution(
        steps=tuple(sorted(steps, key=lambda step: step.name)),
        downloads=tuple(sorted(downloads, key=lambda download: download.name)),
    )


def removal(names: Iterable[str], there: Mapping[str, Distribution], holds: Holds) -> Resolution:
    """The steps of an uninstallation. Raises HelperError for what is not installed."""
    wanted = sorted({normalise(name) for name in names})
    if lost := [name for name in wanted if name not in there]:
        raise HelperError(f"{', '.join(lost)} is not installed: `manage list` shows what is. Nothing was changed.")
    return Resolution(steps=tuple(step_of(name, there[name], None, holds) for name in wanted))


def step_of(name: str, old: Distribution | None, after: str | None, holds: Holds, *, requested: bool = True) -> Step:
    """What becomes of package `name`, and what speaks against it."""
    before = old.version if old else None
    pin = holds.lock.get(name)
    action: Action
    if before is None or after is None:
        action = "add" if before is None else "remove"
    elif version_key(before) == version_key(after):
        action = "reinstall"
    else:
        action = "upgrade" if version_key(after) > version_key(before) else "downgrade"
    differs = pin is not None and (after is None or version_key(after) != version_key(pin))
    return Step(
        name=name,
        action=action,
        before=before,
        after=after,
        requested=requested,
        lock=pin if differs else None,
        protected=holds.protected.get(name) if before is not None and action != "reinstall" else None,
    )
