"""What a wrong place means: `python -m radl_bench.mini.train.places` on the layouts of COCO-MIG at level 6.

Boxes mirrored left to right are the obvious wrong places, but some of them overlap a wanted box of their class enough
to be right. `radl_bench.mini.wrong` moves those elsewhere, so that its "place" is wrong throughout. Both are shown
here, by the IoU of a wanted box with the nearest one of its class that was drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.mini.judges.detector import WEIGHTS, MiniDetector
from radl_bench.mini.scenes import render
from radl_bench.mini.train.floor import SEGMENTERS, Rate, Scene, look, rate, rules_at
from radl_bench.mini.wrong import overlap, wrong
from radl_bench.runs.seeds import image_seed
from radl_bench.scoring.protocol import PROTOCOLS, Boxes
from radl_bench.types import COLORS, Sample

BINS = (0.0, 0.1, 0.3, 0.4, 0.5, 1.01)


def mirrored(sample: Sample) -> Sample:
    """Return the sample with every box mirrored left to right, right by chance or not."""
    boxes = [(1 - i.box[2], i.box[1], 1 - i.box[0], i.box[3]) for i in sample.instances]
    things = [replace(i, box=box) for i, box in zip(sample.instances, boxes, strict=True)]
    return replace(sample, instances=tuple(things))


def truth(sample: Sample, scene: Sample) -> Scene:
    """Return what a judge sees in a scene made for `sample` that knows all that was drawn."""
    boxes = {i.category: [o.box for o in scene.instances if o.category == i.category] for i in scene.instances}
    found = {name: Boxes(np.array(own), np.ones(len(own))) for name, own in boxes.items()}
    shares: dict[tuple[float, ...], NDArray[np.float64]] = {
        i.box: np.array([float(i.color == color) for color in COLORS]) for i in scene.instances
    }
    return Scene(sample, found, shares)


def nearest(sample: Sample, scene: Sample) -> NDArray[np.float64]:
    """Return the greatest IoU of each wanted box with one of its class in the scene, [N]."""
    return np.array(
        [max(overlap(i.box, o.box) for o in scene.instances if o.category == i.category) for i in sample.instances]
    )


def table(samples: Sequence[Sample], scenes: Sequence[Sample], seen: Sequence[Scene], score: float) -> dict[str, Rate]:
    """Return R_inst of all things, of those right by chance, of the truly wrong ones, and of these by `nearest`.

    The first row is no R_inst: the share of the things that are right by chance.
    """
    said = [scene.right(rules_at(score)) for scene in seen]
    chance = [truth(*pair).right(PROTOCOLS["strict"]) for pair in zip(samples, scenes, strict=True)]
    near = [nearest(*pair) for pair in zip(samples, scenes, strict=True)]
    rows = {"right by chance, share": rate(chance), "all": rate(said)}
    rows["right by chance"] = rate([s[c] for s, c in zip(said, chance, strict=True)])
    rows["truly wrong"] = rate([s[~c] for s, c in zip(said, chance, strict=True)])
    for low, high in pairwise(BINS):
        parts = [s[~c & (low <= n) & (n < high)] for s, c, n in zip(said, chance, near, strict=True)]
        rows[f"truly wrong, IoU {low:g} to {min(high, 1):g}"] = rate(parts)
    return rows


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="R_inst of scenes whose places are wrong.")
    parser.add_argument("weights", nargs="?", type=Path, default=WEIGHTS, help="folder of a mini detector")
    parser.add_argument("--segmenter", choices=SEGMENTERS, default="mini")
    parser.add_argument("--score", type=float, default=MiniDetector.thresholds["score"])
    given = parser.parse_args()
    samples = load_benchmark("coco-mig", level=6).samples
    seeds = [image_seed("coco-mig", sample.id, 0) for sample in samples]
    ways = {
        "mirrored": [mirrored(sample) for sample in samples],
        "wrong=place": [wrong(sample, "place", seed) for sample, seed in zip(samples, seeds, strict=True)],
    }
    print("| drawn | things | n | R_inst |\n|---|---|---:|---:|")
    for way, scenes in ways.items():
        images = [render(scene, seed) for scene, seed in zip(scenes, seeds, strict=True)]
        seen = look(MiniDetector(given.weights), SEGMENTERS[given.segmenter](), samples, images)
        for row, value in table(samples, scenes, seen, given.score).items():
            if value.n:
                print(f"| {way} | {row} | {value.n} | {value} |")


if __name__ == "__main__":
    main()
