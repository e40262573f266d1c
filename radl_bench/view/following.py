"""How far a run is, from its files alone, read as they grow."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from radl_bench.errors import RadlBenchError
from radl_bench.runs.manifest import read_manifest

NEWEST = 12
"""Images of a run that are shown."""

_RECENT = 50
"""Rows that the rate is taken from."""

QUIET = 120.0
"""Seconds without a new image after which a run that says it is running is said to be quiet."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        planned, made, failed: numbers of images.
        rate: images a second over the last rows, None where that is not known.
        quiet: seconds since the last row, None without one.
        going: whether the run says that it is running, and has a row of the last `QUIET` seconds or none at all.
        newest: (sample id, k, file in the run's folder) of the newest images, the newest first.
    """

    status: str
    planned: int
    made: int
    failed: int
    rate: float | None
    quiet: float | None
    going: bool
    newest: tuple[tuple[str, int, str], ...]

    @property
    def left(self) -> float | None:
        """Seconds to the end at this rate; None where it is not known, or the run does not go on."""
        rest = self.planned - self.made - self.failed
        return rest / self.rate if self.going and self.rate and rest > 0 else None


class Following:
    """Reads the rows of a run that are new since the last time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: dict[Path, int] = {}
        self._state: dict[tuple[str, int], bool] = {}
        self._times: deque[float] = deque(maxlen=_RECENT)
        self._newest: deque[tuple[str, int, str]] = deque(maxlen=NEWEST)

    def progress(self, now: datetime | None = None) -> Progress | None:
        """Return how far the run is now; None where its manifest cannot be read."""
        try:
            manifest = read_manifest(self.path / "manifest.json")
        except RadlBenchError:
            return None
        for file in sorted(self.path.glob("generations-*of*.jsonl")):
            self._read_on(file)
        made = sum(self._state.values())
        status, asked = str(manifest["status"]), manifest["benchmark"]
        moment = (now or datetime.now(timezone.utc)).timestamp()
        quiet = max(0.0, moment - max(self._times)) if self._times else None
        return Progress(
            status=status,
            planned=int(asked["n_samples"]) * int(asked["images_per_sample"]),
            made=made,
            failed=len(self._state) - made,
            rate=self._rate(),
            quiet=quiet,
            going=status == "running" and (quiet is None or quiet < QUIET),
            newest=tuple(reversed(self._newest)),
        )

    def _rate(self) -> float | None:
        if len(self._times) < 2:
            return None
        span = max(self._times) - min(self._times)
        return (len(self._times) - 1) / span if span > 0 else None

    def _read_on(self, file: Path) -> None:
        """Take the whole lines behind what was read; half a line is read when it is whole."""
        start = self._read.get(file, 0)
        try:
            if file.stat().st_size == start:
                return
            with file.open("rb") as stream:
                stream.seek(start)
                added = stream.read()
        except OSError:  # moved away between two looks
            return
        whole = added[: added.rfind(b"\n") + 1]
        self._read[file] = start + len(whole)
        for line in whole.splitlines():
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            key, made = (str(row["sample_id"]), int(row["k"])), row["status"] == "ok"
            at = datetime.fromisoformat(row["at"]).timestamp() if row.get("at") else None
        except (ValueError, KeyError, TypeError):  # reading for the scores names it; here it is no progress
            return
        self._state[key] = made
        if at is not None:
            self._times.append(at)
        if made and isinstance(row.get("file"), str):
            self._newest.append((*key, row["file"]))
