"""DrawBench attribute: each coloured thing of the prompt is found and has its colour by HSV coverage.

Of a class that the sample has `n` times, the `n` strongest detections count, wherever they lie (as GenEval does, Ghosh
et al. 2023), so that a method without layouts is measured alike. A detection has a colour when at least
`protocol.coverage` of its mask does; things of one class share its detections such that as many as possible get theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radl_bench.scoring.conditions import Conditions
from radl_bench.scoring.metrics import Metric, Row, View
from radl_bench.scoring.metrics.clauses import asks, lost
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.protocol import Protocol
from radl_bench.types import Instance

SCORE = "drawbench_attribute"


def rows(view: View, protocol: Protocol) -> list[Row]:
    """Return a row of 100 or 0 for each instance with a colour; NaN without evidence."""
    instances = view.sample.instances
    colored = [n for n, i in enumerate(instances) if i.color is not None and asks(view.sample, "attribute")]
    if view.problem is not None:
        return lost(view, SCORE, colored)
    out: list[Row] = []
    names = view.sample.color_names
    for category in dict.fromkeys(instances[n].category for n in colored):
        index = [n for n in colored if instances[n].category == category]
        shares = view.object_shares.get(category, np.zeros((0, len(names))))
        got = _assign([names.index(instances[n].color or "") for n in index], shares, protocol.coverage)
        out += [_row(n, instances[n], shares, got.get(row), protocol, names) for row, n in enumerate(index)]
    return sorted(out)


def _assign(colors: list[int], shares: np.ndarray, least: float) -> dict[int, int]:
    """Return which detection serves which wanted colour; as many as possible are served, then by coverage."""
    from scipy.optimize import linear_sum_assignment

    share = shares[:, colors].T  # [wanted, found]
    gain = share + (share >= least) * (1.0 + len(colors))
    return {int(r): int(c) for r, c in zip(*linear_sum_assignment(gain, maximize=True), strict=True)}


def _row(
    n: int, instance: Instance, shares: np.ndarray, got: int | None, protocol: Protocol, names: Sequence[str]
) -> Row:
    if got is None:
        why = f"no {instance.category} detected" if len(shares) == 0 else f"too few of {instance.category} detected"
        return Row(n, SCORE, 0.0, f"expected {instance.phrase}, {why}")
    share, color = shares[got], instance.color or ""
    part, best = share[names.index(color)], int(share.argmax())
    if part >= protocol.coverage:
        return Row(n, SCORE, 100.0, f"{instance.phrase}: {part:.0%} {color}")
    instead = f", but {share[best]:.0%} {names[best]}" if share[best] >= protocol.coverage else ""
    text = f"expected {instance.phrase}, found a {instance.category} of which {part:.0%} is {color}{instead}"
    return Row(n, SCORE, 0.0, text)


def object_mask(c: Conditions) -> str:
    """Which segmenter, prompted by the strongest detections."""
    return f"mask:{c.segmenter}@det|pick:strongest"


METRIC = Metric(
    name="attribute",
    scores=(
        ScoreSpec(
            SCORE,
            "Attribute",
            "rate_of_few",
            "instance",
            missing=0.0,
            place=60,
            settings=("det", "score", "nms", "color", object_mask),
        ),
    ),
    requires=frozenset({"detections", "object_colors"}),
    rows=rows,
    thresholds=("score", "nms", "coverage"),
)
