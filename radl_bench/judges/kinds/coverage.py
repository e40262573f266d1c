"""Colour coverage: how much of an instance's mask has each colour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import numpy as np

from radl_bench.judges.checks import asking, check_masks
from radl_bench.judges.contracts import Role, Segmenter
from radl_bench.judges.kinds import Desk, Kind, Seen, Store, box_key, sound
from radl_bench.runs.images import Picture
from radl_bench.scoring.protocol import Match
from radl_bench.types import Sample

SEGMENTER = Role("segmenter", "segmenters", ("masks",), default="grabcut", beside="detector", early=True, files=True)

COLOR_SHARES = Store("coverage", ("image", "box"), {"coverage": "doubles"})
"""Masks do not depend on who prompted them, so coverage is filed by the box, and by the colours where they are not the
seven alone."""


class Coverage(Kind[Segmenter]):
    """Field `shares`: zeros for an instance that was not found, or whose colour is free."""

    key, role, store, after = "coverage", SEGMENTER, COLOR_SHARES, ("detections",)

    def measure(self, pictures: Sequence[Picture], seen: Sequence[Seen], desk: Desk[Segmenter]) -> None:
        """See `Kind.measure`."""
        for picture, known in zip(pictures, seen, strict=True):
            measure_boxes(picture, [box for box in _prompts(picture, known, desk) if box is not None], desk)

    def read(self, picture: Picture, seen: Seen, desk: Desk[Segmenter]) -> Seen:
        """See `Kind.read`."""
        prompts = _prompts(picture, seen, desk)
        shares = [
            np.zeros(len(picture.sample.color_names)) if box is None else shares_of(picture, box, desk)
            for box in prompts
        ]
        return {"shares": np.stack(shares)} if shares else {}


def _prompts(picture: Picture, seen: Seen, desk: Desk[Segmenter]) -> list[Sequence[float] | None]:
    instances, matches = picture.sample.instances, cast("tuple[Match, ...]", seen["matches"])
    boxes = [i.box if desk.rules.mask_prompt == "box" else m.box for i, m in zip(instances, matches, strict=True)]
    # the mask of a thing whose colour is free would be looked at by nobody, and GrabCut takes a second for it
    return [None if i.color is None else box for i, box in zip(instances, boxes, strict=True)]


def measure_boxes(picture: Picture, boxes: Iterable[Sequence[float]], desk: Desk[Segmenter]) -> None:
    """Segment these boxes, where not known yet, and measure the share of each mask in each colour."""
    from radl_bench.judges.color import coverage

    keys = {color_key(b, picture.sample): tuple(b) for b in boxes}
    todo = {key: box for key, box in keys.items() if (image_key(picture, desk), key) not in desk.table}
    image = picture.load() if todo else None
    if image is None:
        return
    rgb = np.asarray(image)
    extras = {"picture": picture} if "picture" in desk.facts.takes else {}
    masks: Callable[..., np.ndarray] = desk.asked.masks
    with asking(desk.asked):
        made = masks(rgb, np.array(list(todo.values()), float), **extras)
        shares = coverage(rgb, check_masks(desk.asked, made, (len(todo), *rgb.shape[:2])), picture.sample.colors)
    for key, share in zip(todo, shares, strict=True):
        desk.table.add((image_key(picture, desk), key), (share,))


def color_key(box: Sequence[float], sample: Sample) -> str:
    """Return what the shares of a box are filed under; other tables of colours have other shares."""
    from radl_bench.judges.color import table_name

    return box_key(box) + (f"@{table_name(sample.colors)}" if sample.colors else "")


def image_key(picture: Picture, desk: Desk[Segmenter]) -> str:
    """Return what an image is filed under: a judge that reads the sample must not mix up two images of equal bytes."""
    return picture.own_key if desk.facts.needs_sample else picture.sha256


def shares_of(picture: Picture, box: Sequence[float], desk: Desk[Segmenter]) -> np.ndarray:
    """Return float64 [7 or more]: the share of the mask of a measured box in each of `Sample.color_names`."""
    kept = desk.table[image_key(picture, desk), color_key(box, picture.sample)][0]
    return sound(kept, len(picture.sample.color_names))


COVERAGE = Coverage()
