"""`radl-bench fetch`: weights and data of others, by name."""

from __future__ import annotations

from typing import Annotated

import typer


def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="What to download; lists all when not given.")
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Download nothing; list what is missing (of NAME, or of all) and how to get it."
        ),
    ] = False,
) -> None:
    """Download weights or data into the user's data folder ($RADL_BENCH_HOME). Re-running resumes a download."""
    from radl_bench.downloads import fetch as parts

    items = [parts.find(name) for name in names or parts.catalogue()]
    if offline:
        parts.require(items)
        typer.echo(f"Nothing is missing: {', '.join(item.name for item in items)}.")
    elif names:
        for item in items:
            typer.echo(f"{item.name}: {parts.megabytes(item.size)} from {item.source}, {item.license}", err=True)
            typer.echo(f"{item.name} is in {parts.fetch(item)}")
    else:
        _show(items)


def _show(items: list) -> None:
    from radl_bench.cli.ls import show
    from radl_bench.downloads.fetch import is_ready, megabytes

    rows = [(i.name, "here" if is_ready(i) else "no", megabytes(i.size), i.license, i.what) for i in items]
    show("Weights and data that can be fetched", ("name", "here", "size", "licence", "what"), rows)
    print("Download one: radl-bench fetch NAME")
