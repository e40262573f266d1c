"""Figures about the judging itself: what other thresholds would say, and how often the judge is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from radl_bench.report.figures_style import BLUE, GREY, ORANGE, Look, legend_below, panels
from radl_bench.report.figures_views import Seen, rematched, right_boxes
from radl_bench.scoring.metrics.success import color_failure
from radl_bench.scoring.protocol import Protocol
from radl_bench.scoring.statistics import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THRESHOLDS = {
    "iou": np.arange(0.1, 0.951, 0.05),
    "coverage": np.arange(0.0, 0.951, 0.05),
    "score": np.arange(0.05, 0.951, 0.05),
}
"""Where the curves are measured; the protocol's own threshold is put among them."""

_AXES = {"iou": "least IoU", "coverage": "least share of the colour", "score": "least score of a detection"}
_BINS = 10
_SIZES = 5


@dataclass(frozen=True)
class Rate:
    """A share of cases, in per cent, with Wilson's 95 % interval, at `x` (a number or a word)."""

    x: float | str
    value: float
    low: float
    high: float
    n: int


def sensitivity(seen: Seen, threshold: str) -> tuple[np.ndarray, np.ndarray]:
    """Return thresholds [T] and R_inst [T] in per cent at each; at the protocol's own it is the reported R_inst.

    "iou" and "coverage" ask anew of the matches and masks that the scores rest on. "score" matches anew with fewer or
    more detections; masks of new matches were never measured, so this curve is the share in place, whatever the colour.
    """
    own = getattr(seen.rules, threshold)
    steps = np.unique(np.round(np.append(THRESHOLDS[threshold], own), 6))
    missing = sum(len(view.sample.instances) for view in seen.views if view.problem is not None)
    if threshold == "score":
        ious = [np.array([m.iou for m in rematched(seen, step)]) for step in steps]
        hits = np.array([(of >= seen.rules.iou).sum() for of in ious], float)
        total = len(ious[0]) + missing
    else:
        iou, share = _measured(seen)
        least_iou = steps if threshold == "iou" else np.full(len(steps), seen.rules.iou)
        least_share = steps if threshold == "coverage" else np.full(len(steps), seen.rules.coverage)
        hits = ((iou >= least_iou[:, None]) & (share >= least_share[:, None])).sum(axis=1).astype(float)
        total = len(iou) + missing
    return steps, 100.0 * hits / max(1, total)


def draw_sensitivity(seen: Sequence[tuple[str, Seen]], look: dict[str, Look]) -> Figure:
    """Return R_inst against each threshold, one line a run; a vertical line marks the protocol's own."""
    colored = any(i.color for _, of in seen for view in of.views for i in view.sample.instances)
    names = [name for name in THRESHOLDS if colored or name != "coverage"]
    figure, axes = panels(len(names), 3.5, 3.6, sharey=True)
    for panel, name in zip(axes, names, strict=True):
        for label, of in seen:
            steps, values = sensitivity(of, name)
            panel.plot(steps, values, look[label].line, color=look[label].color, linewidth=2, label=label)
        panel.axvline(getattr(seen[0][1].rules, name), color=GREY, linewidth=1, linestyle=":")
        panel.set(
            title="in place, any colour" if name == "score" else "R_inst",
            xlabel=_AXES[name],
            ylim=(-2, 102),
            xlim=(0, 1),
        )
    axes[0].set_ylabel("per cent")
    legend_below(figure, axes[0])
    return figure


def trust(seen: Seen, bins: int = _BINS) -> list[Rate]:
    """Return, for bins of the detector's score, the share of its detections that are in place; empty bins are left out.

    In place: IoU at least the protocol's with a wanted object of that class that no stronger detection has.
    """
    scores, right = [], []
    for view in seen.views:
        for category in view.found if view.problem is None else ():
            scores.append(view.found[category].scores)
            right.append(right_boxes(view, category, seen.rules.iou))
    if not scores:
        return []
    score, hit = np.concatenate(scores), np.concatenate(right)
    index = np.minimum((score * bins).astype(int), bins - 1)
    kept = [index == n for n in range(bins) if (index == n).any()]
    return [_rate(float(score[of].mean()), hit[of]) for of in kept]


