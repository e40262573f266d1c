"""What the judges saw in the pictures of a scored run, read back from its evidence: no judge, no model, no picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from radl_bench.report.scored_run import ScoredRun
from radl_bench.scoring.metrics import View
from radl_bench.scoring.protocol import Boxes, Match, Protocol, box_iou, match_instances
from radl_bench.types import Instance


@dataclass(frozen=True)
class Seen:
    """The views of a run under the protocol it was scored with, one an image that was asked for."""

    views: tuple[View, ...]
    rules: Protocol

    @cached_property
    def strong(self) -> tuple[dict[str, Boxes], ...]:
        """Detections above the protocol's score, by category, one dict a view."""
        return tuple({c: boxes.above(self.rules.score) for c, boxes in view.found.items()} for view in self.views)

    def instances(self) -> Iterator[tuple[View, dict[str, Boxes], Instance, Match, np.ndarray]]:
        """Yield view, strong detections, instance, match and colour shares [7] of every instance that was judged."""
        for view, strong in zip(self.views, self.strong, strict=True):
            if view.problem is None:
                for instance, match, share in zip(view.sample.instances, view.matches, view.shares, strict=True):
                    yield view, strong, instance, match, share


def seen_by(run: ScoredRun, most: int | None = None) -> Seen:
    """Read back what the detector and the segmenter of a run's scores saw, in at most so many images spread evenly.

    Raises:
        MissingData: the evidence, or the benchmark, is not there any more; the message says what to run.
        RadlBenchError: the run, or its evidence, cannot be read.
    """
    pictures = list(run.plan.planned(files=False))  # what was seen is enough, so their files need not be there any more
    if most is not None and len(pictures) > most:
        pictures = [pictures[n] for n in np.linspace(0, len(pictures) - 1, most).round().astype(int).tolist()]
    return Seen(tuple(run.views.of(pictures, ("detections", "coverage"))), run.views.rules)


def rematched(seen: Seen, score: float) -> Iterator[Match]:
    """Yield the match of every judged instance when only detections of at least this score count."""
    for view in seen.views:
        if view.problem is None:
            found = {category: boxes.above(score) for category, boxes in view.found.items()}
            yield from match_instances(view.sample.instances, found, seen.rules)


def right_boxes(view: View, category: str, iou: float) -> np.ndarray:
    """Return bool [N]: which detections of a category are in place, best first, each instance taken once."""
    found = view.found[category]
    wanted = np.array([i.box for i in view.sample.instances if i.category == category], float)
    overlap = box_iou(found.boxes, wanted)
    right = np.zeros(len(found.scores), bool)
    for n in np.argsort(-found.scores, kind="stable"):
        best = int(overlap[n].argmax())
        if overlap[n, best] >= iou:
            right[n] = True
            overlap[:, best] = 0.0
    return right
