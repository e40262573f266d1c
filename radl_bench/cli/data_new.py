"""`radl-bench data new`: a benchmark of one's own out of one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radl_bench.errors import BadInput, UsageError
from radl_bench.hints import command
from radl_bench.text import safe


def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Samples as .jsonl, .csv or COCO .json.")],
    name: Annotated[str | None, typer.Option(help="Name of the benchmark; that of the file when not given.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; in the user's data folder when not given.")
    ] = None,
    version: Annotated[str, typer.Option(help="Version; a changed set needs another one.")] = "1",
    license: Annotated[str, typer.Option(help="Licence of the samples.")] = "unstated",
    citation: Annotated[str, typer.Option(help="What to cite.")] = "unstated",
    description: Annotated[str | None, typer.Option(help="One line about the benchmark.")] = None,
    images_per_sample: Annotated[int, typer.Option(min=1, help="Images per sample.")] = 1,
    resolution: Annotated[int, typer.Option(min=1, help="Side of the images in pixels.")] = 512,
    color: Annotated[
        list[str] | None,
        typer.Option(
            "--color",
            metavar="NAME=H-H,S-S,V-V",
            help="A colour beside the seven, as ranges of OpenCV's HSV; may be repeated.",
        ),
    ] = None,
    free_phrases: Annotated[
        bool, typer.Option("--free-phrases", help="Take phrases that do not name their category.")
    ] = False,
) -> None:
    """Check FILE, list all that is wrong with it, and make a benchmark of it."""
    from radl_bench.benchmarks.own import new_benchmark
    from radl_bench.benchmarks.own_colors import parse_color, read_colors

    pairs = [parse_color(text) for text in color or []]
    try:
        colors = read_colors(dict(pairs), "--color")
    except BadInput as error:
        raise UsageError(str(error)) from None
    made = new_benchmark(
        file,
        name=name,
        out=out,
        version=version,
        license=license,
        citation=citation,
        description=description,
        images_per_sample=images_per_sample,
        resolution=resolution,
        free_phrases=free_phrases,
        colors=colors,
    )
    boxes = sum(sample.level for sample in made.samples)
    typer.echo(f"{len(made.samples)} samples with {boxes} boxes are in {made.folder}.")
    for note in made.notes:
        typer.echo(f"Note: {safe(note)}", err=True)
    typer.echo(f"Use it: {command('generate', out or made.folder.name)}")
