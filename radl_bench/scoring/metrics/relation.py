"""DrawBench relation: the subject lies to the object as the prompt says, by the centres of their boxes.

Of a class that the sample has `n` times, the `n` strongest detections count; a relation holds when it does for any two
of them, one as the subject and another as the object. With centre (x, y), origin top left, y downwards, and
`margin` and `gap` as fractions of the image side:

| predicate | holds when |
|---|---|
| left of, right of | x differs by more than `margin`, the right way |
| above, below | y differs by more than `margin`, the right way |
| on top of | above; the centre of the narrower within the other's columns; at most `gap` of air between them |
| under | below; the centre of the narrower within the other's columns |
| next to | x differs by more than `margin` and no less than y; at most `gap` of air between them |

A difference of `margin` or less is a tie and holds neither way. The paper compares centres and states no margin (RaDL,
section 4); VISOR (Gokhale et al. 2022) takes none, GenEval a tenth of the boxes' sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

from radl_bench.scoring.conditions import Conditions, short
from radl_bench.scoring.metrics import Metric, Row, View
from radl_bench.scoring.metrics.clauses import asks, lost, wanted
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.protocol import Protocol
from radl_bench.types import Relation

SCORE = "drawbench_relation"
_EPS = 1e-9  # so that mirroring a scene, which rounds, cannot turn a tie into a relation
_ALIASES = {
    "left of": "left of",
    "left side of": "left of",
    "right of": "right of",
    "right side of": "right of",
    "above": "above",
    "over": "above",
    "below": "below",
    "on": "on top of",
    "top of": "on top of",
    "on top of": "on top of",
    "resting on": "on top of",
    "sitting on": "on top of",
    "standing on": "on top of",
    "under": "under",
    "underneath": "under",
    "beneath": "under",
    "next to": "next to",
    "beside": "next to",
}
_LEADS = ("to the ", "on the ", "at the ")


def canonical(predicate: str) -> str | None:
    """Return the predicate of the table above that a wording stands for ("to the left of" -> "left of"), or None."""
    words = " ".join(predicate.lower().split())
    lead = next((lead for lead in _LEADS if words.startswith(lead)), "")
    return _ALIASES.get(words.removeprefix(lead))


def holds(predicate: str, subject: Sequence[float], other: Sequence[float], protocol: Protocol) -> bool:
    """Say whether `subject` lies so to `other`, two xyxy boxes in fractions.

    Raises `KeyError` for a predicate that `canonical` does not know.
    """
    return _RULES[canonical(predicate) or predicate](subject, other, protocol)


def rows(view: View, protocol: Protocol) -> list[Row]:
    """Return a row of 100 or 0 for each relation with a known predicate, under its subject; NaN without evidence."""
    stated = [r for r in view.sample.relations if canonical(r.predicate) and asks(view.sample, "relation")]
    if view.problem is not None:
        return lost(view, SCORE, [r.subject for r in stated])
    return [_row(view, relation, protocol) for relation in stated]


def _row(view: View, relation: Relation, protocol: Protocol) -> Row:
    a, b = (view.sample.instances[n].category for n in (relation.subject, relation.object))
    subjects, others = strongest(view, a, protocol), strongest(view, b, protocol)
    absent = [c for c, boxes in ((a, subjects), (b, others)) if not boxes]
    if absent or (a == b and len(subjects) < 2):
        text = f"expected {a} {relation.predicate} {b}, no {absent[0]} detected" if absent else f"only one {a} detected"
        return Row(relation.subject, SCORE, 0.0, text)
    pairs = [(s, o) for (i, s), (j, o) in product(enumerate(subjects), enumerate(others)) if a != b or i != j]
    if any(holds(relation.predicate, s, o, protocol) for s, o in pairs):
        return Row(relation.subject, SCORE, 100.0, f"{a} is {relation.predicate} {b}")
    dx, dy = _offset(*pairs[0])
    place = f"centres differ by {dx:+.2f} across and {dy:+.2f} down"
    return Row(relation.subject, SCORE, 0.0, f"expected {a} {relation.predicate} {b}, but {place}")


def strongest(view: View, category: str, protocol: Protocol) -> list[tuple[float, ...]]:
    """Return the boxes of the `n` strongest detections of a class that the sample has `n` times, best first."""
    if category not in view.found:
        return []
    found = view.found[category].above(protocol.score)  # suppression has sorted them by falling score
    return [tuple(float(v) for v in box) for box in found.boxes[: wanted(view.sample)[category]]]


def _offset(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Return how far the centre of `b` lies to the right of, and below, that of `a`."""
    return (b[0] + b[2] - a[0] - a[2]) / 2, (b[1] + b[3] - a[1] - a[3]) / 2


def _air(a: Sequence[float], b: Sequence[float], axis: int) -> float:
    """Return the empty stretch between two boxes along x (0) or y (1); 0 where they overlap."""
    return max(a[axis] - b[axis + 2], b[axis] - a[axis + 2], 0.0)


def _stacked(a: Sequence[float], b: Sequence[float]) -> bool:
    return abs(_offset(a, b)[0]) <= max(a[2] - a[0], b[2] - b[0]) / 2 + _EPS


def _left(a: Sequence[float], b: Sequence[float], p: Protocol) -> bool:
    return _offset(a, b)[0] > p.margin + _EPS


def _above(a: Sequence[float], b: Sequence[float], p: Protocol) -> bool:
    return _offset(a, b)[1] > p.margin + _EPS


def _on_top(a: Sequence[float], b: Sequence[float], p: Protocol) -> bool:
    return _above(a, b, p) and _stacked(a, b) and _air(a, b, 1) <= p.gap + _EPS


def _next_to(a: Sequence[float], b: Sequence[float], p: Protocol) -> bool:
    dx, dy = (abs(v) for v in _offset(a, b))
    return dx > p.margin + _EPS and dx >= dy - _EPS and max(_air(a, b, 0), _air(a, b, 1)) <= p.gap + _EPS


_RULES: dict[str, Callable[[Sequence[float], Sequence[float], Protocol], bool]] = {
    "left of": _left,
    "right of": lambda a, b, p: _left(b, a, p),
    "above": _above,
    "below": lambda a, b, p: _above(b, a, p),
    "on top of": _on_top,
    "under": lambda a, b, p: _above(b, a, p) and _stacked(a, b),
    "next to": _next_to,
}


def margin(c: Conditions) -> str:
    """The least distance of two centres."""
    return f"margin:{short(c.protocol.margin)}"


def gap(c: Conditions) -> str:
    """The most air between things that touch, and which detections count."""
    return f"gap:{short(c.protocol.gap)}|pick:strongest"


METRIC = Metric(
    name="relation",
    scores=(
        ScoreSpec(
            SCORE,
            "Relation",
            "rate_of_few",
            "relation",
            missing=0.0,
            place=62,
            settings=("det", "score", "nms", margin, gap),
        ),
    ),
    requires=frozenset({"detections"}),
    rows=rows,
    thresholds=("score", "nms", "margin", "gap"),
)
