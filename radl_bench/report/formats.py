"""Writers of a report as one text: Markdown, JSON, CSV. They, LaTeX and the terminal all say the same numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from radl_bench.report.glossary import AVG, LEVEL
from radl_bench.report.layouts import AVERAGE
from radl_bench.report.reported import REPORTED, ReportedTable
from radl_bench.report.tables import NOTHING, Cell, Table
from radl_bench.text import safe

if TYPE_CHECKING:
    from radl_bench.report import Report

LEGEND = (
    "Value with its 95 % interval. **Bold**: better than every other method (paired permutation test over samples, "
    "p < .05 by Holm's rule over all pairs of the column). = : in a tie with the best. "
    "The ceiling, images that are right by construction, takes no part."
)
UNSTATED = "unstated"
"""The scale of numbers whose method declares none, in CSV and JSON."""

REPORTED_TITLE = "Reported in the literature, not measured here"


def markdown(report: Report) -> str:
    """Return the report as GitHub-flavoured Markdown with padded columns, readable as it stands."""
    blocks = ["# Report"]
    for section in report.sections:
        blocks += [f"## {_escaped(section.title)}", *_said(section.headline)]
        blocks += [_escaped(note) for note in section.notes]
        for table in section.tables:
            blocks += [f"### {_escaped(table.title)}", _markdown_table(table)]
        blocks += [LEGEND, _markdown_list(section.signatures)]
    if report.reported:
        blocks += [f"## {REPORTED_TITLE}"]
        for published in report.reported:
            blocks += [f"### {_escaped(published.title)}", _markdown_reported(published)]
            blocks += [_markdown_list((f"Source: {published.source}.", *published.notes))]
    blocks += [_markdown_list(report.notes)] if report.notes else []
    blocks += ["## Columns", _markdown_list(glossary(report))]
    return "\n\n".join(blocks) + "\n"


def glossary(report: Report) -> list[str]:
    """Return what each column of the tables means, once for all sections."""
    found = dict(line for section in report.sections for line in section.glossary)
    by_level = any(AVERAGE in table.heads for section in report.sections for table in section.tables)
    return [*(f"{head}: {text}" for head, text in found.items()), *((LEVEL, AVG) if by_level else ())]


def _said(headline: str) -> list[str]:
    return [f"**{_escaped(headline)}**"] if headline else []


def as_json(report: Report) -> str:
    """Return the report as JSON: sections with their notes and every score; null where nothing was measured."""
    content: dict[str, Any] = {
        "schema_version": 1,
        "notes": list(report.notes),
        "sections": [
            {
                "title": s.title,
                "headline": s.headline,
                "notes": list(s.notes),
                "scores": [_record(*item) for item in (*s.cells, *s.more)],
            }
            for s in report.sections
        ],
    }
    if report.reported:
        content["reported"] = [
            {"title": t.title, "source": t.source, "notes": list(t.notes), "scores": list(_reported_records(t))}
            for t in report.reported
        ]
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair is no UTF-8, its escape is


def as_csv(report: Report) -> str:
    """Return every score of the report as one CSV line; an empty field where nothing was measured.

    The column `scale` is "mini", "paper", "unstated" or "reported"; a reported line has its source for a signature.
    """
    records = [_record(*item) for section in report.sections for item in (*section.cells, *section.more)]
    records += [record for table in report.reported for record in _reported_records(table)]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for of in records for key in of)), lineterminator="\n")
    writer.writeheader()
    for record in records:
        record = record | {"filter": json.dumps(record["filter"], sort_keys=True)}
        writer.writerow({key: safe(cell, "csv") if isinstance(cell, str) else cell for key, cell in record.items()})
    return text.getvalue()


def _record(run: Any, label: str, cell: Cell) -> dict[str, Any]:
    benchmark, generator = run.data["benchmark"], run.data["generator"]
    return {
        "benchmark": benchmark["name"],
        "version": str(benchmark["version"]),
        "sha256": benchmark["sha256"],
        "filter": benchmark.get("filter", {}),
        "protocol": run.data.get("protocol", ""),
        "scale": run.scale or UNSTATED,
        "method": generator["name"],
        "label": label,
        "model": generator.get("model"),
        "run": "/".join(run.path.parts[-3:]),
        "status": run.status,
        "metric": cell.metric,
        "level": cell.level,
        "value": cell.value,
        "ci_low": cell.low,
        "ci_high": cell.high,
        "n": cell.n,
        "n_missing": cell.missing,
        "tie_group": cell.group,
        "best": cell.best,
        "note": cell.note,
        "signature": cell.signature,
    } | ({} if cell.stratum is None else {"stratum": cell.stratum})


def _reported_records(table: ReportedTable) -> Iterator[dict[str, Any]]:
    unknown = dict.fromkeys(("version", "sha256", "model", "ci_low", "ci_high", "n", "n_missing", "tie_group", "note"))
    for line in table.lines:
        for column, value in zip(table.columns, line.values, strict=True):
            if value is not None:
                known: dict[str, Any] = {
                    "benchmark": table.benchmark,
                    "filter": {},
                    "protocol": "",
                    "scale": REPORTED,
                    "best": None,
                }
                what = {"method": line.method, "label": line.label, "run": table.id, "status": REPORTED}
                number = {"metric": column.metric, "level": column.level, "value": value}
                source = {"signature": f"{table.name}, column {column.head}: {table.source}"}
                yield unknown | known | what | number | source


def _markdown_table(table: Table) -> str:
    rows = [[*table.first, *table.heads]]
    rows += [[line.name, line.model, *map(_markdown_cell, line.cells)] for line in table.lines]
    return _grid(rows, words=2)


def _markdown_reported(table: ReportedTable) -> str:
    rows = [["method", *(column.head for column in table.columns)]]
    rows += [[line.label, *map(table.text, line.values)] for line in table.lines]
    return _grid(rows, words=1)


def _grid(rows: list[list[str]], words: int) -> str:
    """Return a Markdown table; the first row is its head, the first `words` columns are text."""
    rows = [[_escaped(text).replace("|", "\\|") for text in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    rule = [["-" * width if n < words else "-" * (width - 1) + ":" for n, width in enumerate(widths)]]
    return "\n".join(_markdown_line(row, widths) for row in rows[:1] + rule + rows[1:])


def _markdown_line(row: Sequence[str], widths: Iterable[int]) -> str:
    return "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"


def _markdown_list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {_escaped(line)}" for line in lines)


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None or cell.value is None:
        return NOTHING
    number = f"**{cell.text}**" if cell.best else cell.text
    return f"{number} [{cell.interval}]{' =' if cell.tied else ''}"


def _escaped(text: str) -> str:
    return " ".join(safe(text, "markdown").split())
