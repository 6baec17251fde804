"""What of a probe's answer changes by itself: a time, a random name, a chance. It tells nothing about what went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from packager.cleanup.oracle.observation import Difference

_PATIENCE = 3  # times that other facts of a probe may turn out to be unsteady; then all of it is


@dataclass
class Unsteady:
    """The facts of one probe that differed with everything back, and what was said of them."""

    said: set[str] = field(default_factory=set)
    _facts: set[str] = field(default_factory=set)
    _times: int = 0

    def note(self, noise: Iterable[Difference]) -> None:
        for one in noise:
            self.said.add(str(one))
            self._facts.add(_fact(one))
        self._times += 1

    def covers(self, difference: Difference) -> bool:
        return self._times >= _PATIENCE or _fact(difference) in self._facts


def _fact(difference: Difference) -> str:
    """An error may come and go; another error is another fact."""
    return f"outcome {difference.after}" if difference.fact == "outcome" else difference.fact
