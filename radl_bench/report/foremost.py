"""Which runs of a large section stand in its figures and are compared pair by pair: more could not be told apart."""

from __future__ import annotations

from dataclasses import replace

from radl_bench.report.layouts import differences_of
from radl_bench.report.scored_run import ScoredRun
from radl_bench.report.tables import Section
from radl_bench.report.ties import is_number

MOST = 12
"""Most methods in a figure, beside the references; a section of more has all of them in its tables alone."""

BASELINE = "stable-diffusion"
"""What differences are measured against when nothing else is asked for; the first contestant where it is absent."""


def baseline_of(section: Section, baseline: str | None) -> tuple[ScoredRun, str] | None:
    """Return the run that others are compared with, and its label; None where the named one is not here."""
    contestants = [(run, label) for run, label in section.runs if not run.reference]
    for run, label in contestants:
        if (baseline or BASELINE) in (run.method, label):
            return run, label
    return contestants[0] if contestants and baseline is None else None


def leading_score(section: Section) -> str | None:
    """Return the score that tells most about the methods: the first of the table of the literature."""
    names = differences_of(section.layout, section.specs)
    return next((name for name in (*section.layout.columns, *names) if name in section.specs), None)


def ranked(section: Section) -> list[tuple[ScoredRun, str]]:
    """Return the contestants that have the leading score over all levels, the best first; equal ones stay in order."""
    score = leading_score(section)
    if score is None:
        return []
    key, sign = (score, None), section.specs[score].sign
    known = [one for one in section.runs if not one[0].reference and is_number(one[0].cells.get(key, {}).get("value"))]
    return sorted(known, key=lambda one: -sign * one[0].cells[key]["value"])


def foremost(section: Section, baseline: str | None) -> tuple[Section, str | None]:
    """Return a section with no more than `MOST` methods, and a sentence that says which; it and None where it is small.

    Kept are the references, the baseline, and the best by the leading score.
    """
    contestants = [one for one in section.runs if not one[0].reference]
    if len(contestants) <= MOST:
        return section, None
    base = baseline_of(section, baseline)
    first = [*([base] if base else []), *ranked(section), *contestants]
    kept = list({run.path: run for run, _ in first})[:MOST]
    cells = tuple(cell for cell in section.cells if cell[0].reference or cell[0].path in kept)
    score = leading_score(section)
    by = f" by {section.specs[score].heading}" if score else ""
    what = f"{MOST} of {len(contestants)} methods: {base[1] + ' and ' if base else ''}the best{by}"
    return replace(section, cells=cells), what
