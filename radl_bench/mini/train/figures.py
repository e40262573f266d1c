"""Held-out figures of the mini detector, for its card: `python -m radl_bench.mini.train.figures [WEIGHTS]`.

Two sets it never saw: COCO-MIG's layouts rendered under a seed of their own, and random level 6 layouts. Both clean and
"soft", that is treated as in training, which is nearer to what a generator makes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.judges.detector import WEIGHTS, MiniDetector
from radl_bench.mini.layouts import LayoutSampler
from radl_bench.mini.scenes import SIZE, render
from radl_bench.mini.train.augment import augment
from radl_bench.scoring.protocol import Boxes, match_instances, resolve_protocol
from radl_bench.types import Detection, Sample

SEED = 960_000
Scene = tuple[Sample, NDArray[np.uint8]]


def scenes(samples: Sequence[Sample], soft: bool = False) -> list[Scene]:
    """Render the samples, each under its own seed; `soft` treats them as `augment` does."""
    drawn = [render(sample, SEED + n) for n, sample in enumerate(samples)]
    if soft:
        drawn = [augment(image, np.random.default_rng(SEED + n)) for n, image in enumerate(drawn)]
    return list(zip(samples, drawn, strict=True))


def detections(detector: MiniDetector, found: Sequence[Scene], batch: int = 32) -> list[list[Detection]]:
    """Return all detections of all 79 classes."""
    out: list[list[Detection]] = []
    for start in range(0, len(found), batch):
        images = [Image.fromarray(image) for _, image in found[start : start + batch]]
        out += detector.detect(images, [CATEGORIES] * len(images))
    return out


def average_precision(found: Sequence[Scene], seen: Sequence[Sequence[Detection]]) -> dict[str, float]:
    """Return COCO's AP, AP50 and AP75 in per cent over all classes; no class is told beforehand."""
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    label = {name: n for n, name in enumerate(CATEGORIES)}
    metric = MeanAveragePrecision(backend="faster_coco_eval")
    for (sample, _), boxes in zip(found, seen, strict=True):
        guess = {
            "boxes": torch.tensor([d.box for d in boxes]).reshape(-1, 4) * SIZE,
            "scores": torch.tensor([d.score for d in boxes]),
            "labels": torch.tensor([label[d.category] for d in boxes], dtype=torch.int64),
        }
        truth = {
            "boxes": torch.tensor([i.box for i in sample.instances]) * SIZE,
            "labels": torch.tensor([label[i.category] for i in sample.instances]),
        }
        metric.update([guess], [truth])
    result = metric.compute()
    keys = {"AP": "map", "AP50": "map_50", "AP75": "map_75"}
    return {name: round(100 * float(result[key]), 1) for name, key in keys.items()}


def recall(found: Sequence[Scene], seen: Sequence[Sequence[Detection]]) -> dict[str, float]:
    """Return the share of instances found at the least score and IoU .5, one to one, in per cent by level."""
    rule, hits = resolve_protocol("strict", **MiniDetector.thresholds), dict[int, list[bool]]()
    for (sample, _), boxes in zip(found, seen, strict=True):
        good = [d for d in boxes if d.score >= rule.score]
        by_class = {
            name: Boxes(np.array([d.box for d in good if d.category == name]), np.array([]))
            for name in {d.category for d in good}
        }
        matches = match_instances(sample.instances, by_class, rule)
        hits.setdefault(sample.level, []).extend(match.iou >= rule.iou for match in matches)
    return {f"recall_l{level}": round(100 * float(np.mean(hits[level])), 1) for level in sorted(hits)}


def figures(weights: Path = WEIGHTS) -> dict[str, dict[str, float]]:
    """Return the figures of each held-out set; about a minute on one core."""
    detector = MiniDetector(weights)
    layouts = LayoutSampler(SEED, level_weights=(0, 0, 0, 0, 0, 1), uncolored=0.0, relations=0.0)
    sets = {"coco-mig": load_benchmark("coco-mig").samples, "random level 6": [layouts.sample() for _ in range(200)]}
    out = {}
    for name, samples in sets.items():
        for soft in (False, True):
            found = scenes(samples, soft)
            seen = detections(detector, found)
            out[name + ", soft" * soft] = average_precision(found, seen) | recall(found, seen)
    return out


if __name__ == "__main__":
    print(json.dumps(figures(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS), indent=1))
