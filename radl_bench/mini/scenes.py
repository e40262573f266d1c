"""Draw a sample of the mini world: its sprites in its boxes, on a quiet background.

Backgrounds keep HSV saturation <= 38 and value within 60..200 (OpenCV scale), outside every colour range of the
benchmark: an empty box can never pass the colour rule by its background.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from radl_bench.mini.atlas import sprite
from radl_bench.types import MINI_SIDE, Instance, Sample

Mask = NDArray[np.bool_]

SIZE = MINI_SIDE
_LEANING = ("leaning", "tilted")
_FACING = ("facing", "looking at", "chasing", "following")


def _background(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Plain, graded or softly textured; one low-saturation tint."""
    hue, saturation, value = rng.uniform(0, 180), rng.uniform(0, 32), rng.uniform(85, 175)
    tint = np.array([[[hue, saturation, value]]], np.uint8)
    base = cv2.cvtColor(tint, cv2.COLOR_HSV2RGB).astype(np.float32)
    field = np.zeros((size, size), np.float32)
    kind = rng.integers(3)
    if kind == 1:
        angle, ramp = rng.uniform(0, 2 * np.pi), np.linspace(-1, 1, size, dtype=np.float32)
        field = (np.cos(angle) * ramp[None] + np.sin(angle) * ramp[:, None]) * 0.1
    elif kind == 2:
        coarse = rng.uniform(-1, 1, (4, 4)).astype(np.float32)
        field = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC) * 0.1
    # A factor keeps hue and saturation, so only the value moves.
    return np.clip(base * (1 + field)[..., None], 0, 198)


def _pose(tile: NDArray[np.uint8], predicate: str, mirror: bool) -> NDArray[np.uint8]:
    """The drawing of a relation: leaning things are rotated, facing ones are turned to their object."""
    if mirror:
        tile = tile[:, ::-1]
    if not any(word in predicate for word in _LEANING):
        return tile
    side = tile.shape[0]
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), 18 if mirror else -18, 0.82)
    turned = cv2.warpAffine(np.ascontiguousarray(tile), turn, (side, side))
    rows, columns = np.nonzero(turned[..., 3] > 64)
    tight: NDArray[np.uint8] = turned[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.uint8)
    return tight


def _paste(image: NDArray[np.float32], tile: NDArray[np.uint8], box: tuple[float, ...]) -> tuple[slice, slice, Mask]:
    """Draw the tile into its box; return the rows and columns of the box, and where the tile covers them."""
    size = image.shape[0]
    x0, y0, x1, y1 = (round(v * size) for v in box)
    x0, y0 = min(x0, size - 2), min(y0, size - 2)
    width, height = max(x1 - x0, 2), max(y1 - y0, 2)
    # Premultiplied, or the transparent surroundings would bleed into the outline.
    scaled: NDArray[Any] = tile.astype(np.float32) / 255
    scaled[..., :3] *= scaled[..., 3:]
    scaled = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_AREA)
    region = image[y0 : y0 + height, x0 : x0 + width]
    scaled = scaled[: region.shape[0], : region.shape[1]]
    region[:] = region * (1 - scaled[..., 3:]) + scaled[..., :3] * 255
    return slice(y0, y0 + height), slice(x0, x0 + width), scaled[..., 3] > 0.5


def _area(instance: Instance) -> float:
    x0, y0, x1, y1 = instance.box
    return (x1 - x0) * (y1 - y0)


def _drawing_order(sample: Sample) -> list[int]:
    """Large things first, so that small ones stay visible; what is on top of something comes after it."""
    order = sorted(range(sample.level), key=lambda i: -_area(sample.instances[i]))
    for relation in sample.relations:
        if relation.predicate.startswith("on") and order.index(relation.subject) < order.index(relation.object):
            order.remove(relation.subject)
            order.insert(order.index(relation.object) + 1, relation.subject)
    return order


def _mirror(sample: Sample, index: int, predicate: str, toss: bool) -> bool:
    """Sprites look to the left; a facing one is turned when its object is on the right."""
    if not any(word in predicate for word in _FACING):
        return toss
    goal = next(r.object for r in sample.relations if r.subject == index)
    centre = lambda i: sample.instances[i].box[0] + sample.instances[i].box[2]  # noqa: E731
    return centre(goal) > centre(index)


def render(sample: Sample, seed: int, size: int = SIZE) -> NDArray[np.uint8]:
    """Return the scene, uint8 RGB [size, size, 3]; background and mirroring depend on `seed` alone.

    Raises:
        UsageError: an instance is of a class that the atlas lacks.
    """
    return render_visible(sample, seed, size)[0]


def render_visible(sample: Sample, seed: int, size: int = SIZE) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return what `render` does, and the share of each instance's pixels that no later one hides, in 0..1."""
    rng = np.random.default_rng(seed)
    image = _background(rng, size)
    tosses = rng.random(sample.level) < 0.5
    owner, area = np.full((size, size), -1), np.ones(sample.level)
    for index in _drawing_order(sample):
        instance = sample.instances[index]
        predicate = next((r.predicate for r in sample.relations if r.subject == index), "")
        tile = sprite(instance.category, instance.color)
        posed = _pose(tile, predicate, _mirror(sample, index, predicate, bool(tosses[index])))
        rows, columns, covered = _paste(image, posed, instance.box)
        owner[rows, columns][covered] = index
        area[index] = max(int(covered.sum()), 1)
    noise = rng.normal(0, 1.5, (size, size, 1)).astype(np.float32)
    visible = np.array([(owner == index).sum() for index in range(sample.level)]) / area
    return np.clip(image + noise, 0, 255).astype(np.uint8), visible
