"""Scenes in which every thing is wrong in one stated way: the floor of the judges of the mini world.

Each wrong thing stands for one wanted thing of the sample; the rest of it stays as wanted. A judge that sees exactly
what was drawn finds not one wanted thing in such a scene, so whatever a judge scores there is its own fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from radl_bench.errors import UsageError, did_you_mean
from radl_bench.mini.atlas import CATEGORIES, sprite
from radl_bench.types import COLORS, Box, Instance, Sample

IOU = 0.5
"""A wrong place overlaps no wanted box of its class by this much, the IoU from which on a place is right."""

ALIKE = 3
"""Classes that a wrong class is chosen from when it has to look like the wanted one."""

_TRIES = 200
_SIDE = 32


def overlap(a: Box, b: Box) -> float:
    """Return the IoU of two boxes, in 0..1."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    return inter / union if union > 0 else 0.0


@lru_cache(maxsize=1)
def _likeness() -> NDArray[np.float64]:
    """Cosine of all pairs of sprites as outline and shading, [79, 79]; the better one of both mirrorings."""

    def flat(tile: NDArray[np.uint8]) -> NDArray[np.float64]:
        small = cv2.resize(np.ascontiguousarray(tile), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(float)
        alpha = small[..., 3] / 255
        look = np.stack([alpha - alpha.mean(), alpha * (small[..., :3].mean(axis=2) / 255 - 0.5)])
        return look.ravel() / np.linalg.norm(look)

    tiles = [sprite(name, "red") for name in CATEGORIES]
    plain, mirrored = (np.array([flat(t[:, ::s]) for t in tiles]) for s in (1, -1))
    return np.maximum(plain @ plain.T, plain @ mirrored.T)


def lookalikes(category: str, without: frozenset[str] = frozenset(), count: int = ALIKE) -> tuple[str, ...]:
    """Return the classes whose sprites look most like that of `category`, best first, none of them in `without`."""
    order = np.argsort(-_likeness()[CATEGORIES.index(category)], kind="stable")
    return tuple(name for n in order if (name := CATEGORIES[n]) != category and name not in without)[:count]


def _of(instance: Instance, category: str, color: str | None, box: Box) -> Instance:
    """Return the thing as drawn, its phrase in the words of the wanted one."""
    words = instance.phrase.replace(instance.category, category)
    words = words if instance.color is None or color is None else words.replace(instance.color, color)
    return Instance(words, category, color, box)


def _color(sample: Sample, instance: Instance, rng: np.random.Generator) -> Instance:
    """Any colour that no wanted thing of the class has; with the colours of other things, as a generator mixes them."""
    taken = {i.color for i in sample.instances if i.category == instance.category}
    free = [color for color in COLORS if color not in taken]
    if None in taken or not free:
        why = "has a colour of its own choice" if None in taken else "may have any of the colours"
        raise UsageError(f"No colour can be wrong in the sample {sample.id}: a {instance.category} {why}.")
    return _of(instance, instance.category, str(rng.choice(free)), instance.box)


def _class(sample: Sample, instance: Instance, rng: np.random.Generator) -> Instance:
    """Any class that no thing of the sample is wanted to be."""
    wanted = {i.category for i in sample.instances}
    free = [name for name in CATEGORIES if name not in wanted]
    return _of(instance, str(rng.choice(free)), instance.color, instance.box)


def _lookalike(sample: Sample, instance: Instance, rng: np.random.Generator) -> Instance:
    """One of the classes whose sprites look most like the wanted one, and that no thing is wanted to be."""
    wanted = frozenset(i.category for i in sample.instances)
    return _of(instance, str(rng.choice(lookalikes(instance.category, wanted))), instance.color, instance.box)


def _place(sample: Sample, instance: Instance, rng: np.random.Generator) -> Instance:
    """Mirrored left to right if that is wrong enough, else anywhere; a large thing shrinks until it can be wrong."""
    wanted = [i.box for i in sample.instances if i.category == instance.category]
    x0, y0, x1, y1 = instance.box
    box, size = (1 - x1, y0, 1 - x0, y1), np.array([x1 - x0, y1 - y0])
    for _ in range(_TRIES):
        if all(overlap(box, other) < IOU for other in wanted):
            return _of(instance, instance.category, instance.color, box)
        left, top = (float(rng.uniform(0, 1 - side)) for side in size)
        box = (left, top, left + float(size[0]), top + float(size[1]))
        size = size * 0.98
    raise UsageError(
        f"No place for a {instance.category} is wrong in the sample {sample.id}: its boxes are everywhere."
    )


KINDS: dict[str, Callable[[Sample, Instance, np.random.Generator], Instance]] = {
    "color": _color,
    "class": _class,
    "lookalike": _lookalike,
    "place": _place,
}
"""What can be wrong: the rule of each, from the wanted thing to the one that is drawn."""


def check_kind(kind: object) -> None:
    """Raise `UsageError` for what is no key of `KINDS`."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(did_you_mean(str(kind), KINDS, "kind of wrong scene"))


def wrong(sample: Sample, kind: str, seed: int) -> Sample:
    """Return the sample to draw instead: every thing of it is wrong in this one way; id and prompt stay.

    Args:
        kind: a key of `KINDS`.
        seed: of the choice; the same seed gives the same scene.

    Raises:
        UsageError: an unknown kind, or a sample in which nothing can be wrong in this way.
    """
    check_kind(kind)
    rng = np.random.default_rng((seed, sorted(KINDS).index(kind)))
    return replace(sample, instances=tuple(KINDS[kind](sample, i, rng) for i in sample.instances))
