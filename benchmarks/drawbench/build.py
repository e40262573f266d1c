"""Build `samples.jsonl` and `benchmark.toml` of DrawBench: 20 colour, 20 quantity and 20 relation prompts.

    python benchmarks/drawbench/build.py

The prompts are written here, in DrawBench's kinds but none of its own; the boxes follow by rule from what a prompt
states, moved and sized under `SEED`. No box overlaps another, and every stated relation holds between its boxes.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from radl_bench.benchmarks.importers import write_benchmark
from radl_bench.benchmarks.importers.drawbench import METRICS
from radl_bench.scoring.metrics.relation import canonical
from radl_bench.types import Box, Instance, Relation, Sample
from radl_model.verbs.extract import extract_verbs

SEED = 20263

FIELDS = {
    "name": "drawbench",
    "version": "1",
    "license": "Apache-2.0",
    "citation": "Saharia et al., Photorealistic Text-to-Image Diffusion Models with Deep Language Understanding, "
    "NeurIPS 2022, for DrawBench and its kinds; prompts and layouts of this set are radl-bench's own",
    "description": "60 prompts in the kinds of DrawBench: 20 colours, 20 quantities, 20 relations, with layouts",
    "images_per_sample": 8,
    "resolution": 512,
    "table": {
        "name": "Table III",
        "what": "attributes, quantities and relations",
        "columns": ["drawbench_attribute", "drawbench_quantity", "drawbench_relation"],
    },
    "paper": {"images_per_sample": 8, "steps": 60, "seed": 0, "seed_policy": "hashed"},
}

COLORS = (
    "blue horse, red elephant, yellow bus, black umbrella, white suitcase, brown cow, green chair, blue pizza, "
    "red toilet, yellow clock, green train + yellow kite, black cake + white bottle, brown boat + red bowl, "
    "blue couch + brown handbag, yellow teddy bear + blue surfboard, black donut + green laptop, "
    "red refrigerator + white carrot, brown airplane + yellow vase, white orange + black keyboard, "
    "green skateboard + brown sheep"
)
QUANTITIES = (
    *((place, ((n, name),)) for place, name in (("in a field", "horse"), ("on the road", "bus")) for n in range(1, 6)),
    *(("on the floor", ((a, "cup"), (b, "banana"))) for a, b in ((1, 1), (1, 2), (2, 1), (2, 2), (3, 2))),
    *(("on the grass", ((a, "zebra"), (b, "bear"))) for a, b in ((1, 3), (3, 1), (2, 2), (2, 3), (3, 3))),
)
RELATIONS = """
clock | on the left of | vase
bear | to the left of | bench
truck | on the left of | motorcycle
cup | on the left of | sandwich
horse | to the right of | parking meter
broccoli | on the right of | bottle
zebra | to the right of | potted plant
chair | on the right of | suitcase
cake | on top of | suitcase
bird | on top of | toilet
skateboard | on top of | bed
bowl | on top of | book
sports ball | underneath | chair
dog | underneath | surfboard
keyboard | under | pizza
kite | above | boat
bird | above | fire hydrant
donut | below | traffic light
giraffe | next to | stop sign
bicycle | next to | refrigerator
"""
_WORDS = ("Zero", "One", "Two", "Three", "Four", "Five")
_WIDE = (
    "airplane, banana, bed, bench, bicycle, boat, book, bus, couch, cow, horse, keyboard, laptop, motorcycle, "
    "sandwich, skateboard, surfboard, train, truck, zebra"
)
_TALL = (
    "bottle, fire hydrant, giraffe, parking meter, potted plant, refrigerator, stop sign, "
    "teddy bear, traffic light, vase"
)
_ASPECTS = dict.fromkeys(_WIDE.split(", "), 1.5) | dict.fromkeys(_TALL.split(", "), 0.6)
"""Width over height of the boxes of a class, 1 for the others."""


def build() -> list[Sample]:
    """Return the 60 samples; the three kinds take turns, so that any head of the list is balanced over them."""
    rng = random.Random(SEED)
    kinds = (_colors(rng), _quantities(rng), _relations(rng))
    return [sample for turn in zip(*kinds, strict=True) for sample in turn]


def _colors(rng: random.Random) -> list[Sample]:
    out = []
    for number, text in enumerate(COLORS.split(", "), start=1):
        things = [thing.split(" ", 1) for thing in text.split(" + ")]
        cells = _grid(len(things))
        instances = [_instance(name, color, _fit(c, name, rng)) for (color, name), c in zip(things, cells, strict=True)]
        prompt = " and ".join(i.phrase for i in instances)
        out.append(_sample("attribute", number, _sentence(prompt), instances))
    return out


def _quantities(rng: random.Random) -> list[Sample]:
    out = []
    for number, (place, counts) in enumerate(QUANTITIES, start=1):
        names = [name for n, name in counts for _ in range(n)]
        instances = [
            _instance(name, None, _fit(c, name, rng)) for name, c in zip(names, _grid(len(names)), strict=True)
        ]
        parts = [f"{_WORDS[n].lower()} {_plural(name) if n > 1 else name}" for n, name in counts]
        out.append(_sample("quantity", number, _sentence(f"{' and '.join(parts)} {place}"), instances))
    return out


def _relations(rng: random.Random) -> list[Sample]:
    out = []
    for number, line in enumerate(RELATIONS.strip().splitlines(), start=1):
        subject, predicate, other = line.split(" | ")
        boxes = _related(subject, predicate, other, rng)
        instances = [_instance(name, None, box) for name, box in zip((subject, other), boxes, strict=True)]
        prompt = _sentence(f"a {subject} {predicate} a {other}")
        out.append(_sample("relation", number, prompt, instances, (Relation(0, predicate, 1),)))
    return out


def _related(subject: str, predicate: str, other: str, rng: random.Random) -> tuple[Box, Box]:
    """Return the boxes of subject and object; contact for "on top of", air for "above" and "below"."""
    rule = canonical(predicate)
    if rule in ("on top of", "above"):
        return _pile(subject, other, 0.0 if rule == "on top of" else 0.1 + 0.05 * rng.random(), rng)
    if rule in ("under", "below"):
        return _swapped(_pile(other, subject, 0.02 if rule == "under" else 0.1 + 0.05 * rng.random(), rng))
    cells = [(0.14, 0.2, 0.49, 0.8), (0.51, 0.2, 0.86, 0.8)] if rule == "next to" else _grid(2)
    if rule == "right of":
        return _swapped((_fit(cells[0], other, rng), _fit(cells[1], subject, rng)))
    return _fit(cells[0], subject, rng), _fit(cells[1], other, rng)


def _swapped(boxes: tuple[Box, Box]) -> tuple[Box, Box]:
    return boxes[1], boxes[0]


def _pile(upper: str, lower: str, air: float, rng: random.Random) -> tuple[Box, Box]:
    """Return two boxes one above the other with `air` between them, the upper a little off the middle."""
    a, b = _fit((0.25, 0.0, 0.75, 0.42), upper, rng), _fit((0.2, 0.0, 0.8, 0.42), lower, rng)
    top = (1.0 - (a[3] - a[1]) - air - (b[3] - b[1])) / 2
    up, down = top - a[1], top + (a[3] - a[1]) + air - b[1]
    return _rounded(a[0], a[1] + up, a[2], a[3] + up), _rounded(b[0], b[1] + down, b[2], b[3] + down)


def _grid(number: int) -> list[Box]:
    """Return the cells of 1 to 6 things: one row up to three, else two rows, the upper one the fuller."""
    if number == 1:
        return [(0.1, 0.1, 0.9, 0.9)]
    rows = [number] if number <= 3 else [(number + 1) // 2, number // 2]
    height = 0.6 if len(rows) == 1 else 0.48
    top = (1.0 - height * len(rows)) / 2
    return [
        (column / n + 0.01, top + row * height + 0.01, (column + 1) / n - 0.01, top + (row + 1) * height - 0.01)
        for row, n in enumerate(rows)
        for column in range(n)
    ]


def _fit(cell: Box, category: str, rng: random.Random) -> Box:
    """Return a box of the category's shape, 80 to 95 % of the largest that the cell takes, somewhere in the cell."""
    aspect = _ASPECTS.get(category, 1.0)
    width, height = cell[2] - cell[0], cell[3] - cell[1]
    scale = 0.8 + 0.15 * rng.random()
    w, h = scale * min(width, height * aspect), scale * min(height, width / aspect)
    x, y = cell[0] + (width - w) * rng.random(), cell[1] + (height - h) * rng.random()
    return _rounded(x, y, x + w, y + h)


def _rounded(*edges: float) -> Box:
    x0, y0, x1, y1 = (round(min(max(v, 0.0), 1.0), 4) for v in edges)
    return x0, y0, x1, y1


def _instance(category: str, color: str | None, box: Box) -> Instance:
    return Instance(f"a {color} {category}" if color else f"a {category}", category, color, box)


def _sample(kind: str, number: int, prompt: str, instances: list[Instance], relations: tuple = ()) -> Sample:
    verbs = extract_verbs(prompt) if relations else ""
    return Sample(f"{kind}-{number:02d}", prompt, tuple(instances), relations, verbs, (kind,))


def _plural(name: str) -> str:
    return name + ("es" if name.endswith("s") else "s")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build DrawBench.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write to")
    write_benchmark(parser.parse_args().out, build(), FIELDS, METRICS)
