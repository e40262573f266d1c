"""An inactive step computes what the plain UNet computes and nothing more: the same operations in the same order."""

import pytest
import torch
from tiny import tiny_unet
from torch.utils._python_dispatch import TorchDispatchMode

from radl_model.adapters.adapter import FusionAdapter
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import build_context


class Operations(TorchDispatchMode):
    """Names and shapes of all tensor operations that reach the backend."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        shapes = [tuple(a.shape) for a in args if isinstance(a, torch.Tensor)]
        self.seen.append((str(func), shapes))
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def operations(unet, low):
    rng = torch.Generator().manual_seed(0)
    side, width = unet.config.sample_size, unet.config.cross_attention_dim
    latents = torch.randn(2, unet.config.in_channels, side, side, generator=rng)
    texts = torch.randn(2, 7, width, generator=rng)
    # Autocast is entered anew, since it keeps cast weights till it is left.
    with torch.autocast("cpu", torch.bfloat16, enabled=low), Operations() as mode:
        unet(latents, torch.tensor(500), texts)
    return mode.seen


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_an_inactive_step_has_the_plain_operations(precision):
    unet = tiny_unet()
    low = precision == "bfloat16"
    plain = operations(unet, low)
    adapter = FusionAdapter.from_unet(unet, FusionConfig(position_hidden=16, mask_mode="area"))
    adapter.attach(unet)
    width, side = unet.config.cross_attention_dim, unet.config.sample_size
    context = build_context(
        torch.randn(1, 2, 7, width), torch.randn(1, 2, width), torch.tensor([[[0.0, 0.0, 0.5, 0.5]] * 2]),
        torch.ones(1, 2, dtype=torch.bool), (side, side), mask_mode="area", guidance=True,
    )  # fmt: skip
    adapter.holder.context = context
    active = operations(unet, low)
    context.active = False
    inactive = operations(unet, low)
    assert inactive == plain
    assert len(active) > len(plain)
