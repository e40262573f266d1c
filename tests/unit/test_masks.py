"""Instance masks: MIGC's closed form, and exact area coverage."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radl_model.layers.masks import build_masks

side = st.integers(0, 120)


@st.composite
def boxes(draw):
    x0, y0 = draw(side), draw(side)
    return [x0 / 128, y0 / 128, draw(st.integers(x0 + 4, 128)) / 128, draw(st.integers(y0 + 4, 128)) / 128]


def masks_of(rows, grid, mode, latent=(16, 16), owner=None):
    box = torch.tensor(rows)
    owner = torch.zeros(len(rows), dtype=torch.long) if owner is None else torch.tensor(owner)
    return build_masks(box, owner, int(owner.max()) + 1, grid, latent, mode)


def axis_closed_form(low, high, size, layer):
    """One axis of MIGC's mask: 512 -> 64 -> r by the mean of the two middle samples of each cell."""
    v = torch.zeros(512)
    v[int(512 * low) : int(512 * high)] = 1
    v64 = torch.stack([(v[8 * i + 3] + v[8 * i + 4]) / 2 for i in range(size)])
    f = size // layer
    return torch.stack([(v64[f * i + f // 2 - 1] + v64[f * i + f // 2]) / 2 for i in range(layer)])


@settings(max_examples=25, deadline=None)
@given(boxes(), st.sampled_from([16, 8]))
def test_migc_masks_follow_the_closed_form(box, layer):
    made = masks_of([box], (layer, layer), "migc", latent=(64, 64))
    y = axis_closed_form(box[1], box[3], 64, layer)
    x = axis_closed_form(box[0], box[2], 64, layer)
    assert torch.allclose(made.instance[0].view(layer, layer), y[:, None] * x[None], atol=1e-6)
    assert torch.allclose(made.background, 1 - made.union)


def test_a_small_box_vanishes_in_mode_migc_and_never_in_mode_area():
    # 24 pixels of 512 between two sampling points of the 8 x 8 grid.
    box = [40 / 512, 40 / 512, 64 / 512, 64 / 512]
    assert masks_of([box], (8, 8), "migc", latent=(64, 64)).instance.sum() == 0
    assert masks_of([box], (8, 8), "area", latent=(64, 64)).instance.sum() == 1


@settings(max_examples=25, deadline=None)
@given(boxes(), st.sampled_from([(16, 16), (8, 8), (8, 4)]))
def test_area_coverage_adds_up_to_the_box(box, grid):
    made = masks_of([box], grid, "area")
    area = (box[2] - box[0]) * (box[3] - box[1])
    assert made.instance_cover.mean().item() == pytest.approx(area, abs=1e-4)
    assert torch.equal(made.instance, (made.instance_cover > 0).float())
    assert torch.allclose(made.background_cover + made.union, torch.ones(1, grid[0] * grid[1]), atol=2e-4)


def test_union_counts_an_overlap_once_and_stays_within_its_image():
    rows = [[0.0, 0.0, 0.5, 1.0], [0.25, 0.0, 0.75, 1.0], [0.5, 0.5, 1.0, 1.0]]
    for mode in ("migc", "area"):
        made = masks_of(rows, (8, 8), mode, owner=[0, 0, 1])
        assert made.union.mean(1).tolist() == pytest.approx([0.75, 0.25], abs=1e-5)
