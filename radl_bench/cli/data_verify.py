"""`radl-bench data verify`: is everything here still what it was when it was recorded."""

from __future__ import annotations

from typing import Annotated

import typer

from radl_bench.errors import BadInput
from radl_bench.text import safe


def verify(
    name: Annotated[
        str | None,
        typer.Argument(help="A benchmark, its folder, that of a run, or what was fetched; none: all but runs."),
    ] = None,
) -> None:
    """Hash benchmarks, images of a run and fetched files again, check every row; exit code 2 when something differs."""
    from radl_bench.benchmarks import verify as parts
    from radl_bench.cli.ls import show

    checked = list(parts.verify(name))
    rows = [(c.name, "differs" if c.problems else "ok", c.detail, c.folder) for c in checked]
    show("Checked", ("name", "state", "what", "where"), rows)
    for problem in (problem for c in checked for problem in c.problems):
        typer.echo(safe(problem))
    bad = [c.name for c in checked if c.problems]
    if bad:
        raise BadInput(f"Not as recorded: {', '.join(bad)}. The lines above say what differs.")
