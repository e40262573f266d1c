"""Progress of a stage on stderr: a bar on a terminal, a line at the first unit and every 30 s when piped."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

EVERY_SECONDS = 30.0
"""Time between two lines when stderr is no terminal."""


class Stage:
    """Counts of one stage; `advance` shows them."""

    def __init__(self, name: str, total: int, resumed: int = 0, unit: str = "images") -> None:
        self.name, self.total, self.resumed, self.unit = name, total, resumed, unit
        self.done = resumed
        self.failed = 0
        self.remark = ""
        """What else is to be said, such as how many workers there are."""

    def advance(self, n: int = 1, failed: int = 0) -> None:
        """Count `n` more units as dealt with, of which `failed` went wrong."""
        self.done += n
        self.failed += failed
        self._show()

    def say(self, sentence: str) -> None:
        """Write a sentence above the progress."""
        raise NotImplementedError

    def counts(self) -> str:
        """Return "388 resumed, 3 failed", without the parts that are zero, and the remark."""
        counts = ((self.resumed, "resumed"), (self.failed, "failed"))
        return ", ".join([*(f"{n} {what}" for n, what in counts if n), *([self.remark] if self.remark else [])])

    def _show(self) -> None:
        raise NotImplementedError


class PlainStage(Stage):
    """Writes `generate: 120/800 images, 388 resumed, 2.1 images/s, ETA 5:24` now and then, and at the end."""

    def __init__(
        self,
        name: str,
        total: int,
        resumed: int = 0,
        unit: str = "images",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, total, resumed, unit)
        self._stream = stream  # None: that of the moment, which a method may have closed and we have opened again
        self._clock = clock
        self._start = self._last = clock()
        self._silent = True

    def say(self, sentence: str) -> None:
        """Write a line."""
        print(f"{self.name}: {sentence}", file=self._stream or sys.stderr, flush=True)

    def close(self) -> None:
        """Write the last line."""
        print(self.line(), file=self._stream or sys.stderr, flush=True)

    def line(self) -> str:
        """Return the state in one line; the rate counts what was done since the start, without the resumed."""
        made, seconds = self.done - self.resumed, self._clock() - self._start
        parts = [f"{self.name}: {self.done}/{self.total} {self.unit}", self.counts()]
        if made and seconds > 0:
            rate = made / seconds
            parts += [f"{rate:.3g} {self.unit}/s"]
            left = self.total - self.done
            parts += [f"ETA {duration(left / rate)}"] if left else [f"took {duration(seconds)}"]
        return ", ".join(part for part in parts if part)

    def _show(self) -> None:
        now = self._clock()
        if self._silent or now - self._last >= EVERY_SECONDS:
            self._last, self._silent = now, False
            print(self.line(), file=self._stream or sys.stderr, flush=True)


class BarStage(Stage):
    """A bar of rich with rate, remaining time and the counts."""

    def __init__(self, name: str, total: int, resumed: int = 0, unit: str = "images") -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        super().__init__(name, total, resumed, unit)
        self._bar = Progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            "{task.fields[rate]}",
            TimeRemainingColumn(),
            "{task.fields[counts]}",
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(name, total=total, completed=resumed, rate="", counts=self.counts())
        self._start = time.monotonic()
        self._bar.start()

    def say(self, sentence: str) -> None:
        """Write a line above the bar."""
        self._bar.console.print(f"{self.name}: {sentence}", markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the bar as it is on the screen."""
        self._bar.stop()

    def _show(self) -> None:
        rate = (self.done - self.resumed) / max(time.monotonic() - self._start, 1e-9)
        self._bar.update(self._task, completed=self.done, rate=f"{rate:.3g} {self.unit}/s", counts=self.counts())


@contextlib.contextmanager
def stage(name: str, total: int, resumed: int = 0, unit: str = "images") -> Iterator[Stage]:
    """Show the progress of a stage while the block runs: `with stage("generate", 800, resumed=388) as bar`.

    Args:
        name: what is done, in one word.
        total: units of the whole stage, with those resumed.
        resumed: units that an earlier call dealt with; they count as done, but not for the rate.
        unit: plural of what is counted.
    """
    shown = BarStage if sys.stderr.isatty() else PlainStage
    running = shown(name, total, resumed, unit)
    try:
        yield running
    finally:
        running.close()


def duration(seconds: float) -> str:
    """Return `5:24` or `1:05:24`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
