"""What went wrong with each wanted object, from what the judges saw: missed, misplaced, merged, wrong colour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from radl_bench.report.figures_style import BLUE, GREY, ORANGE, PURPLE, SKY, VERMILION, panels
from radl_bench.report.figures_views import Seen
from radl_bench.scoring.metrics import View
from radl_bench.scoring.metrics.success import color_failure
from radl_bench.scoring.protocol import Boxes, Match, Protocol

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = ("right", "wrong colour", "merged", "misplaced", "missed", "no image")
"""Every wanted object is exactly one of these; see `failure_kinds`."""

_LOOKS = {
    "right": (BLUE, "", "white"),
    "wrong colour": (PURPLE, "", "black"),
    "merged": (SKY, "//", "black"),
    "misplaced": (ORANGE, "", "black"),
    "missed": (VERMILION, "\\\\", "black"),
    "no image": (GREY, "", "white"),
}
_LEAST_NUMBER = 4.0  # per cent of a bar that a number fits into

_COVERED = 0.8


def failure_kinds(view: View, strong: Mapping[str, Boxes], rules: Protocol) -> list[str]:
    """Return one of `KINDS` for each instance of a view.

    An object in its place is "right" or has the "wrong colour". One out of place is "merged" when a single detection
    stands for it and for another wanted object of its class: it is the best for both, or covers at least .8 of both
    boxes. Else it is "misplaced" when a detection of its class is left that is in nobody's place, and "missed" when
    every detection of its class belongs to another object, or there is none.

    Args:
        view: what the judges saw.
        strong: its detections above the protocol's score, by category.
    """
    instances = view.sample.instances
    if view.problem is not None:
        return ["no image"] * len(instances)
    placed = [match.iou >= rules.iou for match in view.matches]
    kinds = []
    for n, (instance, match, share) in enumerate(zip(instances, view.matches, view.shares, strict=True)):
        same = [m for m, other in enumerate(instances) if other.category == instance.category]
        if placed[n]:
            kinds.append("wrong colour" if color_failure(instance, share, rules, view.sample.color_names) else "right")
        elif _merged(n, same, view, strong[instance.category], match, rules):
            kinds.append("merged")
        else:
            taken = {view.matches[m].box for m in same if placed[m]}
            free = len(strong[instance.category].scores) - len(taken)
            kinds.append("misplaced" if free > 0 else "missed")
    return kinds


def failure_shares(seen: Seen) -> dict[str, float]:
    """Return the per cent of all wanted objects that are of each kind, in the order of `KINDS`; they sum to 100."""
    pairs = zip(seen.views, seen.strong, strict=True)
    counts = Counter(kind for view, strong in pairs for kind in failure_kinds(view, strong, seen.rules))
    total = max(1, sum(counts.values()))
    return {kind: 100.0 * counts[kind] / total for kind in KINDS}


def draw_failures(shares: Sequence[tuple[str, dict[str, float]]]) -> Figure:
    """Return a figure with one bar a run, first on top; the blue part is R_inst."""
    figure, (axes,) = panels(1, 8.6, 1.5 + 0.46 * len(shares))
    labels = [label for label, _ in shares]
    left = np.zeros(len(shares))
    for kind in [kind for kind in KINDS if any(of[kind] > 0 for _, of in shares)]:
        color, hatch, ink = _LOOKS[kind]
        widths = np.array([of[kind] for _, of in shares])
        axes.barh(labels, widths, left=left, color=color, hatch=hatch, edgecolor="white", linewidth=0.8, label=kind)
        _number(axes, left, widths, ink, bool(hatch))
        left += widths
    axes.set(xlim=(0, 100), xlabel="per cent of the wanted objects")
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return figure


def _number(axes: Axes, left: np.ndarray, widths: np.ndarray, ink: str, hatched: bool) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85} if hatched else None
    for row, (start, width) in enumerate(zip(left, widths, strict=True)):
        if width >= _LEAST_NUMBER:
            axes.text(start + width / 2, row, f"{width:.0f}", ha="center", va="center", color=ink, fontsize=9, bbox=box)


def _merged(n: int, same: Sequence[int], view: View, found: Boxes, match: Match, rules: Protocol) -> bool:
    others = [m for m in same if m != n]
    if not others or len(found.scores) == 0:
        return False
    if match.best_iou >= rules.iou:  # the best box for it is in place, but another instance has it
        return True
    boxes = np.array([instance.box for instance in view.sample.instances], float)
    covered = _coverage(boxes, found.boxes) >= _COVERED
    return bool((covered[n] & covered[others].any(axis=0)).any())


def _coverage(wanted: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return [N, M]: the part of each wanted box [N, 4] that lies inside each found box [M, 4]."""
    low = np.maximum(wanted[:, None, :2], found[None, :, :2])
    high = np.minimum(wanted[:, None, 2:], found[None, :, 2:])
    area = np.prod(wanted[:, 2:] - wanted[:, :2], axis=1)
    return np.prod(np.clip(high - low, 0.0, None), axis=2) / area[:, None]
