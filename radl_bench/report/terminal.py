"""The report on a terminal of 100 columns, by rich."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from radl_bench.report.formats import REPORTED_TITLE
from radl_bench.report.reported import ReportedTable
from radl_bench.report.tables import NOTHING, Cell, Table
from radl_bench.text import safe

if TYPE_CHECKING:
    from rich.console import RenderableType

    from radl_bench.report import Report

_COLUMNS_AT_A_TIME = 6
_NARROW = 4  # with the labels: 80 columns
_HINT = "Second line: 95 % interval. Bold and *: better than every other method; = : in a tie with the best."


def terminal(report: Report) -> Iterator[RenderableType]:
    """Yield what rich shows: the tables, their notes and the sizes behind them."""
    for section in report.sections:
        yield Text(f"\n{safe(section.title)}", style="bold underline")
        if section.headline:
            yield Text(safe(section.headline), style="bold")
        yield from (Text(safe(note), style="italic") for note in section.notes)
        for table in section.tables:
            yield from _tables(table)
        yield Text(_HINT, style="dim")
        yield Text(safe(" | ".join(line.split("; `")[0] for line in section.signatures)), style="dim")
    if report.reported:
        yield Text(f"\n{REPORTED_TITLE}", style="bold underline")
        for published in report.reported:
            yield from _reported(published)
    yield from (Text(safe(note), style="yellow") for note in report.notes)


def _tables(table: Table) -> Iterator[RenderableType]:
    step = _NARROW if table.narrow else _COLUMNS_AT_A_TIME
    for start in range(0, len(table.heads), step):
        part = slice(start, start + step)
        shown = _empty(table.title, "\n".join(table.first), table.heads[part])
        for line, ends in table.ends():
            label = Text(safe(line.name)).append(f"\n{safe(line.model)}", "dim")
            shown.add_row(label, *map(_cell, line.cells[part]), end_section=ends)
        yield shown


def _reported(table: ReportedTable) -> Iterator[RenderableType]:
    for start in range(0, len(table.columns), _COLUMNS_AT_A_TIME):
        part = slice(start, start + _COLUMNS_AT_A_TIME)
        shown = _empty(table.title, "method", [column.head for column in table.columns[part]])
        for line in table.lines:
            shown.add_row(Text(safe(line.label)), *(Text(table.text(value)) for value in line.values[part]))
        yield shown
    yield from (Text(f"- {safe(note)}", style="dim") for note in (f"Source: {table.source}.", *table.notes))


def _empty(title: str, first: str, heads: tuple[str, ...] | list[str]) -> RichTable:
    shown = RichTable(title=Text(safe(title)), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column(first, max_width=28)
    for head in heads:
        shown.add_column(Text(safe(head)), justify="right", no_wrap=len(head) <= 12)
    return shown


def _cell(cell: Cell | None) -> RenderableType:
    if cell is None or cell.value is None:
        return Text(NOTHING)
    text = Text(cell.text, "bold" if cell.best else "")
    text.append(" *" if cell.best else " =" if cell.tied else "")  # a pipe carries no bold
    return text.append("\n" + cell.interval.replace(", ", NOTHING), "dim")
