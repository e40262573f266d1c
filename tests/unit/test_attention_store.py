"""Attention maps of chosen layers: their values, gradients, the early end, and that nothing else changes."""

from __future__ import annotations

import pytest
import torch
from test_inactive import Operations
from tiny import tiny_pipeline, tiny_unet

from radl_model.engine import (
    AttentionStore,
    Engine,
    Inputs,
    Layout,
    Session,
    Settings,
    attentions_at,
    low_attentions,
    mid_attentions,
    text_attentions,
)
from radl_model.engine.roles import attention_grids
from radl_model.errors import UsageError

LATENT = (16, 16)


def inputs(rows=2, seed=0, dtype=torch.float32):
    rng = torch.Generator().manual_seed(seed)
    latents = torch.randn(rows, 4, *LATENT, generator=rng, dtype=dtype)
    return latents, torch.randn(rows, 7, 32, generator=rng, dtype=dtype)


def store_on(unet, layers):
    store = AttentionStore(layers)
    store.attach(unet)
    return store


def by_hand(unet, names, latents, texts):
    """Maps from a forward hook on the queries' and keys' projections."""
    got, hooks = {}, []
    for name in names:
        attn = unet.get_submodule(name)
        for part in ("to_q", "to_k"):
            keep = lambda _, __, out, key=(name, part): got.__setitem__(key, out)  # noqa: E731
            hooks.append(getattr(attn, part).register_forward_hook(keep))
    unet(latents, torch.tensor(500), texts)
    for hook in hooks:
        hook.remove()
    maps = {}
    for name in names:
        heads = unet.get_submodule(name).heads
        q, k = (got[name, part].chunk(heads, -1) for part in ("to_q", "to_k"))
        maps[name] = torch.stack(
            [torch.softmax(a @ b.mT / a.shape[-1] ** 0.5, -1) for a, b in zip(q, k, strict=True)], 1
        )
    return maps


@torch.no_grad()
def test_maps_are_those_of_the_layers():
    unet = tiny_unet()
    names = text_attentions(unet)
    latents, texts = inputs()
    want = by_hand(unet, names, latents, texts)
    got = store_on(unet, names).record(unet, lambda net: net(latents, torch.tensor(500), texts))
    assert list(got) == names
    for name in names:
        assert torch.allclose(got[name], want[name], atol=1e-6)
        assert torch.allclose(got[name].sum(-1), torch.ones(()), atol=1e-5)


@torch.no_grad()
def test_an_attached_store_changes_no_operation():
    unet = tiny_unet()
    latents, texts = inputs()

    def operations():
        with Operations() as mode:
            out = unet(latents, torch.tensor(500), texts).sample
        return mode.seen, out

    plain, before = operations()
    store = store_on(unet, low_attentions(unet))
    attached, after = operations()
    assert attached == plain
    assert torch.equal(before, after)
    kept = []
    store.record(unet, lambda net: kept.append(net(latents, torch.tensor(500), texts).sample), stop=False)
    assert torch.equal(kept[0], before)
    store.detach(unet)
    assert not any("MapProcessor" in type(p).__name__ for p in unet.attn_processors.values())


def test_a_second_store_and_a_second_attach_change_nothing():
    unet = tiny_unet()
    first = store_on(unet, low_attentions(unet))
    processors = unet.attn_processors
    first.attach(unet)
    assert all(a is b for a, b in zip(unet.attn_processors.values(), processors.values(), strict=True))


@pytest.mark.parametrize(("layers", "block"), [(mid_attentions, "up_blocks.0"), (low_attentions, "conv_norm_out")])
def test_the_forward_ends_at_the_last_layer(layers, block):
    unet = tiny_unet()
    store, reached = store_on(unet, layers(unet)), []
    hook = unet.get_submodule(block).register_forward_pre_hook(lambda *_: reached.append(block))
    latents, texts = inputs()
    store.record(unet, lambda net: net(latents, torch.tensor(500), texts))
    assert reached == []
    store.record(unet, lambda net: net(latents, torch.tensor(500), texts), stop=False)
    hook.remove()
    assert reached == [block]
    assert not store.recording


def test_an_error_in_the_forward_passes_and_ends_the_record():
    unet = tiny_unet()
    store = store_on(unet, low_attentions(unet))
    with pytest.raises(ZeroDivisionError):
        store.record(unet, lambda net: 1 / 0)
    assert not store.recording


def test_gradients_against_finite_differences():
    unet = tiny_unet().double()
    store = store_on(unet, low_attentions(unet))
    latents, texts = inputs(1, dtype=torch.float64)

    def value(z):
        maps = store.record(unet, lambda net: net(z, torch.tensor(500), texts))
        return sum(m[..., 3].square().mean() for m in maps.values())

    z = latents.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(z), z)
    rng = torch.Generator().manual_seed(1)
    for _ in range(5):
        way = torch.randn(z.shape, generator=rng, dtype=z.dtype)
        with torch.no_grad():
            slope = (value(latents + 1e-5 * way) - value(latents - 1e-5 * way)) / 2e-5
        assert torch.allclose((gradient * way).sum(), slope, rtol=1e-5, atol=1e-12)


