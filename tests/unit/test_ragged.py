"""Packed rows: attention on the cells inside the boxes equals dense attention under masks, gradients included."""

from __future__ import annotations

import pytest
import slow_layer
import torch
import torch.nn.functional as F
from tiny import tiny_unet, wake

from radl_model.adapters.adapter import FusionAdapter
from radl_model.layers.attention import additive, attend, split_heads
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import build_context
from radl_model.layers.masks import build_masks
from radl_model.layers.ragged import build_rows

HEADS, CHANNELS, CELLS = 2, 8, 64


def masks(seed=0):
    """Seven instances of three images with 0, 1, 3, 9, 20, 40 and all of 64 cells."""
    rng = torch.Generator().manual_seed(seed)
    mask = torch.zeros(7, CELLS)
    for row, count in enumerate([9, 0, 64, 1, 20, 40, 3]):
        mask[row, torch.randperm(CELLS, generator=rng)[:count]] = 0.25
    return mask, torch.tensor([0, 0, 0, 1, 1, 2, 2])


def draw(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("buckets", [1, 2, 6])
def test_rows_name_the_cells_inside(buckets):
    mask, owner = masks()
    rows = build_rows(mask, owner, buckets)
    pair, cell = (mask > 0).nonzero(as_tuple=True)
    assert torch.equal(rows.flat, pair * CELLS + cell)
    assert torch.equal(rows.source, owner[pair] * CELLS + cell)
    assert (rows.mask == 0.25).all()
    assert 1 <= len(rows.buckets) <= buckets
    assert sum(len(b.real) for b in rows.buckets) == 6
    for bucket in rows.buckets:  # what is padded is kept out of the attention, and nothing else
        assert bucket.mask is None or torch.equal(bucket.mask[:, 0, 0] == 0, bucket.real)
        assert (bucket.mask is None) == bool(bucket.real.all())


@pytest.mark.parametrize("buckets", [1, 2, 6])
def test_attention_to_texts_equals_dense_attention(buckets):
    mask, owner = masks()
    rows = build_rows(mask, owner, buckets)
    x, k, v = draw(3, CELLS, CHANNELS), draw(7, HEADS, 5, 4, seed=2), draw(7, HEADS, 5, 4, seed=3)
    got = rows.attend(x.flatten(0, 1)[rows.source], (k, v))
    want = attend(x[owner], (k, v)).flatten(0, 1)[rows.flat]
    assert torch.allclose(got, want, atol=1e-6)
    for a, b in zip(*(torch.autograd.grad(o.square().sum(), (x, k, v)) for o in (got, want)), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("buckets", [1, 2, 6])
def test_attention_within_a_box_equals_masked_attention(buckets):
    mask, owner = masks()
    rows = build_rows(mask, owner, buckets)
    q, k, v = (draw(7, CELLS, CHANNELS, seed=s) for s in (4, 5, 6))
    packed = [t.flatten(0, 1)[rows.flat] for t in (q, k, v)]
    got = rows.attend_within(*packed, HEADS)
    seen = (mask > 0)[:, None, None] | ~(mask > 0).any(1)[:, None, None, None]
    heads = [split_heads(t, HEADS) for t in (q, k, v)]
    dense = F.scaled_dot_product_attention(*heads, attn_mask=seen).transpose(1, 2).flatten(2)
    want = dense.flatten(0, 1)[rows.flat]
    assert torch.allclose(got, want, atol=1e-6)
    for a, b in zip(*(torch.autograd.grad(o.square().sum(), (q, k, v)) for o in (got, want)), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_boxes_that_all_vanished_leave_nothing_to_attend():
    rows = build_rows(torch.zeros(2, CELLS), torch.tensor([0, 0]), 6)
    empty = torch.zeros(0, CHANNELS)
    assert rows.attend_within(empty, empty, empty, HEADS).shape == (0, CHANNELS)
    assert rows.flat.numel() == 0


def test_bfloat16_training_takes_the_explicit_form_and_stays_near_the_fused_one():
    q, k, v = draw(3, 20, CHANNELS).bfloat16(), draw(3, HEADS, 9, 4, seed=2).bfloat16(), draw(3, HEADS, 9, 4).bfloat16()
    mask = torch.rand(3, 1, 1, 9) < 0.6
    mask[..., 0] = True
    explicit = attend(q, (k, v), additive(mask))
    with torch.no_grad():
        fused = attend(q, (k, v), additive(mask))
    assert explicit.dtype == torch.bfloat16
    assert (explicit - fused).abs().max() < 0.03


@pytest.mark.parametrize("mode", ["area", "migc"])
def test_gradients_of_a_layer_equal_those_of_the_equations_written_slow(mode):
    unet = tiny_unet().requires_grad_(False)
    adapter = FusionAdapter.from_unet(unet, FusionConfig(position_hidden=16, mask_mode=mode))
    wake(adapter)
    name, layer = adapter.named_layers()[1]
    attn, grid = unet.get_submodule(name), (16, 16)
    boxes = torch.tensor([[0.1, 0.1, 0.3, 0.35], [0.2, 0.25, 0.9, 0.95], [0.5, 0.0, 1.0, 0.4]])
    phrases = torch.randn(3, 7, 32)
    x, plain = (torch.randn(1, 256, attn.query_dim).requires_grad_() for _ in range(2))
    valid = torch.ones(1, 3, dtype=torch.bool)
    context = build_context(phrases[None], phrases[None, :, 0], boxes[None], valid, grid, mask_mode=mode)
    got = layer(attn, x, plain, context, name)[0]
    drawn = build_masks(boxes, torch.zeros(3, dtype=torch.long), 1, grid, grid, mode)
    want = slow_layer.fused(layer, attn, x[0], plain[0], phrases, boxes, drawn, grid)
    assert len(context.packed(256).buckets) > 1
    wanted = [p for p in layer.parameters() if p.requires_grad]
    pull = torch.randn_like(want)
    ours, theirs = (
        torch.autograd.grad((o * pull).sum(), (x, plain, *wanted), allow_unused=True, materialize_grads=True)
        for o in (got, want)
    )
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-4 * max(1.0, float(b.abs().max())))
