"""Segmenters: from a box to the pixels of the thing in it.

The contract of a segmenter is in `radl_bench.judges.contracts`. Masks of this file never leave their box; SAM's
(`sam`) may.
"""

from __future__ import annotations

import math

import numpy as np


def box_pixels(box: np.ndarray | tuple[float, ...], height: int, width: int) -> tuple[slice, slice]:
    """Return `(rows, columns)` of the pixels a box covers, at least one each; boxes are clipped to the image."""
    x0, y0, x1, y1 = (float(v) for v in box)
    return _span(y0, y1, height), _span(x0, x1, width)


def _span(low: float, high: float, size: int) -> slice:
    start = min(max(math.floor(low * size + 0.5), 0), size - 1)
    return slice(start, min(max(math.floor(high * size + 0.5), start + 1), size))


ACROSS, PARTLY = 0.8, 0.6
"""Share of a box across which the colour of its thing reaches, and below which a colour is another thing's."""


class BoxSegmenter:
    """The whole box is the mask: needs nothing, and dilutes the colour with background."""

    signature = "box"

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return bool [N, H, W], True inside each box."""
        out = np.zeros((len(boxes), *image.shape[:2]), bool)
        for mask, box in zip(out, boxes, strict=True):
            mask[box_pixels(box, *image.shape[:2])] = True
        return out


class MiniSegmenter:
    """Sprites by their colour. Valid for the sprite world only.

    Its scenes have backgrounds of low saturation and middle value (OpenCV's HSV: S <= 38, 60 <= V <= 200), so a pixel
    that is clearly coloured, dark or bright is a sprite's. Pixels of another sprite that overlaps the box are counted
    too.
    """

    signature = "mini-hsv"
    packages = ("cv2",)
    scale = "mini"

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return bool [N, H, W], True on the pixels of each box with S > 40, V < 45 or V > 215."""
        import cv2

        hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
        sprite = (hsv[..., 1] > 40) | (hsv[..., 2] < 45) | (hsv[..., 2] > 215)
        return BoxSegmenter().masks(image, boxes) & sprite


class MiniReachSegmenter(MiniSegmenter):
    """Sprites by their colour, without the pixels of another thing that lies over the edge of a box.

    A thing reaches across its box and has one colour: where one of the benchmark's colours reaches across the box, one
    that covers a part of it belongs to another thing, and is left out. A large thing behind a small one reaches across
    too, and is still counted.
    """

    signature = f"mini-hsv-reach{ACROSS:g}/{PARTLY:g}"

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return bool [N, H, W]; see `MiniSegmenter.masks`."""
        from radl_bench.judges.color import color_masks

        out = super().masks(image, boxes)
        colors = color_masks(image)
        for mask, box in zip(out, boxes, strict=True):
            window = box_pixels(box, *image.shape[:2])
            rows, columns = window
            mask[window] &= ~_of_others(colors[:, rows, columns] & mask[window])
        return out


def _of_others(colors: np.ndarray) -> np.ndarray:
    """Return bool [H, W] of a box: pixels whose colours, of `colors` bool [7, H, W], all reach across a part of it."""
    reach = np.array([_reach(color) for color in colors])
    if reach.max() < ACROSS:
        return np.zeros(colors.shape[1:], bool)
    kept = reach >= PARTLY
    return np.logical_and(np.any(colors[~kept], axis=0), ~np.any(colors[kept], axis=0))


def _reach(mask: np.ndarray) -> float:
    """Return the share of the box in the extent of a mask; rows and columns with a single pixel do not count."""
    sides = [np.flatnonzero(mask.sum(axis) >= 2) for axis in (0, 1)]
    if any(len(side) == 0 for side in sides):
        return 0.0
    return float(np.prod([side[-1] - side[0] + 1 for side in sides])) / mask.size


class GrabCutSegmenter:
    """GrabCut (Rother et al. 2004) of OpenCV, started from the box; for photographs, without any weights.

    The background model is learnt from a margin around the box, half a box side wide. Where there is no margin (the box
    is the image) or GrabCut keeps nothing, the mask is the box.
    """

    signature = "grabcut-5"
    packages = ("cv2",)

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return bool [N, H, W]; about 0.1 s a box at 512 pixels."""
        out = BoxSegmenter().masks(image, boxes)
        for mask in out:
            _grab_cut(image, mask)
        return out


def _grab_cut(image: np.ndarray, mask: np.ndarray) -> None:
    """Cut `mask` (True in a box) down to the foreground, in place."""
    import cv2

    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = _grow(rows, mask.shape[0]), _grow(cols, mask.shape[1])
    inside = mask[window]
    if inside.all():
        return
    labels = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    cv2.setRNGSeed(0)  # its k-means draws at random; the same image must give the same mask
    try:
        cv2.grabCut(np.ascontiguousarray(image[window]), labels, None, None, None, 5, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    except cv2.error:  # too few pixels for its five Gaussians
        return
    kept = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if kept.any():
        mask[window] = kept


def _grow(index: np.ndarray, size: int) -> slice:
    margin = max(2, len(index) // 2)
    return slice(max(0, int(index[0]) - margin), min(size, int(index[-1]) + 1 + margin))
