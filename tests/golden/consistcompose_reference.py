"""ConsistCompose's COCO-Position scorer in slow, plain Python, written from a description and sharing no code with the
suite. What the description leaves open is read as docs/protocols.md says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Box = tuple[float, float, float, float]
Found = list[tuple[Box, float]]


@dataclass
class Thing:
    """A thing of a layout: its box, the IoU with what was found, and its one prediction with a confidence."""

    box: Box
    iou: float
    prediction: Box | None
    confidence: float


def overlap(a: Box, b: Box) -> float:
    """Return IoU."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def judge_image(layout: list[tuple[str, Box]], ask: Callable[[str], Found]) -> list[Thing]:
    """Judge an image: `ask` is the detector, asked for the class of one thing after the other."""
    things = []
    for label, box in layout:
        kept: Found = []
        for other, score in sorted(ask(label.split(" ", 1)[1]), key=lambda item: -item[1]):
            if score >= 0.25 and all(overlap(other, strong) <= 0.8 for strong, _ in kept):
                kept.append((other, score))
        thing = Thing(box, 0.0, None, 0.0)
        for other, _ in kept:
            if overlap(box, other) > thing.iou:
                thing.iou, thing.prediction, thing.confidence = overlap(box, other), other, kept[0][1]
        things.append(thing)
    return things


def summary(images: list[list[Thing]]) -> tuple[float, float, float]:
    """Return the rates of right instances and right images, and the mean IoU, in per cent."""
    ious = [thing.iou for image in images for thing in image]
    right = [iou >= 0.5 for iou in ious]
    whole = [all(thing.iou >= 0.5 for thing in image) for image in images]
    return tuple(100.0 * sum(part) / len(part) for part in (right, whole, ious))  # type: ignore[return-value]


def average_precision(images: list[list[Thing]], threshold: float) -> float:
    """Return AP at an IoU, in per cent, of one class and one prediction a thing."""
    wanted = sum(map(len, images))
    guesses = [
        (thing.confidence, n, thing.prediction)
        for n, image in enumerate(images)
        for thing in image
        if thing.prediction is not None
    ]
    taken: set[tuple[int, int]] = set()
    hits, curve = 0, []
    for rank, (_, n, box) in enumerate(sorted(guesses, key=lambda guess: -guess[0]), start=1):
        free = [m for m in range(len(images[n])) if (n, m) not in taken]
        best = max(free, key=lambda m: (overlap(box, images[n][m].box), m), default=None)
        if best is not None and overlap(box, images[n][best].box) >= threshold:
            taken.add((n, best))
            hits += 1
        curve.append((hits / wanted, hits / rank))
    points = [max((p for r, p in curve if r >= at / 100), default=0.0) for at in range(101)]
    return 100.0 * sum(points) / 101
