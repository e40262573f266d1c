"""A frozen UNet with an adapter on it, as a module to train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from radl_model.layers.context import ContextHolder


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

    def checkpoint_activations(self) -> None:
        """Compute the activations of the UNet's blocks again in the backward pass instead of keeping them."""
        holder = getattr(self.adapter, "holder", ContextHolder())
        self.unet.enable_gradient_checkpointing(checkpointing(holder))
        self.unet.train()  # diffusers computes again only then; a UNet of v1 is the same in both modes


def checkpointing(holder: ContextHolder) -> Callable[..., Tensor]:
    """Return what calls a block so that it is computed again in the backward pass.

    The layers read their layouts from `holder`, which is empty by then: a block gets back the context of its first
    pass, with the cache as it was, so that both passes do the same.
    """

    def run(block: Callable[..., Tensor], *arguments: object) -> Tensor:
        first = holder.context
        cached = {} if first is None else dict(first.cache)
        passes: list[bool] = []

        def call(*inputs: object) -> Tensor:
            before = holder.context
            if passes and first is not None:
                holder.context = replace(first, cache=dict(cached))
            passes.append(True)
            try:
                return block(*inputs)
            finally:
                holder.context = before

        result: Tensor = checkpoint(call, *arguments, use_reentrant=False)  # type: ignore[assignment]
        return result

    return run
