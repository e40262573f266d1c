"""Build `samples.jsonl` and `benchmark.toml` of COCO-MIG from the box facts of a COCO-MIG annotation file.

    python benchmarks/coco_mig/build.py mig_bench_anno.yaml

From the file are taken facts of COCO's annotations only: which classes an image holds, and where. Which image comes
when, the order of the instances and every colour are drawn here under `SEED`, so prompts, phrases and ids are this
benchmark's own. The result depends on the facts alone, not on the order of the file.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path

from radl_bench.errors import BadInput
from radl_bench.importers import write_benchmark
from radl_bench.importers.coco_mig import METRICS, read_annotations
from radl_bench.types import COLORS, Box, Instance, Sample

SEED = 20261
LEVELS = (2, 3, 4, 5, 6)
PER_LEVEL = 160
SMALLEST_SIDE = 0.125
GRID = 10_000

Fact = tuple[tuple[str, Box], ...]
"""One image: its classes and boxes, sorted."""

FIELDS = {
    "name": "coco-mig",
    "version": "1",
    "license": "Apache-2.0; boxes and classes from COCO annotations, CC BY 4.0",
    "citation": "Zhou et al., MIGC: Multi-Instance Generation Controller for Text-to-Image Synthesis, CVPR 2024; "
    "Lin et al., Microsoft COCO: Common Objects in Context, ECCV 2014",
    "description": "Layouts of 2 to 6 coloured objects out of COCO val2014, 160 a level, colours drawn anew",
    "images_per_sample": 1,
    "resolution": 512,
}


def build(file: Path) -> list[Sample]:
    """Return the 800 samples; levels take turns, so that any head of the list is balanced over them."""
    rng = random.Random(SEED)
    facts = {level: _draw([f for f in _facts(file) if len(f) == level], level, rng) for level in LEVELS}
    order = [facts[level][k] for k in range(PER_LEVEL) for level in LEVELS]
    return [_sample(n, fact, rng) for n, fact in enumerate(order)]


def _facts(file: Path) -> list[Fact]:
    images = [tuple(sorted((i.category, _grid(i.box)) for i in s.instances)) for s in read_annotations(file)]
    return sorted(image for image in images if all(_wanted(category, box) for category, box in image))


def _grid(box: Box) -> Box:
    """Round to four decimals, outwards, so that no side falls under the smallest by rounding."""
    x0, y0 = (math.floor(v * GRID) / GRID for v in box[:2])
    x1, y1 = (min(1.0, math.ceil(v * GRID) / GRID) for v in box[2:])
    return x0, y0, x1, y1


def _wanted(category: str, box: Box) -> bool:
    return category != "person" and min(box[2] - box[0], box[3] - box[1]) >= SMALLEST_SIDE


def _draw(facts: list[Fact], level: int, rng: random.Random) -> list[Fact]:
    if len(facts) < PER_LEVEL:
        raise BadInput(f"The file has {len(facts)} images with {level} instances; {PER_LEVEL} are needed.")
    return _shuffled(facts, rng)[:PER_LEVEL]


def _shuffled(items: list, rng: random.Random) -> list:
    # Only `random()` gives the same numbers in every version of Python; `shuffle` and `choice` promise less.
    return [item for _, item in sorted((rng.random(), item) for item in items)]


def _sample(number: int, fact: Fact, rng: random.Random) -> Sample:
    instances = tuple(_instance(category, box, rng) for category, box in _shuffled(list(fact), rng))
    prompt = "a photo of " + " and ".join(i.phrase for i in instances)
    return Sample(f"mig-{number:06d}", prompt, instances)


def _instance(category: str, box: Box, rng: random.Random) -> Instance:
    color = COLORS[int(rng.random() * len(COLORS))]
    return Instance(f"a {color} {category}", category, color, box)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build COCO-MIG from the box facts of a COCO-MIG annotation file.")
    parser.add_argument("file", type=Path, help="a mig_bench_anno.yaml")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    options = parser.parse_args()
    write_benchmark(options.out, build(options.file), FIELDS, METRICS)
