"""`radl-bench compare`: two runs, paired."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radl_bench.cli.runs_folder import DEFAULT, Runs, fetched, run_at
from radl_bench.errors import UsageError, did_you_mean
from radl_bench.text import safe

if TYPE_CHECKING:
    from radl_bench.scoring.compare import Comparison, Line

FORMATS = ("table", "markdown", "json")
HEAD = ("score", "level", "A", "B", "A - B", "95 % interval", "p", "samples", "better")


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A scored run folder, by its path or its path below --runs.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one of the same benchmark.")],
    format: Annotated[str, typer.Option("--format", help="table, markdown or json.")] = "table",
    root: Runs = DEFAULT,
) -> None:
    """Compare two scored runs on the samples both have: difference, 95 % interval and paired p of every score."""
    from radl_bench.scoring.compare import compare_runs

    if format not in FORMATS:
        raise UsageError(did_you_mean(format, FORMATS, "format"))
    fetched(root)
    found = compare_runs(run_at(a, root), run_at(b, root))
    if format == "json":
        typer.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False, allow_nan=False))
    elif format == "markdown":
        typer.echo(markdown(found))
    else:
        _show(found)


def markdown(found: Comparison) -> str:
    """Return the comparison as a Markdown table with its notes below."""
    rows = [HEAD, ("---",) * len(HEAD), *(cells(line) for line in found.lines)]
    table = [f"| {' | '.join(safe(cell, 'markdown').replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    titles, notes = ([safe(line, "markdown") for line in lines] for lines in (_titles(found), found.notes))
    return "\n".join([*(f"{title}  " for title in titles[:-1]), titles[-1], "", *table, "", *(f"- {n}" for n in notes)])


def cells(line: Line) -> tuple[str, ...]:
    """Return the texts of a line, in the order of `HEAD`; a tie has no better one."""
    interval = "–" if line.ci_low is None else f"{line.ci_low:+.2f} to {line.ci_high:+.2f}"
    p = "–" if line.p is None else "< .001" if line.p < 0.001 else f"{line.p:.3f}".lstrip("0")
    better = {(1, 1): "tie" if line.p is not None else "–", (1, 2): "A", (2, 1): "B"}[line.groups]
    level = "all" if line.level is None else str(line.level)
    numbers = (_number(line.a), _number(line.b), _number(line.difference, "+"))
    return (line.heading, level, *numbers, interval, p, str(line.n or "–"), better)


def _number(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.2f}"


def _titles(found: Comparison) -> list[str]:
    runs = [
        f"{name}: {what['method']} ({what['model']}), {what['run']}" for name, what in (("A", found.a), ("B", found.b))
    ]
    return [f"{found.benchmark['name']}@{found.benchmark['version']}", *runs]


def _show(found: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table()
    for name in HEAD:
        table.add_column(name, justify="left" if name in ("score", "better") else "right")
    for line in found.lines:
        table.add_row(*(Text(safe(cell)) for cell in cells(line)))
    out = console if console.is_terminal else Console(width=110)
    for title in _titles(found):
        out.print(Text(safe(title)))
    out.print(table)
    for note in found.notes:
        out.print(Text(f"Note: {safe(note)}"))
