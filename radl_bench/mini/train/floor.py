"""Floor and ceiling of the mini judges by the least score of a detection: `python -m radl_bench.mini.train.floor`.

Scenes of random layouts, six things each, that no training and no benchmark holds. R_inst of right scenes is the
ceiling, that of wrong ones the floor.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radl_bench.judges.color import coverage
from radl_bench.judges.segmenters import MiniSegmenter
from radl_bench.mini.judges.detector import WEIGHTS, MiniDetector
from radl_bench.mini.scenes import render
from radl_bench.mini.train.augment import augment
from radl_bench.mini.train.detector import CrowdedSampler
from radl_bench.mini.wrong import KINDS, wrong
from radl_bench.scoring.metrics import View, success
from radl_bench.scoring.protocol import PROTOCOLS, Boxes, match_instances, suppress
from radl_bench.types import COLORS, Detection, Sample

SEED = 940_000
SCENES = 160
THRESHOLDS = (0.1, 0.15, 0.18, 0.2, 0.22, 0.24, 0.26, 0.3, 0.4)
ROWS = ("right", "soft", *KINDS)


def drawn(samples: Sequence[Sample], row: str) -> list[NDArray[np.uint8]]:
    """Return the scenes of a row: right, right and treated as by a generator ("soft"), or wrong in one way."""
    out = []
    for seed, sample in enumerate(samples, start=SEED):
        image = render(wrong(sample, row, seed) if row in KINDS else sample, seed)
        out.append(augment(image, np.random.default_rng(seed)) if row == "soft" else image)
    return out


def success_rate(
    samples: Sequence[Sample], images: Sequence[NDArray[np.uint8]], seen: Sequence[Sequence[Detection]], score: float
) -> float:
    """Return R_inst in per cent of these detections at this least score, under the protocol `strict`."""
    rules, values = replace(PROTOCOLS["strict"], score=score), list[float]()
    for sample, image, found in zip(samples, images, seen, strict=True):
        boxes = {name: suppress(_boxes(found, name), rules.nms).above(score) for name in {d.category for d in found}}
        matches = match_instances(sample.instances, boxes, rules)
        prompts = np.array([m.box or i.box for m, i in zip(matches, sample.instances, strict=True)])
        shares = coverage(image, MiniSegmenter().masks(image, prompts)).reshape(-1, len(COLORS))
        rows = success.rows(View(sample, 0, None, boxes, tuple(matches), shares), rules)
        values += [row.value for row in rows if row.metric == "success_inst"]
    return float(np.mean(values))


def _boxes(found: Sequence[Detection], name: str) -> Boxes:
    own = [d for d in found if d.category == name]
    return Boxes(np.array([d.box for d in own], float).reshape(-1, 4), np.array([d.score for d in own]))


def curve(weights: Path = WEIGHTS, scenes: int = SCENES) -> dict[str, list[float]]:
    """Return R_inst at each of `THRESHOLDS` by row; about two minutes on one core."""
    layouts = CrowdedSampler(SEED, level_weights=(0, 0, 0, 0, 0, 1), uncolored=0.0, relations=0.0)
    samples, detector = [layouts.sample() for _ in range(scenes)], MiniDetector(weights)
    queries = [sorted({i.category for i in sample.instances}) for sample in samples]
    out = {}
    for row in ROWS:
        images, seen = drawn(samples, row), list[list[Detection]]()
        for start in range(0, scenes, 32):
            part = slice(start, start + 32)
            seen += detector.detect([Image.fromarray(image) for image in images[part]], queries[part])
        out[row] = [success_rate(samples, images, seen, score) for score in THRESHOLDS]
    return out


if __name__ == "__main__":
    table = curve(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS)
    print("| least score | " + " | ".join(table) + " |\n|---|" + "---:|" * len(table))
    for n, score in enumerate(THRESHOLDS):
        print(f"| {score:g} | " + " | ".join(f"{values[n]:.1f}" for values in table.values()) + " |")