def by_size(seen: Seen, groups: int = _SIZES) -> list[Rate]:
    """Return the share of wanted objects judged right in `groups` equal groups of rising box area (per cent of it)."""
    cases = [((i.box[2] - i.box[0]) * (i.box[3] - i.box[1]), ok) for i, ok in _judged(seen)]
    if not cases:
        return []
    area, right = (np.array(column, float) for column in zip(*cases, strict=True))
    parts = np.array_split(np.argsort(area, kind="stable"), min(groups, len(area)))
    return [_rate(_span(area[of]), right[of]) for of in parts]


def by_color(seen: Seen) -> list[Rate]:
    """Return the share of wanted objects judged right by the colour they have."""
    cases = [(i.color, ok) for i, ok in _judged(seen) if i.color is not None]
    names = dict.fromkeys(name for view in seen.views for name in view.sample.color_names)
    found = {color: np.array([ok for c, ok in cases if c == color], float) for color in names}
    return [_rate(color, right) for color, right in found.items() if len(right)]


def draw_reliability(seen: Seen) -> Figure:
    """Return how far the judge can be trusted on pictures that are right: by its own score, by size, by colour."""
    colors = by_color(seen)
    figure, axes = panels(3 if colors else 2, 3.6, 3.5, sharey=True)
    axes[0].plot([0, 1], [0, 100], ":", color=GREY, linewidth=1)
    rates = trust(seen)
    _points(axes[0], [float(rate.x) for rate in rates], rates)
    axes[0].plot([float(rate.x) for rate in rates], [rate.value for rate in rates], "-", color=BLUE)
    axes[0].set(title="detections in place", xlabel="score of the detection", ylabel="per cent", xlim=(0, 1.02))
    _bars(axes[1], by_size(seen), "objects judged right", "area of the box, per cent of the image")
    if colors:
        _bars(axes[2], colors, "objects judged right", "colour")
    axes[0].set_ylim(0, 104)
    return figure


def _measured(seen: Seen) -> tuple[np.ndarray, np.ndarray]:
    """Return IoU [N] and the share of the wanted colour [N] of every judged instance; 1 where the colour is free."""
    pairs = [
        (match.iou, 1.0 if instance.color is None else share[view.sample.color_names.index(instance.color)])
        for view, _, instance, match, share in seen.instances()
    ]
    table = np.array(pairs, float).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _judged(seen: Seen) -> list[tuple]:
    rules: Protocol = seen.rules
    return [
        (instance, match.iou >= rules.iou and color_failure(instance, share, rules, view.sample.color_names) is None)
        for view, _, instance, match, share in seen.instances()
    ]


def _span(area: np.ndarray) -> str:
    low, high = f"{100 * area.min():.0f}", f"{100 * area.max():.0f}"
    return low if low == high else f"{low}–{high}"


def _rate(x: float | str, hits: np.ndarray) -> Rate:
    low, high = wilson(float(hits.sum()), len(hits))
    return Rate(x, 100.0 * float(hits.mean()), 100.0 * low, 100.0 * high, len(hits))


def _points(panel: Axes, x: Sequence[float], rates: Sequence[Rate]) -> None:
    ends = [[r.value - r.low for r in rates], [r.high - r.value for r in rates]]
    panel.errorbar(x, [r.value for r in rates], yerr=ends, fmt="o", color=BLUE, capsize=3)


def _bars(panel: Axes, rates: Sequence[Rate], title: str, xlabel: str) -> None:
    x = np.arange(len(rates))
    panel.bar(x, [r.value for r in rates], color=ORANGE, width=0.7)
    ends = [[r.value - r.low for r in rates], [r.high - r.value for r in rates]]
    panel.errorbar(x, [r.value for r in rates], yerr=ends, fmt="none", ecolor="black", capsize=3, linewidth=1)
    panel.set_xticks(x, [str(r.x) for r in rates], rotation=35, ha="right")
    panel.set(title=title, xlabel=xlabel)
    panel.grid(axis="x", visible=False)
