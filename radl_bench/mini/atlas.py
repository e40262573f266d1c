"""The sprites of the mini world: one RGBA tile a COCO class, recoloured to the seven benchmark colours.

A recoloured sprite keeps its shading as lightness inside the HSV range of its colour (`radl_bench.judges`), so that the
benchmark's own colour rule holds on nearly every pixel of it.
"""

from __future__ import annotations

import json
from functools import cache, lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radl_bench.errors import UsageError, did_you_mean

_FOLDER = Path(__file__).parent
_INDEX = json.loads((_FOLDER / "atlas.json").read_text())

CATEGORIES: tuple[str, ...] = tuple(_INDEX["names"])
"""The 79 COCO classes other than person, sorted; what the mini world can draw."""

# OpenCV hue (0..179), the saturation at the darkest and the brightest shade, and the value at both.
_SHADES = {
    "red": (0, 240, 170, 105, 255),
    "yellow": (29, 240, 170, 120, 255),
    "green": (60, 240, 160, 85, 250),
    "blue": (110, 240, 150, 90, 255),
    "brown": (13, 225, 160, 50, 165),
}


@lru_cache(maxsize=1)
def _tiles() -> dict[str, NDArray[np.uint8]]:
    sheet = np.asarray(Image.open(_FOLDER / "atlas.webp", formats=["WEBP"]).convert("RGBA"))
    side, columns = _INDEX["side"], _INDEX["columns"]
    tiles = {}
    for index, name in enumerate(CATEGORIES):
        row, column = divmod(index, columns)
        tiles[name] = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
    return tiles


def _shading(tile: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Lightness stretched to 0..1 over the visible pixels."""
    grey = cv2.cvtColor(np.ascontiguousarray(tile[..., :3]), cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    low, high = np.quantile(grey[tile[..., 3] > 64], [0.04, 0.96])
    return np.clip((grey - low) / max(high - low, 0.15), 0, 1)


def _recolour(tile: NDArray[np.uint8], color: str) -> NDArray[np.uint8]:
    shade = _shading(tile)
    if color == "black":
        rgb = np.repeat((shade * 29)[..., None], 3, 2)
    elif color == "white":
        # Contours stay a visible grey: a sprite of pure white would be a blot.
        grey = np.where(shade < 0.22, 140 + shade * 200, 224 + shade * 31)
        rgb = np.repeat(grey[..., None], 3, 2)
    else:
        if color not in _SHADES:
            raise UsageError(did_you_mean(color, (*_SHADES, "black", "white"), "colour of a sprite"))
        hue, dark_saturation, bright_saturation, dark, bright = _SHADES[color]
        hsv = np.empty((*shade.shape, 3), np.uint8)
        hsv[..., 0] = hue
        hsv[..., 1] = dark_saturation + shade * (bright_saturation - dark_saturation)
        hsv[..., 2] = dark + shade * (bright - dark)
        rgb = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32)
    return np.dstack([rgb, tile[..., 3]]).astype(np.uint8)


@cache
def sprite(category: str, color: str | None = None) -> NDArray[np.uint8]:
    """Return the sprite of a class, uint8 RGBA [128, 128, 4]; in its own colours when `color` is None.

    Raises:
        UsageError: the atlas has no such class, or the sprite world no such colour.
    """
    tiles = _tiles()
    if category not in tiles:
        raise UsageError(did_you_mean(category, CATEGORIES, "sprite class"))
    return tiles[category] if color is None else _recolour(tiles[category], color)
