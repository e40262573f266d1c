"""The fusion layer inside a UNet of Stable Diffusion v1's shape, with all branches awake."""

from __future__ import annotations

import pytest
import slow_layer
import torch
from tiny import tiny_unet, wake

from radl_bench.errors import UsageError
from radl_model.adapters.adapter import FusionAdapter, layer_names
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import build_context
from radl_model.layers.masks import build_masks

GRID = (16, 16)
TOKENS = 7


def make(config=None, seed=0, awake=True):
    unet = tiny_unet(seed)
    adapter = FusionAdapter.from_unet(unet, config or FusionConfig(position_hidden=16, mask_mode="area"))
    if awake:
        wake(adapter)
    adapter.attach(unet)
    return unet.requires_grad_(False), adapter


def layouts(counts, width=None, seed=1):
    """Random padded layouts: phrases, pooled, boxes, valid."""
    rng = torch.Generator().manual_seed(seed)
    width = width or max(counts)
    corner = torch.rand(len(counts), width, 2, generator=rng) * 0.5
    boxes = torch.cat([corner, corner + 0.15 + 0.3 * torch.rand(len(counts), width, 2, generator=rng)], -1)
    valid = torch.arange(width)[None] < torch.tensor(counts)[:, None]
    phrases = torch.randn(len(counts), width, TOKENS, 32, generator=rng)
    return phrases, torch.randn(len(counts), width, 32, generator=rng), boxes, valid


def inputs(batch, seed=2):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 4, *GRID, generator=rng), torch.randn(batch, TOKENS, 32, generator=rng)


@torch.no_grad()
def run(unet, adapter, x, text, layout=None, mode="area", **extra):
    if layout is not None:
        adapter.holder.context = build_context(*layout, GRID, mask_mode=mode, **extra)
    out = unet(x, torch.tensor(500), text).sample
    adapter.holder.context = None
    return out


def pick(layout, i, width=None):
    return tuple(t[i : i + 1, :width] for t in layout)


def test_layers_are_found_by_role():
    assert layer_names(tiny_unet()) == [
        "mid_block.attentions.0.transformer_blocks.0.attn2",
        "up_blocks.1.attentions.0.transformer_blocks.0.attn2",
        "up_blocks.1.attentions.1.transformer_blocks.0.attn2",
    ]
    with pytest.raises(UsageError, match="not shaped like Stable Diffusion"):
        layer_names(tiny_unet(up_block_types=("UpBlock2D", "UpBlock2D")))


@pytest.mark.parametrize("mode", ["area", "migc"])
def test_a_layer_equals_the_equations_written_slow(mode):
    unet, adapter = make(FusionConfig(position_hidden=16, mask_mode=mode))
    name, layer = adapter.named_layers()[1]
    attn, layout = unet.get_submodule(name), layouts([3, 1])
    rng = torch.Generator().manual_seed(3)
    x, plain = (torch.randn(2, 256, layer.norm.normalized_shape[0], generator=rng) for _ in range(2))
    verbs = torch.randn(2, TOKENS, 32, generator=rng)
    context = build_context(*layout, GRID, verbs=verbs, verb_valid=torch.tensor([True, False]), mask_mode=mode)
    with torch.no_grad():
        got = layer(attn, x, plain, context, name)
        for i, count in enumerate([3, 1]):
            phrases, boxes = layout[0][i, :count], layout[2][i, :count]
            masks = build_masks(boxes, torch.zeros(count, dtype=torch.long), 1, GRID, GRID, mode)
            verb = verbs[0] if i == 0 else None
            want = slow_layer.fused(layer, attn, x[i], plain[i], phrases, boxes, masks, GRID, verb)
            assert torch.allclose(got[i], want, atol=2e-5)


def test_a_fresh_adapter_is_the_frozen_attention_by_coverage():
    unet, adapter = make(awake=False)
    name, layer = adapter.named_layers()[1]
    attn = unet.get_submodule(name)
    box = torch.tensor([[[0.25, 0.25, 0.75, 0.75]]])
    phrases, pooled, _, valid = layouts([1])
    context = build_context(phrases, pooled, box, valid, GRID, mask_mode="area")
    x, plain = torch.randn(1, 256, attn.query_dim), torch.randn(1, 256, attn.query_dim)
    with torch.no_grad():
        out = layer(attn, x, plain, context, name)[0]
        own = attn.processor.base(attn, x, context.phrases)[0]
    inside = context.masks(256).instance[0] > 0
    assert torch.allclose(out[inside], own[inside], atol=0.05 * own.abs().max().item())
    assert torch.allclose(out[~inside], plain[0][~inside], atol=0.05 * plain.abs().max().item())


