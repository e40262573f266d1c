"""One run as the gallery reads it: its images, the rows of each, and what the detector saw in them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from radl_bench.errors import MissingData, UsageError
from radl_bench.report.scored_run import ScoredRun
from radl_bench.runs.images import Picture
from radl_bench.scoring.metrics import View
from radl_bench.types import Benchmark, Sample

ScoreRow = tuple[int, str, float, str]
"""Instance (-1: the whole image), metric, value (NaN where nothing was measured), reason."""


class GalleryRun:
    """A scored run, opened for looking at its images. Raises `RadlBenchError` where it cannot be read."""

    def __init__(self, scored: ScoredRun, label: str) -> None:
        self.scored, self.label = scored, label
        self.plan = scored.plan

    @property
    def benchmark(self) -> Benchmark:
        """The samples the run was made on; raises `MissingData` where they are not at hand or have changed."""
        return self.plan.benchmark

    @property
    def images_per_sample(self) -> int:
        """Images a sample that the manifest asks for."""
        return self.plan.per_sample

    @property
    def going(self) -> str | None:
        """A sentence when the run is not complete, or has grown since it was scored; else None."""
        done, planned = len(self.plan.rows), self.plan.run.planned
        if done < planned:
            state = "still going" if self.plan.run.status == "running" else "unfinished"
            return f"{self.label}: this run is {state}, {done:,} of {planned:,} images are made."
        if not self.scored.complete or 0 < len(self.scores) < planned:
            return f"{self.label}: this run was scored before it was complete. {self.scored.again}"
        return None

    @property
    def name(self) -> str:
        """The last three parts of the path: benchmark, method, hash."""
        return "/".join(self.scored.path.parts[-3:])

    @cached_property
    def scores(self) -> dict[tuple[str, int], list[ScoreRow]]:
        """Rows of the scores by (sample id, k); {} where the file is not there."""
        rows = self.scored.rows()
        if rows is None:
            return {}
        found: dict[tuple[str, int], list[ScoreRow]] = {}
        columns = (rows[name].tolist() for name in ("sample_id", "k", "instance", "metric", "value", "reason"))
        for sample, k, instance, metric, value, reason in zip(*columns, strict=True):
            row = (instance, metric, math.nan if value is None else float(value), reason)
            found.setdefault((sample, k), []).append(row)
        return found

    def picture(self, sample: Sample, k: int) -> Picture:
        """Return the image of (sample, k); its `problem` says why there is none."""
        return self.plan.image(sample, k)

    def generated(self, sample_id: str, k: int) -> dict[str, Any]:
        """Return the row of the generation, {} where there is none."""
        return self.plan.row(sample_id, k)

    def detections(self, picture: Picture) -> list[list[Any]] | None:
        """Return `[category, x0, y0, x1, y1, score, instance, iou]` a box above the protocol's threshold, or None.

        `instance` is the index of the instance that the box was matched with, -1 for none; None instead of a list says
        that the detector was not asked, or that its evidence is gone.
        """
        try:
            rules = self.scored.views.rules
            (view,) = self.scored.views.of([picture], ("detections",))
        except (MissingData, UsageError, TypeError, ValueError):
            return None  # scores of another version: their numbers stand, only the boxes cannot be drawn
        owners, out = _owners(view), []
        for category, found in view.found.items():
            strong = found.above(rules.score)
            for box, score in zip(strong.boxes.tolist(), strong.scores.tolist(), strict=True):
                out.append([category, *box, score, *owners.get((category, tuple(box)), (-1, 0.0))])
        return out


def _owners(view: View) -> Mapping[tuple[str, tuple[float, ...]], tuple[int, float]]:
    """Return (instance, IoU) by (category, box): which box was matched with which instance."""
    pairs = zip(range(len(view.matches)), view.sample.instances, view.matches, strict=True)
    return {(i.category, m.box): (n, m.iou) for n, i, m in pairs if m.box is not None}
