"""The HSV rule against a plain reading of the public one, pixel by pixel.

The conversion is OpenCV's 8-bit one in whole numbers (12-bit reciprocals, rounded half up); the ranges are those
of the COCO-MIG scorer, typed in a second time.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from radl_bench.judges.color import color_masks
from radl_bench.types import COLORS


def plain_hsv(r: int, g: int, b: int) -> tuple[int, int, int]:
    """Return hue (0..179), saturation and value (0..255) of a pixel."""
    high, low = max(r, g, b), min(r, g, b)
    span = high - low
    if span == 0:
        return 0, 0, high
    sixths = g - b if high == r else b - r + 2 * span if high == g else r - g + 4 * span
    hue = (sixths * round((180 << 12) / (6 * span)) + (1 << 11)) >> 12
    saturation = (span * round((255 << 12) / high) + (1 << 11)) >> 12
    return hue + 180 if hue < 0 else hue, saturation, high


def plain_rule(h: int, s: int, v: int) -> set[str]:
    """Return the colours of a pixel by the published ranges."""
    vivid = s >= 50 and v >= 70
    found = set()
    if vivid and (0 <= h <= 9 or 159 <= h <= 180):
        found.add("red")
    if vivid and 25 <= h <= 35:
        found.add("yellow")
    if vivid and 36 <= h <= 89:
        found.add("green")
    if vivid and 90 <= h <= 128:
        found.add("blue")
    if 6 <= h <= 25 and s >= 43 and v >= 35:
        found.add("brown")
    if v <= 30:
        found.add("black")
    if s <= 43 and v >= 221:
        found.add("white")
    return found


def test_ten_thousand_random_pixels() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (10_000, 3), dtype=np.uint8)
    # half of them near the ends of the scale, where black and white are decided
    pixels[5000:7500] //= 6
    pixels[7500:] = 255 - pixels[7500:] // 5
    masks = color_masks(pixels[None])[:, 0]
    seen: set[str] = set()
    for n, pixel in enumerate(pixels.tolist()):
        got = {c for c, m in zip(COLORS, masks[:, n], strict=True) if m}
        assert got == plain_rule(*plain_hsv(*pixel)), pixel
        seen |= got
    assert seen == set(COLORS)


def test_the_ends_of_the_ranges_are_inside() -> None:
    import cv2

    for h, s, v in [
        (9, 50, 70),
        (10, 50, 70),
        (159, 50, 70),
        (25, 43, 35),
        (24, 42, 35),
        (35, 255, 255),
        (36, 50, 255),
    ]:
        bgr = cv2.cvtColor(np.array([[[h, s, v]]], np.uint8), cv2.COLOR_HSV2BGR)
        back = tuple(int(x) for x in cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV)[0, 0])
        got = {c for c, m in zip(COLORS, color_masks(bgr[..., ::-1])[:, 0, 0], strict=True) if m}
        assert got == plain_rule(*back)


PHOTOS = Path(os.environ.get("RADL_BENCH_SHARED", Path(__file__).parents[3] / "shared")) / "data/coco_tiny/val2017"


def plain_masks(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """Return the masks of the seven colours of a picture: `plain_hsv` and `plain_rule`, on arrays of whole numbers."""
    r, g, b = (rgb[..., i].astype(np.int64) for i in range(3))
    v, low = rgb.max(axis=2).astype(np.int64), rgb.min(axis=2)
    span = v - low
    sixths = np.select([v == r, v == g], [g - b, b - r + 2 * span], r - g + 4 * span)
    by_span = np.array([0, *(round((180 << 12) / (6 * n)) for n in range(1, 256))])
    by_value = np.array([0, *(round((255 << 12) / n) for n in range(1, 256))])
    h = (sixths * by_span[span] + (1 << 11)) >> 12
    h = np.where(h < 0, h + 180, h)
    s = (span * by_value[v] + (1 << 11)) >> 12
    vivid = (s >= 50) & (v >= 70)
    return {
        "red": vivid & ((h <= 9) | (h >= 159)),
        "yellow": vivid & (h >= 25) & (h <= 35),
        "green": vivid & (h >= 36) & (h <= 89),
        "blue": vivid & (h >= 90) & (h <= 128),
        "white": (s <= 43) & (v >= 221),
        "black": v <= 30,
        "brown": (h >= 6) & (h <= 25) & (s >= 43) & (v >= 35),
    }


def test_every_pixel_of_real_photographs() -> None:
    from PIL import Image

    files = sorted(PHOTOS.glob("*.jpg"))[::4]
    if not files:
        pytest.skip("COCO_Tiny is not at hand; set RADL_BENCH_SHARED")
    share = np.zeros(len(COLORS))
    for file in files:
        rgb = np.asarray(Image.open(file).convert("RGB"))
        plain = plain_masks(rgb)
        masks = color_masks(rgb)
        for color, mask in zip(COLORS, masks, strict=True):
            assert np.array_equal(mask, plain[color]), (file.name, color)
        share += masks.mean(axis=(1, 2)) / len(files)
    assert (share > 0.001).all()  # every colour occurs


def test_the_rule_on_arrays_is_the_rule_pixel_by_pixel() -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (2000, 3), dtype=np.uint8)
    plain = plain_masks(pixels[None])
    for n, pixel in enumerate(pixels.tolist()):
        assert {c for c in COLORS if plain[c][0, n]} == plain_rule(*plain_hsv(*pixel))
