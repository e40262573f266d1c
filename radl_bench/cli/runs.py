"""`radl-bench runs`: what is done with whole runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radl_bench.cli.runs_folder import DEFAULT, RunsHere, run_at
from radl_bench.hints import command

runs = typer.Typer(help="Put runs together.", no_args_is_help=True)


@runs.callback()
def _group() -> None:
    """Put runs together."""


@runs.command("merge")
def merge(
    parts: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Parts of one experiment.")],
    root: RunsHere = DEFAULT,
) -> None:
    """Merge shards that several machines made into one run under --runs."""
    from radl_bench.runs.merge import merge_runs

    run = merge_runs([run_at(part, root) for part in parts], root)
    made = len(run.images())
    typer.echo(f"{made} of {run.planned} images: {run.path} ({run.manifest['status']})")
    typer.echo(f"Next: {command('score', run.path, runs=root)}")
