"""Facts of a layout that scores are broken down by: the size of its boxes, and how much they overlap.

A benchmark keeps the terciles of its samples in `[strata]` of its `benchmark.toml`, so that a part of it (a level, a
limit) is cut where the whole is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from statistics import quantiles

from radl_bench.types import Box, Sample

DIGITS = 4
"""Facts are rounded, so that no stratum depends on the last bit of a float."""

NAMES: Mapping[str, tuple[str, str, str]] = {
    "size": ("small", "medium", "large"),
    "overlap": ("little", "some", "much"),
}
MEANINGS = {
    "size": "mean area of a layout's boxes, as a fraction of the image",
    "overlap": "greatest IoU of two boxes of a layout",
}


def size_of(sample: Sample) -> float:
    """Return the mean area of the boxes, as a fraction of the image."""
    areas = [_area(instance.box) for instance in sample.instances]
    return round(sum(areas) / len(areas), DIGITS)


def overlap_of(sample: Sample) -> float:
    """Return the greatest IoU of two boxes; 0 for a single one."""
    boxes = [instance.box for instance in sample.instances]
    return round(max((_iou(a, b) for a, b in combinations(boxes, 2)), default=0.0), DIGITS)


FACTS: Mapping[str, Callable[[Sample], float]] = {"size": size_of, "overlap": overlap_of}


def terciles(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Return, by fact, the two values that part the samples into thirds."""
    return {fact: _cuts([of(sample) for sample in samples]) for fact, of in FACTS.items()}


def tercile_of(value: float, cuts: Sequence[float]) -> int:
    """Return 0, 1 or 2; a value that equals a cut lies below it, so equal layouts stay together."""
    return sum(value > cut for cut in cuts)


def _cuts(values: Iterable[float]) -> list[float]:
    known = sorted(values)
    cuts = quantiles(known, n=3, method="inclusive") if len(known) > 1 else known * 2
    return [round(cut, DIGITS) for cut in cuts]


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _iou(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (_area(a) + _area(b) - width * height)
