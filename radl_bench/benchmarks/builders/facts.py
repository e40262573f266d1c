"""Facts of COCO's annotations out of a public COCO-MIG file: which classes an image holds, and where.

The embedded benchmarks are built from these; prompts, colours, orders and ids are drawn anew, so nothing of the file's
text is kept, and the result does not depend on the order of the file.
"""

from __future__ import annotations

import random
from pathlib import Path

from radl_bench.benchmarks.builders.draw import grid, shuffled
from radl_bench.benchmarks.importers.coco_mig import read_annotations
from radl_bench.errors import BadInput
from radl_bench.types import Box

SMALLEST_SIDE = 0.125
LEVELS = (2, 3, 4, 5, 6)

Fact = tuple[tuple[str, Box], ...]
"""One image: its classes and boxes, sorted."""


def read_facts(file: Path) -> list[Fact]:
    """Return the images of a COCO-MIG annotation file that hold no person and no box with a side under 1/8, sorted."""
    images = [tuple(sorted((i.category, grid(i.box)) for i in s.instances)) for s in read_annotations(file)]
    return sorted(image for image in images if all(_wanted(category, box) for category, box in image))


def draw(facts: list[Fact], level: int, count: int, rng: random.Random) -> list[Fact]:
    """Return `count` images with `level` objects in random order; raises `BadInput` when there are fewer."""
    of_level = [fact for fact in facts if len(fact) == level]
    if len(of_level) < count:
        raise BadInput(f"The file has {len(of_level)} images with {level} instances; {count} are needed.")
    return shuffled(of_level, rng)[:count]


def _wanted(category: str, box: Box) -> bool:
    return category != "person" and min(box[2] - box[0], box[3] - box[1]) >= SMALLEST_SIDE
