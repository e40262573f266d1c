"""A frozen UNet with an adapter on it, as a module to train."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import nn


class AdaptedUNet(nn.Module):
    """The frozen UNet with the adapter attached; only the adapter's parameters ask for gradients.

    Blocks before the first layer of the adapter keep no activations: nothing in them asks for a gradient.
    On a CPU the base attends with its scores written out: in bfloat16 the fused kernel's backward pass is dearer.
    """

    def __init__(self, unet: Any, adapter: Any) -> None:
        super().__init__()
        self.unet, self.adapter = unet.requires_grad_(False), adapter
        if not torch.cuda.is_available():
            unet.set_attn_processor(AttnProcessor())
        adapter.attach(unet)
