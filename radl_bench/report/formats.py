"""Writers of a report: Markdown, JSON, CSV for files, rich for the terminal. They all say the same numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from radl_bench.report.tables import Cell, Section, Table

if TYPE_CHECKING:
    from rich.console import RenderableType

LEGEND = (
    "Value with its 95 % interval. **Bold**: better than every other method (paired permutation test over samples, "
    "p < .05; by intervals for AP). = : in a tie with the best. The rendered reference takes no part."
)
_COLUMNS_AT_A_TIME = 6


def markdown(sections: Sequence[Section], notes: Sequence[str] = ()) -> str:
    """Return the report as GitHub-flavoured Markdown with padded columns, readable as it stands."""
    blocks = ["# Report"]
    for section in sections:
        blocks += [f"## {_escaped(section.title)}", *(_escaped(note) for note in section.notes)]
        for table in section.tables:
            blocks += [f"### {_escaped(table.title)}", _markdown_table(table)]
        blocks += [LEGEND, "\n".join(f"- {_escaped(line)}" for line in section.signatures)]
    blocks += ["\n".join(f"- {_escaped(note)}" for note in notes)] if notes else []
    return "\n\n".join(blocks) + "\n"


def as_json(sections: Sequence[Section], notes: Sequence[str] = ()) -> str:
    """Return the report as JSON: sections with their notes and every score; null where nothing was measured."""
    content = {
        "schema_version": 1,
        "notes": list(notes),
        "sections": [
            {"title": s.title, "notes": list(s.notes), "scores": [_record(*item) for item in s.cells]} for s in sections
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def as_csv(sections: Sequence[Section], notes: Sequence[str] = ()) -> str:
    """Return every score of the report as one CSV line; an empty field where nothing was measured."""
    records = [_record(*item) for section in sections for item in section.cells]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(record | {"filter": json.dumps(record["filter"], sort_keys=True)} for record in records)
    return text.getvalue()


def terminal(sections: Sequence[Section], notes: Sequence[str] = ()) -> Iterator[RenderableType]:
    """Yield what rich shows on a terminal of 100 columns: the tables, their notes and the sizes behind them."""
    from rich.text import Text

    for section in sections:
        yield Text(f"\n{section.title}", style="bold underline")
        yield from (Text(note, style="italic") for note in section.notes)
        for table in section.tables:
            yield from _rich_tables(table)
        yield Text(
            "Second line: 95 % interval. Bold: better than every other method; = : in a tie with the best.", style="dim"
        )
        yield Text(" | ".join(line.split("; `")[0] for line in section.signatures), style="dim")
    yield from (Text(note, style="yellow") for note in notes)


def _record(run: Any, label: str, cell: Cell) -> dict[str, Any]:
    benchmark, generator = run.data["benchmark"], run.data["generator"]
    return {
        "benchmark": benchmark["name"],
        "version": str(benchmark["version"]),
        "sha256": benchmark["sha256"],
        "filter": benchmark.get("filter", {}),
        "protocol": run.data.get("protocol", ""),
        "scale": "mini" if run.mini else "paper",
        "method": generator["name"],
        "label": label,
        "model": generator.get("model"),
        "run": "/".join(run.path.parts[-3:]),
        "status": run.data.get("status"),
        "metric": cell.metric,
        "level": cell.level,
        "value": cell.value,
        "ci_low": cell.low,
        "ci_high": cell.high,
        "n": cell.n,
        "n_missing": cell.missing,
        "tie_group": cell.group,
        "best": cell.best,
        "signature": cell.signature,
    }


def _markdown_table(table: Table) -> str:
    rows = [["method", "model", *table.heads]]
    rows += [[line.label, line.model, *map(_markdown_cell, line.cells)] for line in table.lines]
    rows = [[_escaped(text).replace("|", "\\|") for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = [["-" * widths[0], "-" * widths[1], *("-" * (width - 1) + ":" for width in widths[2:])]]
    return "\n".join(_markdown_line(row, widths) for row in rows[:1] + rule + rows[1:])


def _markdown_line(row: Sequence[str], widths: Iterable[int]) -> str:
    return "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None or cell.value is None:
        return "–"
    number = f"**{cell.value:.1f}**" if cell.best else f"{cell.value:.1f}"
    return f"{number} [{_interval(cell)}]{' =' if cell.tied else ''}"


def _interval(cell: Cell) -> str:
    return "–" if cell.low is None or cell.high is None else f"{cell.low:.1f}, {cell.high:.1f}"


def _escaped(text: str) -> str:
    # Names and models come from files of others: no line may end early and no HTML may start.
    return " ".join(text.split()).replace("<", "&lt;")


def _rich_tables(table: Table) -> Iterator[RenderableType]:
    from rich import box
    from rich.table import Table as RichTable

    for start in range(0, len(table.heads), _COLUMNS_AT_A_TIME):
        part = slice(start, start + _COLUMNS_AT_A_TIME)
        shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        shown.add_column("method\nmodel", max_width=28)
        for head in table.heads[part]:
            shown.add_column(head, justify="right", no_wrap=True)
        for line in table.lines:
            shown.add_row(_rich_label(line.label, line.model), *map(_rich_cell, line.cells[part]))
        yield shown


def _rich_label(label: str, model: str) -> RenderableType:
    from rich.text import Text

    return Text(label).append(f"\n{model}", "dim")


def _rich_cell(cell: Cell | None) -> RenderableType:
    from rich.text import Text

    if cell is None or cell.value is None:
        return Text("–")
    text = Text(f"{cell.value:.1f}", "bold" if cell.best else "")
    text.append(" =" if cell.tied else "")
    return text.append("\n" + _interval(cell).replace(", ", "–"), "dim")
