"""A sheet of samples to look at: images with their boxes, phrases and captions."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from radl_bench.runs.image_reading import read_image
from radl_model.train.layout_rows import LayoutRow, count_rows, read_rows, shard_files

SIDE, TEXT, COLUMNS = 256, 44, 8
_COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080")


def sheet(folder: Path, count: int = 32, seed: int = 0) -> Image.Image:
    """Return `count` samples of a set, drawn at random, as a grid; raises `MissingData` for a set without shards."""
    files = shard_files(folder)
    numbers = [(file, row) for file in files for row in range(count_rows(file))]
    chosen = np.random.default_rng(seed).choice(len(numbers), min(count, len(numbers)), replace=False)
    cells = [_cell(next(read_rows(*numbers[index]))) for index in sorted(chosen.tolist())]
    grid = Image.new("RGB", (SIDE * COLUMNS, (SIDE + TEXT) * -(-len(cells) // COLUMNS)), "white")
    for index, cell in enumerate(cells):
        grid.paste(cell, (index % COLUMNS * SIDE, index // COLUMNS * (SIDE + TEXT)))
    return grid


def _cell(row: LayoutRow) -> Image.Image:
    cell = Image.new("RGB", (SIDE, SIDE + TEXT), "white")
    image = read_image(row.image)[0]
    image.thumbnail((SIDE, SIDE))
    left, top = (SIDE - image.width) // 2, (SIDE - image.height) // 2
    cell.paste(image, (left, top))
    pen = ImageDraw.Draw(cell)
    for index, (box, phrase) in enumerate(zip(row.boxes, row.phrases, strict=True)):
        x0, x1 = (left + value * (image.width - 1) for value in box[::2])
        y0, y1 = (top + value * (image.height - 1) for value in box[1::2])
        color = _COLORS[index % len(_COLORS)]
        pen.rectangle((x0, y0, x1, y1), outline=color, width=2)
        pen.rectangle(pen.textbbox((x0 + 3, y0 + 2), phrase), fill="white")
        pen.text((x0 + 3, y0 + 2), phrase, fill=color)
    for number, line in enumerate(textwrap.wrap(row.caption, 42)[:3]):
        pen.text((3, SIDE + 2 + 13 * number), line, fill="black")
    return cell
