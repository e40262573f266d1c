"""The leaderboard as data: every run of a section in one table, which the page sorts, filters and compares."""

from __future__ import annotations

from typing import Any

from radl_bench.report.foremost import leading_score
from radl_bench.report.gallery import Gallery
from radl_bench.report.glossary import meaning
from radl_bench.report.layouts import in_order
from radl_bench.report.scored_run import ScoredRun
from radl_bench.report.tables import Cell, Section
from radl_bench.report.unguided import SPEC as UNGUIDED


def board(section: Section, gallery: Gallery) -> dict[str, Any]:
    """Return the content of `data/<number>-board.js`.

    `scores` are `[name, head, decimals, sign, meaning]`, with sign -1 where lower is better; `lead` is the place of the
    one that the table is sorted by at first. `lines` are one a run: `run` is its place in the gallery, or null, and
    `cells` has by level ("" for all) a list along `scores` of `[value, text, interval, tie group, best alone]` or null.
    """
    shares = {run.path: cell for run, _, cell in section.more if cell.metric == UNGUIDED.name}
    specs = [*in_order(section.specs.values()), *([UNGUIDED] if shares else [])]
    places = {spec.name: n for n, spec in enumerate(specs)}
    shown = {run.scored.path: n for n, run in enumerate(gallery.runs)}
    lines = {run.path: _line(run, label, shown.get(run.path)) for run, label in section.runs}
    for run, _, cell in [*section.cells, *((run, "", cell) for run, _, cell in section.more if cell.stratum is None)]:
        level = "" if cell.level is None else str(cell.level)
        cells = lines[run.path]["cells"].setdefault(level, [None] * len(specs))
        cells[places[cell.metric]] = _cell(cell)
    return {
        "title": section.title,
        "scores": [[s.name, s.column, s.decimals, s.sign, meaning(s)] for s in specs],
        "lead": places.get(leading_score(section) or "", 0),
        "lines": list(lines.values()),
    }


def _line(run: ScoredRun, label: str, place: int | None) -> dict[str, Any]:
    name = f"{label}, ceiling" if run.ceiling else label
    return {
        "label": name,
        "model": run.model,
        "reference": run.reference,
        "status": run.status,
        "run": place,
        "cells": {},
    }


def _cell(cell: Cell) -> list[Any] | None:
    return None if cell.value is None else [cell.value, cell.text, cell.interval, cell.group, cell.best]
