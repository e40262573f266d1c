"""MIGC, MIGC++ and the released RaDL against plain formulas (`migc_reference.py`), on the same random public weights.

Origin of the formulas: the public modules' documented behaviour, quirks included (box order, truncation to pixels,
two-stage masks, the second LayerNorm, pooled labels, permuted slots). Bar: 1e-4 absolute on outputs of scale 1 to 10.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from public_layouts import DIFFUSERS, TINY_BLOCKS, checkpoint
from tiny import tiny_pipeline, tiny_unet

from radl_model.checkpoints.public import read_public
from radl_model.layers.context import build_context
from radl_model.pipelines.pipeline import RaDLPipeline

sys.path.insert(0, str(Path(__file__).parent))
import migc_reference as reference

WIDTHS = dict(zip(TINY_BLOCKS, (64, 32, 32), strict=True))
LAYERS = tuple(DIFFUSERS[block] for block in TINY_BLOCKS)
TEXT, TOKENS = 32, 7
SLOTS = {"migc": 28, "migc++": 29, "radl": 28}
FULL = {"migc": 28, "migc++": 29, "radl": 27}
BAR = 1e-4


@pytest.fixture(scope="module", params=["migc", "migc++", "radl"])
def setup(request, tmp_path_factory):
    """(kind, UNet with the converted adapter attached, adapter, raw tensors of the file)."""
    kind = request.param
    file = tmp_path_factory.mktemp("public") / "weights.ckpt"
    table = checkpoint(kind, WIDTHS, TEXT, hidden=24)
    torch.save(table, file)
    unet = tiny_unet(attention_head_dim=8).requires_grad_(False)
    adapter = read_public(file, layers=LAYERS).adapter.requires_grad_(False)
    adapter.attach(unet)
    return kind, unet, adapter, table.get("state_dict", table)


def public_weights(table, number):
    """Weights of the module with this number, by their names within it."""
    block = TINY_BLOCKS[number]
    return {
        key.split("migc.")[-1].split("radl.")[-1]: value
        for key, value in table.items()
        if f".{block}." in key or key.startswith(DIFFUSERS[block] + ".")
    }


def base_weights(attn):
    return {f"attn2.{name}": value for name, value in attn.state_dict().items() if "processor" not in name}


def texts(count, seed):
    rng = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=rng) * 0.6
    boxes = torch.cat([corner, corner + 0.04 + 0.34 * torch.rand(count, 2, generator=rng)], 1)
    return torch.randn(count, TOKENS, TEXT, generator=rng), torch.randn(count, TEXT, generator=rng), boxes


def expected(kind, x, prompt, phrases, pooled, boxes, verbs, latent, grid, base, w, perm):
    """One conditional row by the plain formulas; without instances the frozen attention itself."""
    if len(phrases) == 0:
        return reference.attention(x, prompt, base, "attn2")
    layer = {"migc": reference.migc_layer, "migc++": reference.plus_layer, "radl": reference.release_layer}[kind]
    spoken = [verbs] if kind == "radl" else []
    return layer(x, prompt, phrases, pooled, boxes.tolist(), *spoken, latent, grid, base, w, perm)


@pytest.mark.parametrize(("number", "side"), [(0, 8), (1, 16)])
def test_a_layer_equals_the_plain_formulas(setup, number, side):
    """Images with 0, 1, 3 and the most instances, in one batch, each with a seed of its own, two calls in a row."""
    kind, unet, adapter, table = setup
    counts, seeds, latent = [0, 1, 3, FULL[kind]], [5, 6, 7, 8], (64, 64)
    name, _ = adapter.named_layers()[number]
    attn, w = unet.get_submodule(name), public_weights(table, number)
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(8, side * side, attn.query_dim, generator=rng)
    prompts, verbs = (torch.randn(n, TOKENS, TEXT, generator=rng) for n in (8, 4))
    images = [texts(n, 10 + n) for n in counts]
    width = max(counts)
    phrases, pooled, boxes = (
        torch.stack([torch.cat([t, t.new_zeros(width - len(t), *t.shape[1:])]) for t in column])
        for column in zip(*images, strict=True)
    )
    context = build_context(
        phrases,
        pooled,
        boxes,
        torch.arange(width) < torch.tensor(counts)[:, None],
        latent,
        verbs=verbs,
        verb_valid=torch.ones(4),
        guidance=True,
        rngs=[torch.Generator().manual_seed(s) for s in seeds],
    )
    adapter.holder.context = context
    try:
        got = torch.stack([attn(x, prompts) for _ in range(2)])
    finally:
        adapter.holder.context = None
    base = base_weights(attn)
    for i, (count, seed) in enumerate(zip(counts, seeds, strict=True)):
        official = torch.Generator().manual_seed(seed)
        plain = reference.attention(x[i], prompts[i], base, "attn2")
        for call in range(2):
            perm = torch.randperm(SLOTS[kind], generator=official)
            row = (x[4 + i], prompts[4 + i], *images[i], verbs[i], latent, (side, side), base, w, perm)
            want = expected(kind, *row)
            assert want.abs().max() > (0.5 if count else 0.1)
            assert (got[call, 4 + i] - want).abs().max() < BAR, (count, call)
            assert (got[call, i] - plain).abs().max() < BAR
    # The permutation is no matter of taste: it moves the output, so the two calls differ.
    if kind != "migc++":
        assert (got[0, 6] - got[1, 6]).abs().max() > 10 * BAR


class PlainProcessor:
    """A cross-attention by the plain formulas: unconditional row as it is, conditional row with the layer."""

    def __init__(self, kind, layout, w, latent, steps):
        self.kind, self.layout, self.w, self.latent, self.steps = kind, layout, w, latent, steps

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        base, (phrases, pooled, boxes, verbs) = base_weights(attn), self.layout
        rows = [
            reference.attention(x, p, base, "attn2") for x, p in zip(hidden_states, encoder_hidden_states, strict=True)
        ]
        side = math.isqrt(hidden_states.shape[1])
        if self.w is not None and self.steps["now"] <= self.steps["last"]:
            perm = torch.randperm(SLOTS[self.kind], generator=self.steps["rng"])
            rows[1] = expected(
                self.kind, hidden_states[1], encoder_hidden_states[1], phrases, pooled, boxes, verbs, self.latent,
                (side, side), base, self.w, perm,
            )  # fmt: skip
        elif self.kind == "migc++":
            masks, _ = reference.draw_masks(boxes.tolist(), self.latent, (side, side))
            shaded = [reference.attention(hidden_states[1], p, base, "attn2") for p in phrases]
            rows[1] = reference.naive_fuser(rows[1], shaded, masks)
        return torch.stack(rows)


@torch.no_grad()
def test_sampling_equals_a_plain_loop(setup):
    """Guidance, Euler with linspace steps, the gate that lets index n/2 through, slots drawn step by step."""
    from diffusers import EulerDiscreteScheduler

    kind, _, adapter, table = setup
    prompt, phrases = "a red car jumping over a dog", ["a red car", "a dog"]
    boxes = torch.tensor([[0.1, 0.2, 0.53, 0.9], [0.4, 0.1, 0.97, 0.6]])
    pipe = tiny_pipeline(cls=RaDLPipeline)
    pipe.register_modules(unet=tiny_unet(attention_head_dim=8))
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="linspace")
    pipe.register_modules(adapter=adapter)
    negative, steps, guidance, seed = "worst quality", 3, 7.5, 42
    got = pipe(
        prompt, phrases, boxes, num_inference_steps=steps, guidance_scale=guidance, negative_prompt=negative,
        generator=torch.Generator().manual_seed(seed), output_type="latent",
    ).images  # fmt: skip

    def encode(text):
        ids = pipe.tokenizer(text, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
        out = pipe.text_encoder(ids)
        return out.last_hidden_state[0], out.pooler_output[0]

    verbs = encode("jumping")[0]
    encoded = [encode(p) for p in phrases]
    layout = (torch.stack([e[0] for e in encoded]), torch.stack([e[1] for e in encoded]), boxes, verbs)
    progress = {"now": 0, "last": steps // 2, "rng": torch.Generator().manual_seed(seed)}
    adapter.detach(pipe.unet)
    layered = {f"{layer}.transformer_blocks.0.attn2": i for i, layer in enumerate(LAYERS)}
    for name, module in pipe.unet.named_modules():
        if name in layered:
            module.set_processor(PlainProcessor(kind, layout, public_weights(table, layered[name]), (16, 16), progress))
        elif name.endswith("attn2") and kind == "migc++":
            module.set_processor(PlainProcessor(kind, layout, None, (16, 16), progress))
    schedule = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    schedule.set_timesteps(steps)
    assert schedule.timesteps.tolist() == pytest.approx([999 - 999 / (steps - 1) * i for i in range(steps)])
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed)) * schedule.init_noise_sigma
    both = torch.stack([encode(negative)[0], encode(prompt)[0]])
    for i, t in enumerate(schedule.timesteps):
        progress["now"] = i
        noise = pipe.unet(schedule.scale_model_input(latents.repeat(2, 1, 1, 1), t), t, both).sample
        noise = noise[:1] + guidance * (noise[1:] - noise[:1])
        latents = schedule.step(noise, t, latents).prev_sample
    assert (got - latents).abs().max() < BAR * max(1, latents.abs().max().item())


QUIRKS = [
    ("migc", {"box_order": "xyxy"}),
    ("migc", {"instance_query": "features"}),
    ("migc", {"query_norm": "none"}),
    ("migc", {"mask_mode": "area"}),
    ("migc", {"sac_perm": "rank"}),
    ("radl", {"total_mask": "union"}),
    ("radl", {"relation_mask": "union"}),
    ("radl", {"verb_bos": True}),
    ("radl", {"layout_slot": "fixed"}),
]


def full_size(kind, tmp_path):
    """A frozen cross-attention of Stable Diffusion's 8 x 8 layer, 1280 channels, 768 text numbers, with its module."""
    from diffusers.models.attention_processor import Attention

    torch.manual_seed(3)
    attn = Attention(1280, 768, heads=8, dim_head=160).requires_grad_(False)
    tables = checkpoint(kind, {TINY_BLOCKS[0]: 1280}, 768)
    torch.save(tables, tmp_path / "weights.ckpt")
    adapter = read_public(tmp_path / "weights.ckpt", layers=LAYERS[:1]).adapter.requires_grad_(False)
    return attn, adapter.named_layers()[0][1], public_weights(tables.get("state_dict", tables), 0)


