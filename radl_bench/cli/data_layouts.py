"""`radl-bench data build layouts`: a training set of layouts out of COCO, or of any images with captions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radl_bench.errors import UsageError

CAPTIONS = ("coco", "labels")


def layouts(
    out: Annotated[Path, typer.Option(help="Folder of the training set.")],
    coco: Annotated[
        Path | None, typer.Option(help="Folder of COCO: annotations/, and the photographs in SPLIT/.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Any folder of images with captions instead: metadata.jsonl, or .txt files.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of COCO.")] = "train2014",
    photographs: Annotated[Path | None, typer.Option(help="Their folder, where it is another.")] = None,
    captions: Annotated[
        str, typer.Option(help="coco: the captions file; labels: captions made from the class names.")
    ] = "coco",
    min_area: Annotated[float, typer.Option(min=0.0, max=1.0, help="Least share of the image a box covers.")] = 0.02,
    max_instances: Annotated[int, typer.Option(min=1, max=100, help="Largest boxes kept of an image.")] = 6,
    extractor: Annotated[str, typer.Option(help="Reader of captions: rules or spacy.")] = "rules",
    locate: Annotated[
        str, typer.Option(help="Detector that finds the boxes of the captions' phrases, e.g. grounding-dino.")
    ] = "",
    device: Annotated[str | None, typer.Option(help="Device of that detector, e.g. cuda.")] = None,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Build the I-th of N parts, e.g. 1/3.")] = "1/1",
    size: Annotated[int, typer.Option(min=1, max=100_000, help="Images a shard.")] = 2048,
) -> None:
    """Build a training set of layouts, in Parquet shards. Re-running resumes; finished shards are kept."""
    from radl_bench.runs.writer import Shard
    from radl_bench.training_set.build import Source, build_layouts, read_datasheet
    from radl_bench.training_set.rows import Rules
    from radl_bench.training_set.sheet import sheet

    if captions not in CAPTIONS:
        raise UsageError(f"--captions is {' or '.join(CAPTIONS)}, not {captions!r}.")
    rules = Rules(min_area, max_instances, captions, extractor, locate)
    folders = (folder and folder.expanduser() for folder in (coco, photographs, images))
    source = Source(next(folders), split, next(folders), rules, next(folders), device)
    for done, of in build_layouts(source, out, Shard.parse(shard), size):
        typer.echo(f"layouts: {done}/{of} shards", err=True)
    made = read_datasheet(out)
    if made is None:
        typer.echo(f"Shards of other parts are still missing in {out}; the last part writes the datasheet.")
        return
    sheet(out).save(out / "sheet.png")
    typer.echo(f"{made['images']:,} images with {made['instances']:,} instances of {made['read']:,} read; left out:")
    for reason, number in dict(made["left_out"]).items():  # type: ignore[call-overload]
        typer.echo(f"{number:>10,} {reason}")
    phrases = ", ".join(f"{number:,} {source}" for source, number in dict(made["phrases"]).items())  # type: ignore[call-overload]
    typer.echo(f"Phrases by where they come from: {phrases}.")
    typer.echo(f"Datasheet: {out / 'datasheet.json'}. Look at {out / 'sheet.png'}.")
