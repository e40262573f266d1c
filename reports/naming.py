"""What a person recognises: things cut out of a run's images, numbered and without a word, to be named by looking.

    python reports/naming.py RUN [--count 40] [--least 7] [--seed 0] [--whole] [--out naming]

Writes `OUT.png`, the things, and `OUT.csv`, what each was to be: number, sample, class, per cent of the image. Name
them before you open the second. The things are drawn from all whose box is larger than `--least` per cent.
With `--whole` each is shown in its picture, in a frame.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageOps

from radl_bench.errors import MissingData, RadlBenchError
from radl_bench.runs.images import Picture
from radl_bench.runs.plan import RunImages
from radl_bench.types import Instance

HEAD, COLUMNS = 14, 10
FRAME = (255, 0, 255)  # seen on every ground

Thing = tuple[Picture, Instance]


def area(thing: Thing) -> float:
    """Per cent of the image that the box of a thing fills."""
    x0, y0, x1, y1 = thing[1].box
    return 100 * (x1 - x0) * (y1 - y0)


def draw(run: Path, count: int, least: float, seed: int) -> list[Thing]:
    """Return `count` things of the run's images at most, in random order; those of missing images are passed over.

    Raises:
        MissingData: there is none so large.
    """
    pictures = [picture for picture in RunImages.open(run).planned() if picture.problem is None]
    things = [(picture, instance) for picture in pictures for instance in picture.sample.instances]
    large = [thing for thing in things if area(thing) > least]
    if not large:
        raise MissingData(f"No image of {run} has a thing over {least:g} per cent of it.")
    return random.Random(seed).sample(large, min(count, len(large)))


def inside(picture: Image.Image, box: Sequence[int]) -> Image.Image:
    """Return what is in the box (pixels), a pixel at least."""
    return picture.crop((box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)))


def framed(picture: Image.Image, box: Sequence[int]) -> Image.Image:
    """Return the picture at twice its size with a frame about the box."""
    large = picture.resize((2 * picture.width, 2 * picture.height))
    ImageDraw.Draw(large).rectangle([2 * edge for edge in box], outline=FRAME)
    return large


def sheet(things: Sequence[Thing], whole: bool = False) -> Image.Image:
    """Return the inside of each box under its number, ten a line; with `whole` the framed pictures, five a line."""
    show, side, columns = (framed, 284, COLUMNS // 2) if whole else (inside, 150, COLUMNS)
    image = Image.new("RGB", (columns * side, -(-len(things) // columns) * side), "white")
    for number, (picture, instance) in enumerate(things):
        left, top = number % columns * side, number // columns * side
        shown = Image.open(str(picture.path)).convert("RGB")
        box = [round(length * share) for share, length in zip(instance.box, shown.size * 2, strict=True)]
        cell = ImageOps.contain(show(shown, box), (side - 2 * HEAD, side - 2 * HEAD))
        image.paste(cell, (left, top + HEAD))
        ImageDraw.Draw(image).text((left, top), str(number), fill="black")
    return image


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both files, and say where they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--count", type=int, default=40, help="things")
    parser.add_argument("--least", type=float, default=7, help="per cent of the image that a box fills at least")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--whole", action="store_true", help="whole pictures, the thing in a frame")
    parser.add_argument("--out", type=Path, default=Path("naming"), help="both files, without their endings")
    given = parser.parse_args(arguments)
    try:
        things = draw(given.run, given.count, given.least, given.seed)
    except RadlBenchError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sheet(things, given.whole).save(given.out.with_suffix(".png"))
    with given.out.with_suffix(".csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["number", "sample", "class", "per cent"])
        for number, thing in enumerate(things):
            rows.writerow([number, thing[0].sample.id, thing[1].category, f"{area(thing):.1f}"])
    print(f"{given.out.with_suffix('.png')}: name these; {given.out.with_suffix('.csv')} says what they were to be.")


if __name__ == "__main__":
    main()
