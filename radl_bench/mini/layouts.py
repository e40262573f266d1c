"""Random layouts and captions for training in the mini world.

They are drawn from rules alone, never from a benchmark file, so no benchmark sample can be among them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import numpy as np

from radl_bench.mini.atlas import CATEGORIES
from radl_bench.types import COLORS, Box, Instance, Relation, Sample

MIN_SIDE = 0.125
_TEMPLATES = ("a photo of {}", "a photo of {}", "a photo of {}", "{}", "a picture of {}", "there is {}")
_ON = ("on top of", "resting on", "sitting on")
_ACTIONS = ("leaning against", "facing", "looking at", "chasing")


def overlap(a: Box, b: Box) -> float:
    """Intersection over the smaller box, in 0..1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    area = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(width, 0.0) * max(height, 0.0) / area


def with_article(words: str) -> str:
    """COCO-MIG's template says "a" before everything ("a orange"); the mini world keeps it."""
    return f"a {words}"


def _box(*edges: float) -> Box:
    """Clip what rounding pushes over the border."""
    x0, y0, x1, y1 = (float(min(max(v, 0.0), 1.0)) for v in edges)
    return x0, y0, x1, y1


class LayoutSettings(TypedDict, total=False):
    """Arguments of `LayoutSampler` beside the seed."""

    level_weights: tuple[float, ...]
    uncolored: float
    relations: float
    whole: float


class LayoutSampler:
    """Endless random samples with 1..6 instances; the same seed gives the same sequence.

    Args:
        seed: any integer.
        level_weights: relative frequency of 1, 2, ... instances.
        uncolored: share of instances without a colour word, drawn in natural colours.
        relations: share of the samples (of two and more instances) that state a relation.
        whole: share of the single instances whose box is the whole picture but for a margin of 2..8 %.
    """

    def __init__(
        self,
        seed: int,
        level_weights: tuple[float, ...] = (3, 2, 1.5, 1.2, 1.2, 1.2),
        uncolored: float = 0.05,
        relations: float = 0.12,
        whole: float = 0.0,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        weights = np.asarray(level_weights, float)
        self.level_weights = weights / weights.sum()
        self.uncolored = uncolored
        self.relations = relations
        self.whole = whole

    def sample(self) -> Sample:
        """Return a new sample; ids count up from "train-0"."""
        rng = self.rng
        level = 1 + int(rng.choice(len(self.level_weights), p=self.level_weights))
        if level >= 2 and rng.random() < self.relations:
            return self._related()
        # `and` keeps the sequence of a seed as it was: nothing is drawn where `whole` is 0.
        filling = level == 1 and self.whole > 0 and rng.random() < self.whole
        boxes = [self._whole()] if filling else self._boxes(level)
        return self._finish(tuple(self._instance(box) for box in boxes), ())

    def _whole(self) -> Box:
        left, top, right, bottom = self.rng.uniform(0.02, 0.08, 4)
        return _box(left, top, 1 - right, 1 - bottom)

    def _side(self, level: int) -> float:
        """Long-tailed like the boxes of COCO: the median shrinks with the number of things."""
        rng = self.rng
        if level == 1 and rng.random() < 0.7:
            return float(rng.uniform(0.45, 0.98))
        median = {1: 0.4, 2: 0.38, 3: 0.33}.get(level, 0.27)
        return float(np.clip(median * np.exp(rng.normal(0, 0.5)), MIN_SIDE, 1.0))

    def _box(self, level: int) -> Box:
        rng = self.rng
        height = self._side(level)
        width = float(np.clip(height * np.exp(rng.normal(0, 0.4)), MIN_SIDE, 1.0))
        x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        if rng.random() < 0.15:
            x = float(rng.choice([0.0, 1 - width]))
        if rng.random() < 0.15:
            y = 1 - height
        return _box(x, y, x + width, y + height)

    def _boxes(self, level: int) -> list[Box]:
        """Overlap is allowed as in COCO, but rarely to the point that one thing hides another of its size."""
        boxes: list[Box] = []
        for _ in range(level):
            limit = float(self.rng.choice([0.05, 0.3, 0.7, 1.0], p=[0.5, 0.25, 0.15, 0.1]))
            candidates = [self._box(level) for _ in range(8)]
            worst = [max((overlap(box, other) for other in boxes), default=0.0) for box in candidates]
            good = [box for box, value in zip(candidates, worst, strict=True) if value <= limit]
            boxes.append(good[0] if good else candidates[int(np.argmin(worst))])
        return boxes

    def _instance(self, box: Box, category: str | None = None) -> Instance:
        rng = self.rng
        category = category or CATEGORIES[int(rng.integers(len(CATEGORIES)))]
        color = None if rng.random() < self.uncolored else COLORS[int(rng.integers(len(COLORS)))]
        return Instance(with_article(f"{color} {category}" if color else category), category, color, box)

    def _finish(self, instances: tuple[Instance, ...], relations: tuple[Relation, ...]) -> Sample:
        """Free order: the caption names the instances as listed, which is not by place or size."""
        rng = self.rng
        text = " and ".join(instance.phrase for instance in instances)
        prompt = str(rng.choice(_TEMPLATES)).format(text)
        return Sample(f"train-{rng.integers(1 << 62)}", prompt, instances, relations)

    def _related(self) -> Sample:
        """Two instances with a stated relation that the drawing shows."""
        rng = self.rng
        make: Callable[[], tuple[Box, Box, str]] = self._on if rng.random() < 0.35 else self._beside
        subject_box, object_box, predicate = make()
        pair = (self._instance(subject_box), self._instance(object_box))
        prompt = f"{rng.choice(['a photo of ', ''])}{pair[0].phrase} {predicate} {pair[1].phrase}"
        return Sample(f"train-{rng.integers(1 << 62)}", prompt, pair, (Relation(0, predicate, 1),), verbs=predicate)

    def _on(self) -> tuple[Box, Box, str]:
        rng = self.rng
        width, height = rng.uniform(0.4, 0.9), rng.uniform(0.25, 0.45)
        x, y = rng.uniform(0, 1 - width), 1 - height - rng.uniform(0, 0.1)
        w, h = rng.uniform(0.2, 0.45), rng.uniform(0.2, min(0.5, y))
        left = float(np.clip(rng.uniform(x - w / 4, x + width - 3 * w / 4), 0, 1 - w))
        return _box(left, y - h, left + w, y), _box(x, y, x + width, y + height), str(rng.choice(_ON))

    def _beside(self) -> tuple[Box, Box, str]:
        """Left, right, above, below, or an action between two things side by side."""
        rng = self.rng
        w1, w2, h1, h2 = rng.uniform(0.2, 0.45, 4)
        first, second = float(rng.uniform(0, 0.5 - w1)), float(0.5 + rng.uniform(0, 0.5 - w2))
        kind = str(rng.choice(["horizontal", "vertical", "action"]))
        a, b = sorted(rng.uniform(0.1, 0.5, 2))
        if kind == "vertical":
            upper, lower = _box(a, first, a + h1, first + w1), _box(b, second, b + h2, second + w2)
            return (upper, lower, "above") if rng.random() < 0.5 else (lower, upper, "below")
        left, right = _box(first, a, first + w1, a + h1), _box(second, b, second + w2, b + h2)
        swap = rng.random() < 0.5
        pair = (right, left) if swap else (left, right)
        predicate = str(rng.choice(_ACTIONS)) if kind == "action" else ("right of" if swap else "left of")
        return (*pair, predicate)
