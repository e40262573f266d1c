"""Segmenters: masks stay in their box, find the thing, and do not depend on each other."""

from __future__ import annotations

import numpy as np
import pytest

from radl_bench.judges.segmenters import BoxSegmenter, GrabCutSegmenter, MiniSegmenter, box_pixels
from radl_bench.mini.scenes import render
from radl_bench.types import Sample

BOXES = np.array([[0.1, 0.2, 0.5, 0.6], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    """A grey picture with a red disc around (0.3, 0.4), and the disc."""
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(128, 4, (96, 96, 3)), 100, 160).astype(np.uint8)
    image[:] = image[..., :1]
    y, x = np.mgrid[:96, :96] / 96
    disc = (x - 0.3) ** 2 + (y - 0.4) ** 2 < 0.15**2
    image[disc] = (210, 30, 30)
    return image, disc


@pytest.mark.parametrize("segmenter", [BoxSegmenter(), MiniSegmenter(), GrabCutSegmenter()], ids=lambda s: s.signature)
def test_masks_stay_in_their_box_one_by_one_as_together(segmenter, scene) -> None:
    image, _ = scene
    masks = segmenter.masks(image, BOXES)
    assert masks.dtype == bool
    assert masks.shape == (3, 96, 96)
    for mask, box in zip(masks, BOXES, strict=True):
        outside = np.ones((96, 96), bool)
        outside[box_pixels(box, 96, 96)] = False
        assert not (mask & outside).any()
        assert np.array_equal(segmenter.masks(image, box[None])[0], mask)


@pytest.mark.parametrize("segmenter", [MiniSegmenter(), GrabCutSegmenter()], ids=lambda s: s.signature)
def test_the_disc_is_found(segmenter, scene) -> None:
    image, disc = scene
    mask = segmenter.masks(image, BOXES[:1])[0]
    assert (mask & disc).sum() / (mask | disc).sum() > 0.95


def test_mini_takes_dark_and_bright_sprites_and_leaves_the_background() -> None:
    image = np.full((10, 30, 3), 130, np.uint8)
    image[:, 10:20], image[:, 20:] = 20, 240
    mask = MiniSegmenter().masks(image, np.array([[0.0, 0.0, 1.0, 1.0]]))[0]
    assert mask.mean(axis=0).tolist() == [0.0] * 10 + [1.0] * 20


def test_mini_leaves_every_background_of_the_sprite_world() -> None:
    empty = Sample("empty", "", ())
    whole = np.array([[0.0, 0.0, 1.0, 1.0]])
    for seed in range(40):
        assert not MiniSegmenter().masks(render(empty, seed, size=48), whole).any()


def test_grabcut_falls_back_to_the_box_where_it_cannot_work(scene) -> None:
    flat = np.full((32, 32, 3), 90, np.uint8)
    whole = np.array([[0.0, 0.0, 1.0, 1.0]])
    assert GrabCutSegmenter().masks(flat, whole)[0].all()
    assert GrabCutSegmenter().masks(flat, np.array([[0.5, 0.5, 0.52, 0.52]]))[0].any()


@pytest.mark.parametrize("box", [(0.999, 0.999, 1.0, 1.0), (0.0, 0.0, 0.001, 0.001), (-1.0, 0.5, 2.0, 0.5)])
def test_a_box_covers_at_least_a_pixel_and_none_outside(box) -> None:
    rows, cols = box_pixels(box, 10, 20)
    assert 0 <= rows.start < rows.stop <= 10
    assert 0 <= cols.start < cols.stop <= 20
