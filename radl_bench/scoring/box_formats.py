"""How the boxes of a file are to be read: which four numbers they are, and in what unit. Judged from all boxes at once.

A reading fits when nine of ten boxes lie inside their image (5 % of a side beyond is allowed) and reach about as far to
the right or down as the layouts of these images do; boxes in pixels of a smaller image do not reach that far.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from radl_bench.errors import BadInput, UsageError

ORDERS = {
    "xywh": "[x, y, width, height]",
    "xyxy": "[x0, y0, x1, y1]",
    "cxcywh": "[centre x, centre y, width, height]",
}
AUTO = "auto"
LIMIT = 1e6
"""Largest coordinate in a file, in pixels: what lies beyond is no box of any image."""

_TOLERANCE = 0.05
_SHARE = 0.9
_REACH = 0.8
_ENOUGH = 4  # boxes, below which how far they reach says nothing


class BoxFormat(NamedTuple):
    """A reading: order of the numbers, in fractions or pixels, and (width, height) of the image they are pixels of."""

    order: str = "xywh"
    fraction: bool = False
    size: tuple[int, int] | None = None

    def __str__(self) -> str:
        at = f"@{self.size[0]}x{self.size[1]}" if self.size else ""
        return self.order + ("-fraction" if self.fraction else "") + at

    def edges(self, boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Return xyxy fractions [N, 4] of boxes [N, 4]; `sizes` [N, 2] are width and height of their images."""
        unit = np.ones_like(sizes) if self.fraction else np.full_like(sizes, self.size) if self.size else sizes
        first, second = boxes[:, :2] / unit, boxes[:, 2:] / unit
        if self.order == "xyxy":
            return np.concatenate([first, second], axis=1)
        start = first - second / 2 if self.order == "cxcywh" else first
        return np.concatenate([start, start + second], axis=1)


def parse_format(text: str) -> BoxFormat | None:
    """Return the format of e.g. "xyxy", "xywh-fraction" or "xywh@256x256", None for "auto"; raises `UsageError`."""
    if text == AUTO:
        return None
    match = re.fullmatch(r"(xywh|xyxy|cxcywh)(-fraction)?(?:@([1-9]\d{0,4})x([1-9]\d{0,4}))?", text)
    if match is None or (match[2] and match[3]):
        raise UsageError(
            f"'{text}' is not a box format. Give auto, xywh, xyxy or cxcywh, with -fraction for fractions of the sides "
            "or @WIDTHxHEIGHT for pixels of another image, e.g. --box-format xyxy@640x640."
        )
    return BoxFormat(match[1], bool(match[2]), (int(match[3]), int(match[4])) if match[3] else None)


def judge_format(boxes: np.ndarray, sizes: np.ndarray, reach: tuple[float, float], file: str) -> tuple[BoxFormat, str]:
    """Return the reading of all boxes of a file, and a sentence where it is not COCO's xywh in pixels ("" where it is).

    Args:
        boxes: float64 [N, 4]; sizes: float64 [N, 2], width and height of the image of each.
        reach: how far the layouts of these images reach right and down, fractions.
        file: its name in sentences.

    Raises `BadInput`, with the readings tried, where none fits.
    """
    real = np.abs(boxes).max(axis=1, initial=0) > 0
    boxes, sizes = boxes[real], sizes[real]
    if not len(boxes):
        return BoxFormat(), ""
    readings = [BoxFormat(order, is_fraction(boxes)) for order in ORDERS]
    shares = {reading: _share_inside(reading, boxes, sizes) for reading in readings}
    fitting = [reading for reading, share in shares.items() if share >= _SHARE]
    chosen = readings[0] if readings[0] in fitting else fitting[0] if len(fitting) == 1 else None
    if chosen is None:
        raise BadInput(_refusal(file, shares, "lie inside of their images"))
    edges = chosen.edges(boxes, sizes)
    if falls_short(edges, reach):
        raise BadInput(
            _refusal(file, shares, "lie inside of their images")
            + f" None reaches beyond {edges[:, 2].max():.0%} of the width and {edges[:, 3].max():.0%} of the height, "
            f"where the layouts reach {reach[0]:.0%} and {reach[1]:.0%}: are they pixels of a smaller image?"
        )
    if chosen != readings[0] or chosen.fraction:
        return chosen, f"The boxes of {file} are read as {_told(chosen)}."
    return chosen, _doubt(boxes, sizes, shares, file)


def _doubt(boxes: np.ndarray, sizes: np.ndarray, shares: dict[BoxFormat, float], file: str) -> str:
    """Return a sentence where another reading fits COCO's boxes as well and would give other boxes."""
    usual, *others = shares
    edges = usual.edges(boxes, sizes)
    same = [r for r in others if shares[r] >= shares[usual] and not np.allclose(r.edges(boxes, sizes), edges)]
    if not same:
        return ""
    return f"The boxes of {file} are read as {_told(usual)}; {_told(same[0])} would fit as well: see --box-format."


def is_fraction(numbers: np.ndarray) -> bool:
    """Say whether rows of coordinates are fractions of the sides: nine of ten have no number beyond 1.05."""
    return bool((np.abs(numbers).max(axis=1) <= 1 + _TOLERANCE).mean() >= _SHARE)


def falls_short(edges: np.ndarray, reach: tuple[float, float]) -> bool:
    """Say whether boxes (xyxy fractions) end well before the layouts do, both to the right and below."""
    if len(edges) < _ENOUGH:
        return False
    return bool(edges[:, 2].max() < _REACH * reach[0] and edges[:, 3].max() < _REACH * reach[1])


def _share_inside(reading: BoxFormat, boxes: np.ndarray, sizes: np.ndarray) -> float:
    edges = reading.edges(boxes, sizes)
    inside = (edges >= -_TOLERANCE).all(axis=1) & (edges <= 1 + _TOLERANCE).all(axis=1)
    if reading.order == "xyxy":  # elsewhere a box without area has a width of 0 and says nothing about the format
        inside &= (edges[:, 2] > edges[:, 0]) & (edges[:, 3] > edges[:, 1])
    return float(inside.mean())


def _told(reading: BoxFormat) -> str:
    return f"{ORDERS[reading.order]} in {'fractions of the sides' if reading.fraction else 'pixels'} ({reading})"


def _refusal(file: str, shares: dict[BoxFormat, float], what: str) -> str:
    tried = ", ".join(f"{reading} {share:.0%}" for reading, share in shares.items())
    return (
        f"The boxes of {file} fit no reading well; as many {what}: {tried}. State the format, e.g. --box-format "
        "xyxy or xywh@640x640, or give 'images' with width and height in the file."
    )
