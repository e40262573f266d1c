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


def test_with_a_power_of_one_every_thing_weighs_as_much():
    boxes = (0, 0, 0.25, 0.25), (0.5, 0.5, 1, 1)
    extra = thing_weights([sample_of(*boxes)], 16, 0.5, power=1.0).float()[0, 0] - 1
    sums = [extra[:4, :4].sum().item(), extra[8:, 8:].sum().item()]
    assert sums == pytest.approx([0.5 * 64] * 2, rel=1e-3)
    assert extra.sum().item() == pytest.approx(64, rel=1e-3)


def test_where_boxes_meet_the_larger_weight_holds_and_tiny_boxes_are_bounded():
    nested = thing_weights([sample_of((0, 0, 1, 1), (0, 0, 0.25, 0.25))], 16, 1.0, power=0.5).float()[0, 0]
    assert nested[0, 0] == pytest.approx(1 + 2)
    assert nested[8, 8] == pytest.approx(1 + 0.5)
    tiny = thing_weights([sample_of((0, 0, 0.0625, 0.0625))], 16, 1.0, power=1.0)[0, 0]
    assert float(tiny[0, 0]) == pytest.approx(1 + 0.25 / 0.02, rel=1e-3)
    both = [sample_of((0, 0, 0.25, 0.25))], 16, 4.0
    assert torch.equal(thing_weights(*both, power=0.0), thing_weights(*both))


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