def test_no_instances_or_an_inactive_step_is_the_plain_unet_bit_for_bit():
    unet, adapter = make()
    x, text = inputs(2)
    plain = tiny_unet()(x, torch.tensor(500), text).sample
    assert torch.equal(run(unet, adapter, x, text), plain)
    assert torch.equal(run(unet, adapter, x, text, layouts([0, 0], width=2)), plain)
    context = build_context(*layouts([2, 1]), GRID, mask_mode="area")
    context.active = False
    adapter.holder.context = context
    with torch.no_grad():
        assert torch.equal(unet(x, torch.tensor(500), text).sample, plain)


def test_unconditional_rows_and_rows_without_instances_stay_untouched():
    unet, adapter = make()
    x, text = inputs(6)
    out = run(unet, adapter, x, text, layouts([2, 0, 3]), guidance=True)
    plain = run(unet, adapter, x, text)
    changed = [not torch.equal(a, b) for a, b in zip(out, plain, strict=True)]
    assert changed == [False, False, False, True, False, True]


def test_batched_equals_single_and_padding_changes_nothing():
    unet, adapter = make()
    x, text = inputs(3)
    layout = layouts([3, 1, 2], width=5)
    verbs, spoken = torch.randn(3, TOKENS, 32), torch.tensor([True, False, True])
    batched = run(unet, adapter, x, text, layout, verbs=verbs, verb_valid=spoken)
    for i, count in enumerate([3, 1, 2]):
        own = {"verbs": verbs[i : i + 1], "verb_valid": spoken[i : i + 1]}
        single = run(unet, adapter, x[i : i + 1], text[i : i + 1], pick(layout, i, count), **own)
        assert torch.allclose(single[0], batched[i], atol=1e-5)


def test_weights_are_a_partition_of_each_cell():
    unet, adapter = make()
    seen = []

    def spy(fusion, original):
        def weights(phases, cover, ctx):
            seen.append((original(phases, cover, ctx), fusion.where(ctx), ctx.images))
            return seen[-1][0]

        return weights

    for _, layer in adapter.named_layers():
        layer.fusion.weights = spy(layer.fusion, layer.fusion.weights)
    spoken = {"verbs": torch.randn(2, TOKENS, 32), "verb_valid": torch.tensor([True, False])}
    run(unet, adapter, *inputs(2), layouts([3, 1]), **spoken)
    assert len(seen) == 3
    for weights, where, images in seen:
        total = torch.zeros(images, weights.shape[1]).index_add_(0, where.dense // where.width, weights)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-5)
        assert (weights >= 0).all()


def test_gradients_reach_every_parameter_and_no_other():
    unet, adapter = make()
    x, text = inputs(2)
    adapter.holder.context = build_context(
        *layouts([2, 3]), GRID, mask_mode="area", verbs=torch.randn(2, TOKENS, 32), verb_valid=torch.tensor([1, 1])
    )
    unet(x, torch.tensor(500), text).sample.square().mean().backward()
    silent = [n for n, p in adapter.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    assert all(p.grad is None for p in unet.parameters())


def test_verbs_reach_the_image_and_only_through_their_own_row():
    unet, adapter = make()
    x, text = inputs(2)
    layout, verbs = layouts([2, 2]), torch.randn(2, TOKENS, 32)
    without = run(unet, adapter, x, text, layout)
    spoken = run(unet, adapter, x, text, layout, verbs=verbs, verb_valid=torch.tensor([False, True]))
    assert torch.allclose(without[0], spoken[0], atol=1e-6)
    assert (without[1] - spoken[1]).abs().max() > 1e-3


def test_a_single_pooled_token_makes_the_query_idle():
    """With one key the softmax is 1 everywhere: the released code's reading of equation (3)."""
    config = FusionConfig(context="channel_pooled", position_hidden=16, enhancement="none")
    unet, adapter = make(config)
    x, text = inputs(1)
    layout = layouts([2])
    before = run(unet, adapter, x, text, layout)
    with torch.no_grad():
        for _, layer in adapter.named_layers():
            layer.instance.attention.to_q.weight.normal_()
            layer.instance.attention.to_k.weight.normal_()
    assert torch.allclose(before, run(unet, adapter, x, text, layout), atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"context": "token"},
        {"relation": False},
        {"layout_attention": False},
        {"enhancement": "none"},
        {"mask_prior": False},
    ],
)
def test_every_setting_runs_and_changes_the_output(changes):
    """Against the default setting with the weights that both have, so that a setting nobody reads fails."""
    x, text = inputs(1)
    extra = {"verbs": torch.randn(1, TOKENS, 32), "verb_valid": torch.tensor([True])}
    default = {"position_hidden": 16, "mask_mode": "area"}
    unet, adapter = make(FusionConfig(**default))
    weights = adapter.state_dict()
    want = run(unet, adapter, x, text, layouts([3]), **extra)
    unet, adapter = make(FusionConfig(**default, **changes))
    own = adapter.state_dict()
    adapter.load_state_dict({k: v for k, v in weights.items() if k in own and v.shape == own[k].shape}, strict=False)
    out = run(unet, adapter, x, text, layouts([3]), **extra)
    assert torch.isfinite(out).all()
    assert (out - want).abs().max() > 1e-5
    assert (out - run(unet, adapter, x, text)).abs().max() > 1e-3


