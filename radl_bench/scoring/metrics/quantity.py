"""DrawBench quantity: the image shows as many of each named class as the prompt says.

Detections are counted from `protocol.count` up, wherever they lie. A box that overlaps a stronger one by more than the
protocol's NMS is the same thing and counts once, also across the classes of the prompt: a detector asked for cats fires
on dogs. An image passes when every class has its number (RaDL, Table III: the detected number equals the prompt's; so
a prompt of two classes passes or fails as one). Classes that the prompt does not name are not counted.

The count has a threshold of its own because a false alarm spoils it (GenEval takes .9 for counting and .3 elsewhere):
.35 is GroundingDINO's own box threshold, and about where a small COCO detector on photographs counts best
(reports/calibration.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from radl_bench.scoring.conditions import Conditions, short
from radl_bench.scoring.metrics import WHOLE_IMAGE, Metric, Row, View
from radl_bench.scoring.metrics.clauses import asks, lost, wanted
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.protocol import Boxes, Protocol, kept_of

SCORE = "drawbench_quantity"


def rows(view: View, protocol: Protocol) -> list[Row]:
    """Return one row of 100 or 0 for an image whose sample asks for numbers; NaN without evidence, else no row."""
    if not asks(view.sample, "quantity"):
        return []
    if view.problem is not None:
        return lost(view, SCORE, [WHOLE_IMAGE])
    numbers = wanted(view.sample)
    seen = counts(view, list(numbers), protocol)
    wrong = [f"expected {n} {c}, counted {seen[c]}" for c, n in numbers.items() if seen[c] != n]
    right = "counted " + " and ".join(f"{n} {c}" for c, n in numbers.items())
    return [Row(WHOLE_IMAGE, SCORE, 0.0 if wrong else 100.0, "; ".join(wrong) or right)]


def counts(view: View, categories: Sequence[str], protocol: Protocol) -> dict[str, int]:
    """Return how many things of each of these categories were detected."""
    strong = {c: view.found[c].above(protocol.count) for c in categories if c in view.found}
    names = [c for c, found in strong.items() for _ in found.scores]
    boxes = np.concatenate([np.zeros((0, 4)), *(found.boxes for found in strong.values())])
    scores = np.concatenate([np.zeros(0), *(found.scores for found in strong.values())])
    kept = Counter(names[i] for i in kept_of(Boxes(boxes, scores), protocol.nms))
    return {c: kept[c] for c in categories}


def count(c: Conditions) -> str:
    """The least score of a detection that is counted."""
    return f"count:{short(c.protocol.count)}"


METRIC = Metric(
    name="quantity",
    scores=(
        ScoreSpec(SCORE, "Quantity", "rate_of_few", "image", missing=0.0, place=61, settings=("det", count, "nms")),
    ),
    requires=frozenset({"detections"}),
    rows=rows,
    thresholds=("count", "nms"),
)
