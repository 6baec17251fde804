"""The journal: which stages finished, with the digest of their inputs, so that a second run reuses what it can."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.errors import InputError
from packager.filesystem import write_json
from packager.locks import hold

FORMAT = 1


def digest(*parts: object) -> str:
    """Hex sha256 over JSON-serialisable values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class StageRecord:
    """`inputs` is the digest the stage ran with; `result` what it left on record (JSON); `seconds` what it took."""

    name: str
    inputs: str
    seconds: float
    result: Any
    reused: bool = False


class Journal:
    """Kept in `work/journal.json`, rewritten atomically when a stage starts and when it ends.

    A stage that is on record as started but not as done was killed: whatever it changes is in doubt.
    """

    def __init__(self, work: Path) -> None:
        self._path = work / "journal.json"
        self._stages: dict[str, dict[str, Any]] = {}
        self.ran: list[StageRecord] = []
        try:
            value = json.loads(self._path.read_text(encoding="utf-8"))
            if value.get("format") == FORMAT:
                self._stages = value["stages"]
        except (OSError, ValueError, AttributeError, KeyError):
            pass  # no journal, or none of ours: everything runs

    def run(
        self, name: str, inputs: str, action: Callable[[], Any], *, intact: Callable[[Any], bool] = lambda _: True
    ) -> Any:
        """The result of stage `name`: the recorded one if the inputs are equal and it is `intact`, else a new one."""
        known = self._stages.get(name, {})
        if known.get("inputs") == inputs and known.get("done") and intact(known["result"]):
            self._note(name, inputs, known["seconds"], known["result"], reused=True)
            return known["result"]
        self._stages[name] = {"inputs": inputs, "done": False}
        self._save()
        start = time.monotonic()
        result = action()
        seconds = round(time.monotonic() - start, 2)
        # Through JSON and back, so that a fresh result and a recorded one are the same thing.
        result = json.loads(json.dumps(result))
        self._stages[name] = {"inputs": inputs, "done": True, "seconds": seconds, "result": result}
        self._save()
        self._note(name, inputs, seconds, result, reused=False)
        return result

    def is_current(self, name: str, inputs: str) -> bool:
        """Whether stage `name` finished with these inputs."""
        known = self._stages.get(name, {})
        return bool(known.get("done")) and known.get("inputs") == inputs

    def started(self, name: str) -> bool:
        """Whether stage `name` has run or begun to."""
        return name in self._stages

    def forget(self, *names: str) -> None:
        for name in names:
            self._stages.pop(name, None)
        self._save()

    def _note(self, name: str, inputs: str, seconds: float, result: Any, *, reused: bool) -> None:
        self.ran.append(StageRecord(name=name, inputs=inputs, seconds=seconds, result=result, reused=reused))

    def _save(self) -> None:
        write_json(self._path, {"format": FORMAT, "stages": self._stages})


@contextmanager
def exclusive(work: Path) -> Iterator[None]:
    """Hold the work folder for this process. The operating system lets go of it when the process dies, however it dies.

    Raises InputError if another build holds it.
    """

    def refuse() -> None:
        raise InputError(
            "another build is at work there", where=str(work), remedy="wait for it, or give another --work"
        )

    with hold(work / ".lock", waiting=refuse):
        yield
