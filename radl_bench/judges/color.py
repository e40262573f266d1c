"""Colour by HSV ranges: which pixels are red, and how much of a mask is.

The ranges are data (`hsv_colors.toml`), taken from the public COCO-MIG protocol. Images are RGB throughout.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.resources import files

import numpy as np

from radl_bench.types import COLORS

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


def color_masks(rgb: np.ndarray) -> np.ndarray:
    """Return bool [7, H, W]: which pixels of `rgb` (uint8 [H, W, 3]) have each of `types.COLORS`, in that order."""
    import cv2

    hsv = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2HSV)
    table = color_table()[1]
    return np.stack([np.any([cv2.inRange(hsv, *b) > 0 for b in table[color]], axis=0) for color in COLORS])


def coverage(rgb: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return float64 [N, 7]: the fraction of each mask (bool [N, H, W]) that has each of `types.COLORS`.

    An empty mask covers nothing: its row is 0.
    """
    colors = color_masks(rgb).reshape(len(COLORS), -1).astype(np.float32)
    flat = masks.reshape(len(masks), colors.shape[1]).astype(np.float32)
    size = flat.sum(axis=1, keepdims=True, dtype=np.float64)
    return (flat @ colors.T).astype(np.float64) / np.maximum(size, 1.0)