def test_a_fresh_adapter_starts_from_the_attentions_it_stands_beside():
    unet, adapter = make(awake=False)
    for name, layer in adapter.named_layers():
        cross, own = unet.get_submodule(name), unet.get_submodule(name.removesuffix("attn2") + "attn1")
        for part in ("to_q", "to_k", "to_v"):
            source = getattr(cross, part).weight
            instance = getattr(layer.instance.attention, part).weight
            assert torch.equal(instance[:, : source.shape[1]], source)
            assert torch.equal(getattr(layer.relation, part).weight, source)
            assert torch.equal(getattr(layer.layout, part).weight, getattr(own, part).weight)
        widened = layer.instance.attention.to_k.weight[:, cross.to_k.weight.shape[1] :]
        assert widened.abs().sum() > 0  # the columns of the box keep their own start


def test_trained_shading_starts_as_the_frozen_attention():
    unet, adapter = make(FusionConfig(position_hidden=16, shading="trained"), awake=False)
    for name, layer in adapter.named_layers():
        cross = unet.get_submodule(name)
        for part in ("to_q", "to_k", "to_v"):
            assert torch.equal(getattr(layer.shading, part).weight, getattr(cross, part).weight)
        assert torch.equal(layer.shading.to_out[0].weight, cross.to_out[0].weight)


@pytest.mark.parametrize("refine", [0.0, 1.0])
def test_a_mask_of_the_prompt_reaches_the_plain_attention(refine):
    """What a caller passes to the UNet holds in every attention that a processor of ours wraps."""
    plain = tiny_unet()
    unet, adapter = make(FusionConfig(position_hidden=16, mask_mode="area", refine_fraction=refine))
    x, text = inputs(2)
    mask = torch.ones(2, TOKENS)
    mask[:, 4:] = 0
    t = torch.tensor(500)
    with torch.no_grad():
        want = plain(x, t, text, encoder_attention_mask=mask).sample
        assert not torch.equal(want, plain(x, t, text).sample)
        assert torch.equal(unet(x, t, text, encoder_attention_mask=mask).sample, want)
        context = adapter.holder.context = build_context(*layouts([2, 0]), GRID, mask_mode="area")
        context.refining = refine > 0
        other = text.clone()
        other[:, 4:] += 1  # what is masked must not be read, with layers on either
        out, same = (unet(x, t, states, encoder_attention_mask=mask).sample for states in (text, other))
    assert torch.allclose(out, same, atol=1e-6)
    assert (out[0] - want[0]).abs().max() > 1e-3


def test_autocast_runs_and_stays_near():
    unet, adapter = make()
    x, text = inputs(1)
    full = run(unet, adapter, x, text, layouts([3]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = run(unet, adapter, x, text, layouts([3])).float()
    assert (full - low).abs().max() < 0.1 * full.abs().max()


@pytest.mark.parametrize("box", [[0.5, 0.2, 0.4, 0.8], [0.1, 0.1, float("nan"), 0.5], [-0.1, 0.0, 0.5, 0.5]])
def test_a_bad_box_is_a_sentence(box):
    phrases, pooled, _, valid = layouts([1])
    with pytest.raises(UsageError, match="x0 < x1"):
        build_context(phrases, pooled, torch.tensor([[box]]), valid, GRID)


def test_settings_are_checked():
    with pytest.raises(UsageError, match="mask_mode"):
        FusionConfig(mask_mode="round")
    with pytest.raises(UsageError, match="Unknown layer setting 'colour'"):
        FusionConfig.from_dict({"colour": 1})
    assert FusionConfig().max_instances == 27
    assert FusionConfig(relation=False).max_instances == 28
