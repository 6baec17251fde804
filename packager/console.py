"""Progress and silence: bars on a terminal, one line per step in a log, nothing with --quiet. All of it on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from tqdm import tqdm

Advance = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How work of unknown length is shown: `begin` says which round begins, `advance` that one step of it is done."""

    begin: Callable[[str], None] = lambda _: None
    advance: Callable[[], None] = lambda: None


class Console:
    """Where stages say what they do. stdout stays free for results (`--json`).

    `progress`: show bars; None decides by whether `stream` is a terminal. `verbose`: also show details.
    """

    def __init__(
        self, *, quiet: bool = False, progress: bool | None = None, verbose: bool = False, stream: TextIO | None = None
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._bars = not quiet and (self._stream.isatty() if progress is None else progress and self._stream.isatty())
        self._verbose = verbose
        self.warnings: list[str] = []

    def step(self, text: str) -> None:
        """A stage begins."""
        self._line(f"==> {text}")

    def info(self, text: str) -> None:
        self._line(f"    {text}")

    def detail(self, text: str) -> None:
        if self._verbose:
            self._line(f"    {text}")

    def warn(self, text: str) -> None:
        """Shown even with --quiet, and kept for the report."""
        self.warnings.append(text)
        self._write(f"warning: {text}")

    def error(self, text: str) -> None:
        self._write(f"error: {text}")

    @contextmanager
    def bar(self, what: str, total: int | None, *, unit: str = "B") -> Iterator[Advance]:
        """Progress of `total` units (None: unknown). `unit="B"` counts bytes and is scaled.

        Yields a function to call with how many units were done. Without a terminal, one line says at the end how much
        it was and how long it took.
        """
        if self._bars:
            with tqdm(
                total=total,
                desc=f"    {what}",
                unit=unit,
                unit_scale=unit == "B",
                unit_divisor=1024,
                file=self._stream,
                leave=False,
                dynamic_ncols=True,
            ) as progress:

                def advance(count: int) -> None:
                    progress.update(count)

                yield advance
            return
        done = 0
        start = time.monotonic()

        def count_up(count: int) -> None:
            nonlocal done
            done += count

        yield count_up
        amount = format_bytes(done) if unit == "B" else f"{done} {unit}"
        self.info(f"{what}: {amount} in {time.monotonic() - start:.1f} s")

    @contextmanager
    def rounds(self, what: str, *, unit: str) -> Iterator[Rounds]:
        """Progress of work that goes in rounds, nobody knows how many; `what` is the first.

        On a terminal a line that counts, gone at the end; elsewhere one line for each further round as it begins.
        """
        if not self._bars:
            yield Rounds(begin=self.info)
            return
        with tqdm(
            desc=f"    {what}",
            bar_format="{desc}: {n_fmt} {unit}, {elapsed}",
            unit=unit,
            file=self._stream,
            leave=False,
            dynamic_ncols=True,
        ) as progress:

            def advance() -> None:
                progress.update(1)

            def begin(text: str) -> None:
                progress.set_description_str(f"    {text}")

            yield Rounds(begin=begin, advance=advance)

    def _line(self, text: str) -> None:
        if not self._quiet:
            self._write(text)

    def _write(self, text: str) -> None:
        if self._bars:
            tqdm.write(text, file=self._stream)
        else:
            print(text, file=self._stream, flush=True)


def format_bytes(count: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"
