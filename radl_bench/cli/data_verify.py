"""`radl-bench data verify`: is everything here still what it was when it was recorded."""

from __future__ import annotations

from typing import Annotated

import typer

from radl_bench.errors import BadInput
from radl_bench.text import safe


def verify(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A benchmark, a folder of a benchmark or run, or something fetched; all but runs when not given."
        ),
    ] = None,
) -> None:
    """Check benchmarks, images of a run and fetched files against their checksums; exit code 2 when one differs."""
    from radl_bench.benchmarks import verify as parts
    from radl_bench.cli.ls import show

    checked = list(parts.verify(name))
    rows = [(c.name, "differs" if c.problems else "ok", c.detail, c.folder) for c in checked]
    show("Checked", ("name", "state", "what", "where"), rows)
    for problem in (problem for c in checked for problem in c.problems):
        typer.echo(safe(problem))
    bad = [c.name for c in checked if c.problems]
    if bad:
        raise BadInput(f"Changed since they were recorded: {', '.join(bad)}. The lines above say what differs.")
