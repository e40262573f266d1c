"""Colour by HSV ranges: which pixels are red, and how much of a mask is.

The ranges are data (`hsv_colors.toml`), taken from the public COCO-MIG protocol. Images are RGB throughout.
A benchmark can define more colours (`types.OwnColor`).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

import numpy as np

from radl_bench.types import COLORS, OwnColor

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@lru_cache(maxsize=1)
def color_table() -> tuple[str, dict[str, list[tuple[np.ndarray, np.ndarray]]]]:
    """Return the table's name and, for each colour, its `(lower, upper)` HSV bounds, uint8 [3], both ends included."""
    data = tomllib.loads((files("radl_bench.judges") / "hsv_colors.toml").read_text(encoding="utf-8"))
    return data["name"], {color: [_bounds(entry) for entry in ranges] for color, ranges in data["colors"].items()}


def _bounds(entry: dict[str, list[int]]) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = zip(*(entry[channel] for channel in "hsv"), strict=True)
    return np.array(lower, np.uint8), np.array(upper, np.uint8)


def table_name(own: Sequence[OwnColor] = ()) -> str:
    """Return the name of the table as signatures say it; `own` colours add a hash of their names and ranges."""
    name = color_table()[0]
    return f"{name}+{hashlib.sha256(repr(tuple(own)).encode()).hexdigest()[:8]}" if own else name


def color_masks(rgb: np.ndarray, own: Sequence[OwnColor] = ()) -> np.ndarray:
    """Return bool [7 + len(own), H, W]: which pixels of `rgb` (uint8 [H, W, 3]) have each colour.

    The order is that of `types.COLORS`, then of `own`.
    """
    import cv2

    hsv = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2HSV)
    table = color_table()[1]
    ranges = [*(table[color] for color in COLORS), *([_pair(b) for b in color.ranges] for color in own)]
    return np.stack([np.any([cv2.inRange(hsv, *b) > 0 for b in of], axis=0) for of in ranges])


def _pair(bounds: tuple[tuple[int, ...], tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array(bounds[0], np.uint8), np.array(bounds[1], np.uint8)


def coverage(rgb: np.ndarray, masks: np.ndarray, own: Sequence[OwnColor] = ()) -> np.ndarray:
    """Return float64 [N, 7 + len(own)]: the fraction of each mask (bool [N, H, W]) that has each colour.

    The order is that of `color_masks`. An empty mask covers nothing: its row is 0.
    """
    colors = color_masks(rgb, own).astype(np.float32)
    colors = colors.reshape(len(colors), -1)
    flat = masks.reshape(len(masks), colors.shape[1]).astype(np.float32)
    size = flat.sum(axis=1, keepdims=True, dtype=np.float64)
    return (flat @ colors.T).astype(np.float64) / np.maximum(size, 1.0)
