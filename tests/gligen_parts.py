"""GLIGEN's layers on a tiny base, and diffusers' own UNet with gated attention that holds the same weights."""

from __future__ import annotations

import torch
from engine_hooks import noise
from tiny import tiny_pipeline, tiny_unet, wake

from radl_model.engine import Engine, Inputs, Layout, Settings
from radl_model.gligen.adapter import GligenAdapter
from radl_model.gligen.config import GligenConfig

CONFIG = GligenConfig(slots=5, active_fraction=0.5)
TEN = Settings(steps=10, guidance_scale=4.0)
LAYOUT = Layout(
    "a photo of a red car and a blue dog",
    ("a red car", "a blue dog"),
    ((0.1, 0.2, 0.5, 0.9), (0.4, 0.1, 0.9, 0.6)),
)
OTHER = Layout("a photo of a green cup", ("a green cup",), ((0.3, 0.3, 0.8, 0.9),))
EMPTY = Layout("a photo of a sea")


def awake(unet, config=CONFIG, seed=0):
    """An adapter whose gates are open and whose null features are not zero."""
    adapter = GligenAdapter.from_unet(unet, config).eval().requires_grad_(False)
    wake(adapter, seed=seed)
    with torch.no_grad():
        for _, layer in adapter.named_layers():
            layer.alpha_attn.fill_(1.0)
            layer.alpha_dense.fill_(0.7)
    return adapter


def made(adapter, layouts, seeds=(1,), settings=TEN, pipe=None, **inputs):
    """Final latents."""
    pipe = pipe or tiny_pipeline()
    return Engine(pipe).denoise(list(layouts), settings, adapter, Inputs(generator=noise(*seeds), **inputs))


def gated_unet(seed=0, **changes):
    """Diffusers' UNet with gated attention, random weights, open gates."""
    unet = tiny_unet(seed, attention_type="gated", **changes).requires_grad_(False)
    rng = torch.Generator().manual_seed(seed + 1)
    for name, p in unet.named_parameters():
        if name.endswith(("alpha_attn", "alpha_dense")):
            p.fill_(0.8)
        elif name.startswith("position_net.null"):
            p.copy_(torch.randn(p.shape, generator=rng))
    return unet
