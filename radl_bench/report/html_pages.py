"""The pages of the HTML report out of their templates."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from radl_bench import __version__
from radl_bench.report import Report, formats
from radl_bench.report.gallery import Gallery
from radl_bench.report.glossary import AVG, meaning
from radl_bench.report.layouts import AVERAGE
from radl_bench.report.tables import Cell, Line, Section, Table

_TEMPLATES = Path(__file__).with_name("templates")
_SCRIPTS = ("common", "overlay", "grid", "gallery", "sample", "compare", "board")
ASSETS = ("style.css", "controls.css", *(f"{name}.js" for name in _SCRIPTS))
LIVE_ASSETS = ("live.js", "now.js")
"""What asks a server for news, which a report that is written to be kept has not."""

NOW = "now.html"
"""The page that a server alone has: what goes on at this moment."""

LEGEND = (
    formats.LEGEND.replace("**", "")
    + " Underlined numbers lead to their images. Bars: the share of the longest in the column; the mark is the ceiling."
)


def write_pages(
    part: Path,
    report: Report,
    galleries: Sequence[Gallery],
    compared: Sequence[int],
    figures: Sequence[dict[str, Any]] = (),
    undrawn: Sequence[str] = (),
    live: bool = False,
) -> None:
    """Write every page of a report, and what they need beside their data, into a folder.

    Args:
        compared: numbers of the sections that the compare page has data of.
        live: these pages are served while runs go on: they ask the server for news.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    (part / "assets").mkdir()
    for name in (*ASSETS, *(LIVE_ASSETS if live else ())):
        shutil.copyfile(_TEMPLATES / name, part / "assets" / name)
    # autoescape for every template: names, prompts and reasons are text of others
    pages = Environment(loader=PackageLoader("radl_bench.report"), autoescape=True, undefined=StrictUndefined)
    pages.trim_blocks = pages.lstrip_blocks = True
    names = _names(bool(report.sections), bool(compared), live)
    texts = {
        "version": __version__,
        "live": live,
        "names": names,
        "galleries": galleries,
        "compared": compared,
        "going": [sentence for gallery in galleries for sentence in gallery.going],
        "problems": [*report.notes, *(problem for gallery in galleries for problem in gallery.problems)],
        "legend": LEGEND,
        "sections": [_section(n, section, galleries[n]) for n, section in enumerate(report.sections)],
        "reported": report.reported,
        "figures": figures,
        "undrawn": undrawn,
    }
    for page in names:
        (part / page).write_text(pages.get_template(page).render(page=page, **texts), "utf-8")


def _names(scored: bool, compared: bool, live: bool) -> dict[str, str]:
    """Return the pages that there are, each with its name in the head."""
    tables = {"index.html": "Tables", "leaderboard.html": "Leaderboard", "gallery.html": "Gallery"}
    return {
        **({NOW: "Now"} if live else {}),
        **(tables if scored else {}),
        **({"compare.html": "Compare"} if compared else {}),
    }


def _section(number: int, section: Section, gallery: Gallery) -> dict[str, Any]:
    return {
        "title": section.title,
        "headline": section.headline,
        "glossary": section.glossary,
        "notes": section.notes,
        "signatures": [line.replace("`", "") for line in section.signatures],  # marks of the Markdown
        "tables": [_table(number, table, gallery) for table in section.tables],
    }


def _table(number: int, table: Table, gallery: Gallery) -> dict[str, Any]:
    reach = [_reach([line.cells[n] for line in table.lines], ceiling) for n, ceiling in enumerate(_ceilings(table))]
    lines = [
        {
            "label": line.name,
            "model": line.model,
            "cells": [
                cell and _cell(cell) | {"href": _address(number, gallery, cell, table, line, head)} | _bar(cell, *of)
                for cell, of, head in zip(line.cells, reach, table.heads, strict=True)
            ],
        }
        for line in table.lines
    ]
    heads = [(head, _head_title(n, head, table)) for n, head in enumerate(table.heads)]
    return {"title": table.title, "first": table.first[0], "heads": heads, "lines": lines}


def _head_title(number: int, head: str, table: Table) -> str:
    """Return what a head means: that of its score, of the level or of the stratum; "" for a method."""
    cell = next((line.cells[number] for line in table.lines if line.cells[number]), None)
    if head == AVERAGE:
        return AVG
    if cell is None or table.first[0] != "method":
        return ""
    if cell.spec.column == head:
        return meaning(cell.spec)
    if cell.level is not None:
        return f"samples with {cell.level} objects"
    return f"the part of the benchmark with {cell.stratum}" if cell.stratum else ""


def _ceilings(table: Table) -> list[Cell | None]:
    """Return what the first ceiling of a table scores in each column."""
    first = next((line.cells for line in table.lines if line.ceiling), None)
    return [None] * len(table.heads) if first is None else list(first)


def _reach(column: Sequence[Cell | None], ceiling: Cell | None) -> tuple[float, float | None]:
    """Return the value at which a bar of the column is full, 0 for no bars, and that of the ceiling."""
    known = [cell.value for cell in column if cell and cell.value is not None]
    if ceiling is None or not ceiling.value or ceiling.spec.lower_is_better or min(known) < 0:
        return 0.0, None
    return max(known), ceiling.value


def _bar(cell: Cell, full: float, ceiling: float | None) -> dict[str, Any]:
    """Return the bar of a cell and the place of the ceiling's mark, in per cent of its width."""
    if not full or ceiling is None or cell.value is None:
        return {"bar": None, "mark": None}
    return {"bar": round(100.0 * cell.value / full, 1), "mark": round(100.0 * ceiling / full, 1)}


def _cell(cell: Cell) -> dict[str, Any]:
    note = f"{cell.note} " if cell.note else ""
    return {
        "text": cell.text,
        "interval": cell.interval,
        "best": cell.best,
        "tied": cell.tied,
        "title": f"{note}n {cell.n:,}, missing {cell.missing:,}; {cell.signature}",
    }


def _address(number: int, gallery: Gallery, cell: Cell, table: Table, line: Line, head: str) -> str | None:
    """Return the address of a number's images, layout and detections drawn; None where the gallery cannot show them."""
    of_method = table.first[0] == "method"
    runs = [
        n
        for n, run in enumerate(gallery.runs)
        if ((run.label, run.scored.model) == (line.label, line.model) if of_method else run.label == head)
    ]
    part = _part(gallery, cell)
    if len(runs) != 1 or part is None:
        return None
    return f"gallery.html#{urlencode({'g': number, 'm': runs[0], **part, 'layout': 1, 'found': 1})}"


def _part(gallery: Gallery, cell: Cell) -> dict[str, int] | None:
    """Return the filter of the gallery that leaves the part of a number: all, a level, a colour or a class."""
    by, _, name = (cell.stratum or "").partition("=")
    if not by:
        return {} if cell.level is None else {"level": cell.level}
    if by == "level":
        return {"level": int(name.removeprefix("L"))}
    key, names = {"color": ("c", gallery.colors), "class": ("t", gallery.categories)}.get(by, ("", []))
    return {key: names.index(name)} if name in names else None
