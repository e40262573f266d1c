"""Figures out of the scores alone: success by number of objects, and differences to a baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from radl_bench.report.figures_style import Look, legend_below, looks, panels
from radl_bench.report.layouts import differences_of, in_order
from radl_bench.report.paired import difference_of
from radl_bench.report.scored_run import ScoredRun
from radl_bench.report.tables import Section
from radl_bench.report.ties import is_number
from radl_bench.scoring.permutation import ALPHA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DIFFERENCES = 5
"""Most panels of the figure of differences; the table of the literature comes first."""

_LEAST_REACH = 1.0
"""Half the width of an axis of differences is at least one point."""

_DODGE = 0.24
"""How far the first and the last curve stand apart, in objects, so that equal numbers do not hide each other."""


@dataclass(frozen=True)
class Gap:
    """A run's score minus the baseline's, its 95 % interval, NaN without one, and whether it is there (p < .05)."""

    label: str
    value: float
    low: float
    high: float
    clear: bool


def draw_levels(section: Section) -> Figure | None:
    """Return success and mIoU against the number of objects, with 95 % bands; None where there is one level only."""
    runs = section.runs
    by_level = (spec.name for spec in in_order(section.specs.values()) if spec.by_level)
    metrics = [m for m in by_level if any(len(_levels(run, m)) > 1 for run, _ in runs)]
    if not metrics:
        return None
    figure, axes = panels(len(metrics), 3.5, 3.6, sharey=True)
    look = looks(runs)
    for panel, metric in zip(axes, metrics, strict=True):
        for n, (run, label) in enumerate(runs):
            _curve(panel, run, metric, label, look[label], _DODGE * (n / max(1, len(runs) - 1) - 0.5))
        panel.set(title=section.specs[metric].column, ylim=_span(section, metrics), xlabel="objects")
        panel.set_xticks(sorted({level for run, _ in runs for level in _levels(run, metric)}))
    axes[0].set_ylabel("per cent")
    legend_below(figure, axes[0])
    return figure


def gaps(runs: Sequence[tuple[ScoredRun, str]], baseline: ScoredRun, metric: str) -> list[Gap]:
    """Return the paired difference of each contestant to the baseline in a metric over all levels.

    They are compared over the samples both have. Runs without the metric, or without anything to test it with, are left
    out.
    """
    found = (_gap(run, label, baseline, metric) for run, label in runs if not run.reference and run is not baseline)
    return [gap for gap in found if gap is not None]


def draw_differences(section: Section, baseline: ScoredRun, name: str) -> Figure | None:
    """Return differences to a baseline with 95 % intervals, one panel a metric; None where there is nothing to show."""
    found = {metric: gaps(section.runs, baseline, metric) for metric in differences_of(section.layout, section.specs)}
    shown = dict([(metric, of) for metric, of in found.items() if of][:_DIFFERENCES])
    if not shown:
        return None
    labels = [label for run, label in section.runs if any(g.label == label for of in shown.values() for g in of)]
    look = looks(section.runs)
    figure, axes = panels(len(shown), 2.9 if len(shown) > 1 else 5.0, 1.6 + 0.42 * len(labels), sharey=True)
    for panel, (metric, of) in zip(axes, shown.items(), strict=True):
        panel.axvline(0, color="black", linewidth=1)
        for gap in of:
            _interval(panel, labels.index(gap.label), gap, look[gap.label])
        panel.set(
            title=section.specs[metric].column,
            yticks=range(len(labels)),
            yticklabels=labels,
            ylim=(len(labels) - 0.5, -0.5),
        )
        panel.set_xlim(_reach(of))
        panel.grid(axis="y", visible=False)
    figure.supxlabel(f"points above {name}", fontsize=10)
    return figure


def _reach(of: Sequence[Gap]) -> tuple[float, float]:
    """Return the ends of an axis that shows 0 and every interval, and is not so short that noise looks large."""
    ends = [0.0, *(end for gap in of for end in (gap.low, gap.high, gap.value) if not math.isnan(end))]
    low, high = min(ends), max(ends)
    spare = max(0.08 * (high - low), _LEAST_REACH - (high - low) / 2)
    return low - spare, high + spare


def _curve(panel: Axes, run: ScoredRun, metric: str, label: str, look: Look, aside: float) -> None:
    cells = [run.cells[metric, level] for level in _levels(run, metric)]
    levels, values = [level + aside for level in _levels(run, metric)], [cell["value"] for cell in cells]
    panel.plot(levels, values, look.line, color=look.color, marker=look.marker, markersize=5, label=label)
    if all(is_number(cell[end]) for cell in cells for end in ("ci_low", "ci_high")):
        low, high = ([cell[end] for cell in cells] for end in ("ci_low", "ci_high"))
        panel.fill_between(levels, low, high, color=look.color, alpha=0.16, linewidth=0)


def _interval(panel: Axes, row: int, gap: Gap, look: Look) -> None:
    fill = look.color if gap.clear else "white"
    panel.plot([gap.low, gap.high], [row, row], "-", color=look.color, linewidth=2, solid_capstyle="butt")
    panel.plot(
        [gap.value], [row], look.marker, color=look.color, markerfacecolor=fill, markersize=7, markeredgewidth=1.6
    )


def _gap(run: ScoredRun, label: str, baseline: ScoredRun, metric: str) -> Gap | None:
    values = (r.cells.get((metric, None), {}).get("value") for r in (run, baseline))
    if any(value is None for value in values):
        return None
    found, _ = difference_of(run, baseline, metric, None)
    known = not math.isnan(found.p)
    return Gap(label, found.value, found.ci_low, found.ci_high, found.p < ALPHA) if known else None


def _span(section: Section, metrics: Sequence[str]) -> tuple[float, float] | None:
    """Return the ends of the axis: those of a percentage where all values are one, else what fits."""
    values = [cell.value for _, _, cell in section.cells if cell.metric in metrics and cell.value is not None]
    return (-2, 102) if all(0 <= value <= 100 for value in values) else None


def _levels(run: ScoredRun, metric: str) -> list[int]:
    found = [level for (name, level), cell in run.cells.items() if name == metric and is_number(cell["value"])]
    return sorted(level for level in found if level is not None)
