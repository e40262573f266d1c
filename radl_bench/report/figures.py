"""Figures of a report, as SVG and PNG: what can be drawn is drawn, and what cannot is named with the reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.errors import MissingExtra, RadlBenchError, UsageError, did_you_mean
from radl_bench.report import Report
from radl_bench.report.figures_style import STYLE, FigureFile, looks, save
from radl_bench.report.foremost import baseline_of, foremost
from radl_bench.report.scored_run import ScoredRun
from radl_bench.report.tables import Section
from radl_bench.runs.store import slug

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from radl_bench.report.figures_views import Seen

MOST_IMAGES = 1_000
"""Images of a run, spread evenly, in the figures about thresholds and failures; the curves are smooth by then."""

LEVELS, DIFFERENCES, SENSITIVITY, FAILURES, JUDGE = "levels", "differences", "thresholds", "failures", "judge"


@dataclass(frozen=True)
class Figures:
    """The figures on disk, and sentences about those that could not be drawn."""

    figures: tuple[FigureFile, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """A figure with its name, title and caption."""

    name: str
    title: str
    caption: str
    figure: Figure


def write_figures(report: Report, folder: Path, baseline: str | None = None) -> Figures:
    """Draw the figures of a report into `folder` (made when absent) as `<section>-<figure>.svg` and `.png`.

    The figures of a section: "levels" (success by number of objects), "differences" (to the baseline), "thresholds",
    "failures" and "judge" (its reliability on the reference). The last three read the evidence of the runs, never a
    picture or a model; a run whose evidence is gone is left out with a note.

    Args:
        baseline: method, or label in the tables, that differences are measured against; by itself `foremost.BASELINE`.

    Raises:
        UsageError: no run is of that baseline, or the folder cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
    except ImportError as error:
        raise MissingExtra("Figures need the package matplotlib. Run: pip install matplotlib") from error
    _check_baseline(report, baseline)
    notes: list[str] = []
    files: list[FigureFile] = []
    names: set[str] = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with rc_context(STYLE):  # type: ignore[arg-type]
            for section in report.sections:
                stem = _free_name(slug(section.title.lower()), names)
                for drawing in drawings(section, baseline, notes):
                    svg, png = save(drawing.figure, folder / f"{stem}-{drawing.name}")
                    width, height = (round(96 * inches) for inches in drawing.figure.get_size_inches())
                    files.append(FigureFile(drawing.name, drawing.title, drawing.caption, svg, png, (width, height)))
    except OSError as error:
        raise UsageError(
            f"The figures cannot be written to {folder} ({error.strerror}). Give another folder."
        ) from None
    return Figures(tuple(files), tuple(notes))


def drawings(section: Section, baseline: str | None, notes: list[str]) -> Iterator[Drawing]:
    """Yield the figures of a section; what cannot be drawn of a run becomes one of the `notes`."""
    from radl_bench.report.figures_scores import draw_differences, draw_levels

    section, what = foremost(section, baseline)
    if what:
        notes.append(f"The figures of {section.title} show {what}.")
    levels = draw_levels(section)
    if levels is not None:
        yield Drawing(LEVELS, f"Success by number of objects, {section.title}", _captions()[LEVELS], levels)
    base = baseline_of(section, baseline)
    if base is not None:
        run, label = base
        gaps = draw_differences(section, run, label)
        if gaps is not None:
            yield Drawing(DIFFERENCES, f"Difference to {label}, {section.title}", _captions()[DIFFERENCES], gaps)
    yield from _evidence_drawings(section, notes)


def _evidence_drawings(section: Section, notes: list[str]) -> Iterator[Drawing]:
    from radl_bench.report.figures_failures import draw_failures, failure_shares
    from radl_bench.report.figures_judge import draw_reliability, draw_sensitivity

    if not any(cell.metric == "success_inst" for _, _, cell in section.cells):
        return
    seen = list(_seen(section, notes))
    if seen:
        pairs = [(label, of) for _, label, of in seen]
        drawn: list[tuple[str, str, Callable[[], Figure]]] = [
            (SENSITIVITY, "What other thresholds would say", lambda: draw_sensitivity(pairs, looks(section.runs))),
            (FAILURES, "What went wrong", lambda: draw_failures([(label, failure_shares(of)) for label, of in pairs])),
        ]
        for name, title, draw in drawn:
            yield Drawing(name, f"{title}, {section.title}", _captions()[name], draw())
    for run, label, of in seen:
        if run.ceiling:
            yield Drawing(JUDGE, f"The judge on {label}, {section.title}", _captions()[JUDGE], draw_reliability(of))
            return


def _seen(section: Section, notes: list[str]) -> Iterator[tuple[ScoredRun, str, Seen]]:
    from radl_bench.report.figures_views import seen_by

    for run, label in section.runs:
        try:
            seen = seen_by(run, MOST_IMAGES)
        except RadlBenchError as error:
            notes.append(f"{label} is not in the figures about thresholds and failures: {error}")
            continue
        if len(seen.views) < run.plan.run.planned:
            part = f"{len(seen.views):,} of {run.plan.run.planned:,} images"
            notes.append(f"{label}: the figures about thresholds and failures look at {part}, spread evenly.")
        yield run, label, seen


def _captions() -> dict[str, str]:
    return {
        LEVELS: "Bands: 95 % intervals. Grey and dashed: images that are right by construction.",
        DIFFERENCES: (
            "Paired over the samples both methods have; lines: 95 % intervals. Filled: the difference is there "
            "(paired permutation test, p < .05). Hollow: it may be chance."
        ),
        SENSITIVITY: (
            "Dotted: the threshold of the protocol. Left and middle: the matches and masks of the scores, asked "
            "anew. Right: detections matched anew; the share of objects in place, whatever their colour."
        ),
        FAILURES: (
            "Merged: one detection stands for two wanted objects of a class. Misplaced: one of the class is found, in "
            "nobody's place. Missed: every detection of the class belongs to another object, or there is none."
        ),
        JUDGE: (
            "On images that are right by construction, so what is not judged right is an error of the judge (or an "
            "object hidden by another). Lines: Wilson's 95 % intervals. Dotted: a score that is a probability."
        ),
    }


def _check_baseline(report: Report, baseline: str | None) -> None:
    known = {
        name for s in report.sections for run, label in s.runs if not run.reference for name in (run.method, label)
    }
    if baseline is not None and baseline not in known:
        raise UsageError(did_you_mean(baseline, known, "baseline"))


def _free_name(name: str, taken: set[str]) -> str:
    free = next(n for k in range(1, len(taken) + 2) if (n := name if k == 1 else f"{name}-{k}") not in taken)
    taken.add(free)
    return free