def full_size_inputs(seed=4):
    rng = torch.Generator().manual_seed(seed)
    x, prompt, phrases, pooled, verbs = (
        torch.randn(*shape, generator=rng) for shape in ((64, 1280), (77, 768), (3, 77, 768), (3, 768), (77, 768))
    )
    # Two boxes share half a cell, where sum and union of the reduced masks differ.
    boxes = torch.tensor([[0.1, 0.2, 0.5625, 0.9], [0.3, 0.1, 0.5625, 0.6], [0.61, 0.4, 0.97, 0.83]])
    return x, prompt, phrases, pooled, boxes, verbs


def fused(layer, attn, inputs, seed=42):
    x, prompt, phrases, pooled, boxes, verbs = inputs
    config = layer.config
    context = build_context(
        phrases[None],
        pooled[None],
        boxes[None],
        torch.ones(1, 3),
        (64, 64),
        verbs=verbs[None] if config.relation else None,
        verb_valid=torch.ones(1) if config.relation else None,
        mask_mode=config.mask_mode,
        rngs=[torch.Generator().manual_seed(seed)] if config.sac_perm == "official" else None,
    )
    return layer(attn, x[None], attn(x[None], prompt[None]), context, "layer")[0]


@pytest.fixture
def double():
    """Double precision: in single, sums over 1280 channels round by up to 1.1e-4 on outputs of scale 23."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("kind", ["migc", "migc++", "radl"])
def test_a_full_size_layer_equals_the_plain_formulas(kind, tmp_path, double):
    attn, layer, w = full_size(kind, tmp_path)
    x, prompt, phrases, pooled, boxes, verbs = inputs = full_size_inputs()
    perm = torch.randperm(SLOTS[kind], generator=torch.Generator().manual_seed(42))
    base = base_weights(attn)
    want = expected(kind, x, prompt, phrases, pooled, boxes, verbs, (64, 64), (8, 8), base, w, perm)
    assert want.abs().max() > 1
    assert (fused(layer, attn, inputs) - want).abs().max() < BAR


@pytest.mark.parametrize(("kind", "change"), QUIRKS, ids=lambda v: str(v))
def test_without_any_one_quirk_it_is_another_layer(kind, change, tmp_path):
    """So the parity above proves each of them."""
    from radl_model.layers.layer import InstanceFusionLayer

    attn, layer, _ = full_size(kind, tmp_path)
    config = replace(layer.config, **change)
    other = InstanceFusionLayer(1280, 8, 768, config).requires_grad_(False)
    other.load_state_dict(layer.state_dict(), strict="query_norm" not in change)
    inputs = full_size_inputs()
    assert (fused(other, attn, inputs) - fused(layer, attn, inputs)).abs().max() > 10 * BAR
