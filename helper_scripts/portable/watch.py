"""What must still work after packages have changed, compared with what worked before."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

from portable import checks, pip, transaction
from portable.bundle import Bundle
from portable.distributions import installed, modules_of

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
        after = checks.start_app(self._bundle)
        return after.worse_than(self._start or checks.Start(failed={}))

    def _judge(self, faults: list[str]) -> list[str]:
        if not self._force:
            return faults
        for fault in faults:
            self._warn(fault)
        return []