def test_parameters_are_frozen_meanwhile_and_as_before_afterwards():
    unet = tiny_unet()
    unet.conv_in.weight.requires_grad_(False)
    before = [p.requires_grad for p in unet.parameters()]
    store, seen = store_on(unet, low_attentions(unet)), []
    latents, texts = inputs()

    def forward(net):
        seen.extend(p.requires_grad for p in net.parameters())
        net(latents.requires_grad_(), torch.tensor(500), texts)

    maps = store.record(unet, forward)
    assert not any(seen)
    assert [p.requires_grad for p in unet.parameters()] == before
    assert all(m.requires_grad for m in maps.values())


def test_an_attention_mask_reaches_the_map():
    unet = tiny_unet()
    store = store_on(unet, mid_attentions(unet))
    latents, texts = inputs()
    mask = torch.ones(2, 7)
    mask[:, 4:] = 0
    call = lambda net: net(latents, torch.tensor(500), texts, encoder_attention_mask=mask)  # noqa: E731
    (shares,) = store.record(unet, call).values()
    assert shares[..., 4:].abs().max() < 1e-6
    assert torch.allclose(shares.sum(-1), torch.ones(()), atol=1e-5)


def test_roles():
    unet = tiny_unet()
    mid, up = (
        "mid_block.attentions.0.transformer_blocks.0.attn2",
        "up_blocks.1.attentions.{}.transformer_blocks.0.attn2",
    )
    down = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
    assert mid_attentions(unet) == [mid]
    assert low_attentions(unet) == [mid, up.format(0), up.format(1)]
    assert text_attentions(unet) == [down, *low_attentions(unet)]
    assert attentions_at(unet, (16, 16), LATENT) == [down, up.format(0), up.format(1)]
    assert attentions_at(unet, (8, 8), LATENT) == [mid]
    with pytest.raises(UsageError, match="no text attention on 4 x 4 cells; it has 8 x 8, 16 x 16"):
        attentions_at(unet, (4, 4), LATENT)


@pytest.mark.parametrize("latent", [(16, 16), (15, 22), (8, 31)])
def test_grids_are_those_that_the_layers_see(latent):
    unet = tiny_unet()
    names = text_attentions(unet)
    maps = store_on(unet, names).record(
        unet, lambda net: net(torch.randn(1, 4, *latent), torch.tensor(5), inputs(1)[1])
    )
    assert {n: m.shape[2] for n, m in maps.items()} == {n: h * w for n, (h, w) in attention_grids(unet, latent).items()}


def test_roles_at_full_size():
    """Section 1.1 of the dossier: five layers at 16 x 16, three in the first up block with attentions."""
    from diffusers import UNet2DConditionModel

    from radl_model.pipelines.sd14 import UNET

    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNET)
    blocks = lambda names: [name.split(".attentions")[0] for name in names]  # noqa: E731
    assert blocks(attentions_at(unet, (16, 16), (64, 64))) == ["down_blocks.2"] * 2 + ["up_blocks.1"] * 3
    assert blocks(low_attentions(unet)) == ["mid_block"] + ["up_blocks.1"] * 3
    assert len(text_attentions(unet)) == 16


class Guided(Session):
    """Moves the latents so that a token's attention grows in one half of the image."""

    def __init__(self, store):
        self.store, self.mass = store, []

    def before_unet(self, step, latents):
        with torch.enable_grad():
            z = latents.detach().requires_grad_()
            maps = step.maps(step.scale(z), self.store).values()
            shares = torch.cat([m[..., 2].mean(1) for m in maps if m.shape[2] == 256], 1)
            left = shares.unflatten(1, (-1, 16, 16))[..., :8].sum((1, 2, 3)) / shares.sum(1)
            (gradient,) = torch.autograd.grad(left.sum(), z)
        self.mass.append(left.detach())
        return latents + 5 * gradient / gradient.abs().amax((1, 2, 3), keepdim=True)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "LMSDiscreteScheduler"])
def test_a_session_can_guide_by_maps_and_each_image_by_itself(scheduler):
    import diffusers

    pipe = tiny_pipeline()
    pipe.scheduler = getattr(diffusers, scheduler).from_config(pipe.scheduler.config)
    store = AttentionStore(low_attentions(pipe.unet))

    class Adapter:
        max_instances = None

        def attach(self, unet):
            store.attach(unet)

        def start(self, run):
            self.session = Guided(store)
            return self.session

        def detach(self, unet):
            store.detach(unet)

    adapter, engine = Adapter(), Engine(pipe)
    rngs = lambda *seeds: [torch.Generator().manual_seed(s) for s in seeds]  # noqa: E731
    layouts = [
        Layout("a red car", ("a red car",), ((0, 0, 1, 1),)),
        Layout("a blue dog", ("a blue dog",), ((0, 0, 1, 1),)),
    ]
    settings = Settings(steps=3)
    both = engine.denoise(layouts, settings, adapter, Inputs(generator=rngs(1, 2)))
    mass = adapter.session.mass
    plain = engine.denoise(layouts, settings, None, Inputs(generator=rngs(1, 2)))
    assert (both - plain).abs().max() > 1e-2
    assert not both.requires_grad
    for i in range(2):
        one = engine.denoise(layouts[i : i + 1], settings, adapter, Inputs(generator=rngs(i + 1)))
        assert (one[0] - both[i]).abs().max() < 1e-3
        assert torch.allclose(adapter.session.mass[0][0], mass[0][i], atol=1e-6)
