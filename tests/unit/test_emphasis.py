"""The loss looks at the things."""

import pytest
import torch
from torch.nn.functional import mse_loss

from radl_bench.mini.layouts import LayoutSampler
from radl_bench.mini.train.emphasis import CHUNK, thing_weights
from radl_bench.types import Instance, Sample
from radl_model.train.adapter_loss import weighted_error


def sample_of(*boxes):
    things = tuple(Instance("a red cup", "cup", "red", box) for box in boxes)
    return Sample("s", "cups", things, (), "")


def test_boxes_weigh_more_and_once():
    weights = thing_weights([sample_of((0, 0, 0.5, 0.5), (0.25, 0, 0.5, 0.5)), sample_of()], 4, 4.0)
    expected = torch.ones(2, 1, 4, 4, dtype=torch.float16)
    expected[0, 0, :2, :2] = 5
    assert torch.equal(weights, expected)


def test_a_cell_half_covered_weighs_half():
    assert thing_weights([sample_of((0, 0, 0.125, 0.25))], 4, 2.0)[0, 0, 0, 0] == 2


def test_many_samples_are_those_of_each():
    layouts = LayoutSampler(3)
    samples = [layouts.sample() for _ in range(CHUNK + 3)]
    together = thing_weights(samples, 8, 4.0)
    assert torch.equal(together[-4:], torch.cat([thing_weights([s], 8, 4.0) for s in samples[-4:]]))


def test_without_emphasis_it_is_the_mean_squared_error():
    a, b = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    ones = thing_weights([sample_of((0, 0, 1, 1))] * 2, 4, 0.0).float()
    assert weighted_error(a, b, ones) == pytest.approx(mse_loss(a, b).item(), rel=1e-6)


def test_a_constant_weight_changes_nothing_and_a_mask_picks():
    a, b = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    a[:, :, 0, 0] = 3
    mask = torch.zeros(1, 1, 2, 2)
    mask[..., 0, 0] = 7
    assert weighted_error(a, b, mask) == pytest.approx(9)
    assert weighted_error(a, b, torch.full((1, 1, 2, 2), 5.0)) == pytest.approx(9 / 4)
