"""Colour coverage: which colour a patch has, and how much of a mask."""

from __future__ import annotations

import numpy as np
import pytest

from radl_bench.judges.color import color_masks, color_table, coverage
from radl_bench.types import COLORS

PATCHES = {
    "red": (220, 20, 20),
    "yellow": (240, 220, 10),
    "green": (20, 180, 30),
    "blue": (20, 40, 220),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
    "brown": (120, 70, 20),
}


def patch(rgb: tuple[int, int, int], side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), rgb, np.uint8)


@pytest.mark.parametrize("color", COLORS)
def test_a_patch_is_wholly_its_colour(color: str) -> None:
    share = coverage(patch(PATCHES[color]), np.ones((1, 8, 8), bool))[0]
    assert share[COLORS.index(color)] == 1.0
    assert share.sum() == 1.0


def test_channels_are_rgb() -> None:
    share = coverage(patch((220, 20, 20))[..., ::-1], np.ones((1, 8, 8), bool))[0]
    assert share[COLORS.index("blue")] == 1.0
    assert share[COLORS.index("red")] == 0.0


def test_purple_has_no_colour_and_dark_orange_has_two() -> None:
    assert not color_masks(patch((160, 30, 200))).any()
    # hue 8 of OpenCV lies in red (0-9) and in brown (6-25)
    masks = color_masks(patch((200, 60, 10)))
    assert {c for c, m in zip(COLORS, masks, strict=True) if m.all()} == {"red", "brown"}


def test_only_the_mask_counts_and_an_empty_one_covers_nothing() -> None:
    image = patch((128, 128, 128))
    image[:4, :2] = PATCHES["red"]
    masks = np.zeros((3, 8, 8), bool)
    masks[0, :4, :4] = True
    masks[1, 4:] = True
    shares = coverage(image, masks)
    assert shares[:, COLORS.index("red")].tolist() == [0.5, 0.0, 0.0]
    assert shares[2].tolist() == [0.0] * 7


def test_the_table_knows_the_seven_colours_of_the_benchmark() -> None:
    name, table = color_table()
    assert name == "hsv-mig"
    assert set(table) == set(COLORS)
