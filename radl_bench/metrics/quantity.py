"""DrawBench quantity: the picture shows as many of each named class as the prompt says.

Detections of a class are counted after suppression, from the protocol's least score up, wherever they lie. A picture
passes when every class of the sample has its number (RaDL, Table III: "the number of detected objects equals that of
the prompt"; so a prompt of two classes passes or fails as one). Classes the prompt does not name are not counted.
"""

from __future__ import annotations

from radl_bench.metrics import WHOLE_IMAGE, Metric, Row, View
from radl_bench.metrics.clauses import asks, lost, wanted
from radl_bench.protocol import Protocol

SCORE = "drawbench_quantity"


def rows(view: View, protocol: Protocol) -> list[Row]:
    """Return one row of 100 or 0 for an image whose sample asks for numbers; NaN without evidence, else no row."""
    if not asks(view.sample, "quantity"):
        return []
    if view.problem is not None:
        return lost(view, SCORE, [WHOLE_IMAGE])
    numbers = wanted(view.sample)
    seen = {c: len(view.found[c].above(protocol.score).scores) if c in view.found else 0 for c in numbers}
    wrong = [f"expected {n} {c}, counted {seen[c]}" for c, n in numbers.items() if seen[c] != n]
    right = "counted " + " and ".join(f"{n} {c}" for c, n in numbers.items())
    return [Row(WHOLE_IMAGE, SCORE, 0.0 if wrong else 100.0, "; ".join(wrong) or right)]


METRIC = Metric(
    name="quantity",
    scores=(SCORE,),
    requires=frozenset({"detections"}),
    settings=("det", "score", "nms"),
    rows=rows,
)
