"""The public COCO-MIG scorer in slow, plain Python, written from its description and sharing no code with the suite.

It knows a picture (uint8 RGB [H, W, 3]), labels "a <colour> <class>" with boxes as fractions, the detections of each
class with scores, and a segmenter that is given a box. Oddities are kept: see docs/protocols.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Box = tuple[float, float, float, float]


@dataclass
class Judged:
    """An image: success and IoU of each instance, in order."""

    success: list[bool]
    iou: list[float]


def overlap(a: Box, b: Box) -> float:
    """Return IoU."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def survivors(found: list[tuple[Box, float]]) -> list[Box]:
    """Return the boxes with a score of .25 that no stronger survivor overlaps by more than .8."""
    kept: list[Box] = []
    for box, score in sorted(found, key=lambda item: -item[1]):
        if score >= 0.25 and all(overlap(box, other) <= 0.8 for other in kept):
            kept.append(box)
    return kept


def judge_image(
    labels: list[tuple[str, Box]],
    found: dict[str, list[tuple[Box, float]]],
    mask_of: Callable[[Box], list[tuple[int, int, int]]],
    colors_of: Callable[[tuple[int, int, int]], set[str]],
) -> Judged:
    """Judge an image; `mask_of` gives the pixels of the mask of a box, `colors_of` the colours of a pixel."""
    success, ious = [], []
    for label, box in labels:
        words = label.split(" ")
        color, name = words[1], " ".join(words[2:])
        best = max((overlap(box, other) for other in survivors(found.get(name, []))), default=0.0)
        if best < 0.5:  # out of its place, whatever its colour: the IoU still counts
            success.append(False)
            ious.append(best)
            continue
        pixels = mask_of(box)  # prompted by the layout's box, not by the detection
        share = sum(color in colors_of(pixel) for pixel in pixels) / len(pixels) if pixels else 0.0
        success.append(share >= 0.2)
        ious.append(best if share >= 0.2 else 0.0)  # the wrong colour takes the IoU away
    return Judged(success, ious)


def summary(images: list[Judged]) -> tuple[float, float, float]:
    """Return the rates of right instances and right images, and the mean IoU, in per cent."""
    instances = [ok for image in images for ok in image.success]
    ious = [iou for image in images for iou in image.iou]
    whole = [all(image.success) for image in images]
    return tuple(100.0 * sum(part) / len(part) for part in (instances, whole, ious))  # type: ignore[return-value]
