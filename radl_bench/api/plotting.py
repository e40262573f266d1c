"""Figures of runs, as matplotlib figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.api.frames import Scores, run_path
from radl_bench.errors import MissingData, UsageError, did_you_mean
from radl_bench.runs.generate import Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("levels", "differences", "thresholds", "failures", "judge")
"""Success by number of objects; differences to a baseline; other thresholds; what went wrong; how far to trust the
judge."""


def plot(*runs: str | Path | Outcome | Scores, kind: str = "levels", baseline: str | None = None) -> Figure:
    """Draw a figure of scored runs, as `report --figures` does.

    Args:
        runs: comparable runs: one benchmark, one scale, measured alike.
        kind: one out of `KINDS`.
        baseline: the method that differences are taken to.

    Raises:
        UsageError: another kind; runs that share no figure; nothing to draw of this kind.
        MissingData: a run is not scored.
    """
    from matplotlib import rc_context

    from radl_bench.report import build_report
    from radl_bench.report.figures import drawings
    from radl_bench.report.figures_style import STYLE

    if kind not in KINDS:
        raise UsageError(did_you_mean(kind, KINDS, "kind of figure"))
    folders = [path for run in runs for path in (run.runs if isinstance(run, Scores) else [run_path(run)])]
    report = build_report(folders)
    if report.notes:
        raise MissingData(report.notes[0])
    if len(report.sections) > 1:
        titles = "; ".join(section.title for section in report.sections)
        raise UsageError(f"These runs share no figure, since they are not comparable: {titles}.")
    notes: list[str] = []
    with rc_context(STYLE):  # type: ignore[arg-type]
        for drawing in drawings(report.sections[0], baseline, notes):
            if drawing.name == kind:
                return drawing.figure
    raise UsageError(" ".join([f"There is nothing to draw as '{kind}' of these runs.", *notes]))
