"""`radl-bench new`: a working skeleton of a part of one's own, with its test."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def new(
    kind: Annotated[str, typer.Argument(help="method, benchmark, judge or metric.")],
    name: Annotated[str, typer.Argument(help="Its name, e.g. my-method.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.")] = Path("."),
) -> None:
    """Write a skeleton with comments, and its test."""
    from radl_bench.skeletons import write_skeleton

    made, then = write_skeleton(kind, name, out)
    for file in made:
        typer.echo(f"Written: {file}")
    typer.echo(f"Test it: pytest {shlex.quote(str(made[-1]))}\nUse it:  {then}")
