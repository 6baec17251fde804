"""What must still work after packages have changed, compared with what worked before."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from portable import checks, pip, transaction
from portable.bundle import Bundle, site_packages_of
from portable.changes import STATE
from portable.distributions import installed, modules_of
from portable.journal import write_json_durably

Say = Callable[[str], None]


class Watch:
    """What must still work after packages have changed; `look_before` first, then `checks` after the change.

    With `force` packages that do not fit together, or do not import, are a warning.
    """

    def __init__(self, bundle: Bundle, *, force: bool, smoke: bool, warn: Say, say: Say) -> None:
        self._bundle, self._force, self._smoke, self._warn, self._say = bundle, force, smoke, warn, say
        self._complaints: list[str] = []
        self._modules: dict[str, list[str]] = {}
        self._import_faults: dict[str, str] = {}
        self._start: checks.Start | None = None

    def look_before(self, modules: Mapping[str, Sequence[str]]) -> None:
        """`modules`: of each package that stays in some version, what is imported of it now."""
        self._modules = {name: list(names) for name, names in modules.items()}
        self._complaints = pip.complaints(self._bundle)
        self._import_faults = checks.import_faults(self._bundle, list(itertools.chain(*self._modules.values())))
        if self._smoke:
            self._start = remembered(self._bundle)
            if self._start is None:
                self._say("starting ComfyUI once before the change")
                self._start = checks.start_app(self._bundle)

    def checks(self) -> list[transaction.Check]:
        return [self._check_fit, self._check_imports, *([self._check_app] if self._smoke else [])]

    def _check_fit(self) -> list[str]:
        return self._judge([line for line in pip.complaints(self._bundle) if line not in self._complaints])

    def _check_imports(self) -> list[str]:
        there = installed(self._bundle.root)
        names = [module for name in self._modules if name in there for module in modules_of(there[name].record())]
        faults = checks.import_faults(self._bundle, names)
        return self._judge(
            [f"import {name}: {fault}" for name, fault in faults.items() if name not in self._import_faults]
        )

    def _check_app(self) -> list[str]:
        self._say("starting ComfyUI with the change")
        before, self._start = self._start, checks.start_app(self._bundle)
        return self._start.worse_than(before or checks.Start(failed={}))

    def remember(self) -> None:
        """Keep how the app started, for the next change; the change is committed."""
        if self._smoke:
            remember(self._bundle, self._start)

    def _judge(self, faults: list[str]) -> list[str]:
        if not self._force:
            return faults
        for fault in faults:
            self._warn(fault)
        return []


def remember(bundle: Bundle, start: checks.Start | None) -> None:
    """Keep how the app started last, if it was started."""
    if start is not None:
        value = {"of": _fingerprint(bundle), "failed": dict(start.failed), "fault": start.fault}
        with contextlib.suppress(OSError):  # a help, no more
            write_json_durably(_memory(bundle), value)


def remembered(bundle: Bundle) -> checks.Start | None:
    """How the app started last, if neither packages nor nodes have changed since."""
    try:
        value = json.loads(_memory(bundle).read_text(encoding="utf-8"))
        if value["of"] == _fingerprint(bundle):
            return checks.Start(failed=dict(value["failed"]), fault=str(value["fault"]))
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return None


def _memory(bundle: Bundle) -> Path:
    return bundle.root / STATE / "start.json"


def _fingerprint(bundle: Bundle) -> str:
    """Changes when a package, a node's folder or the app's first file does."""
    nodes = bundle.app_dir / "custom_nodes"
    seen = [bundle.app_dir / "main.py", *(nodes.iterdir() if nodes.is_dir() else ())]
    roots = [bundle.root, *filter(None, [bundle.base])]
    parts = sorted(str(path) for root in roots for path in site_packages_of(root).glob("*.dist-info"))
    parts += sorted(f"{path.name} {path.stat().st_mtime_ns}" for path in seen if path.exists())
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
