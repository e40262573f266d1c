"""Attention processors that change the rows with a layout, and are the plain ones in every other case."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from diffusers.models.attention_processor import Attention as FrozenAttention
from torch import Tensor

from radl_model.layers.context import ContextHolder, LayoutContext
from radl_model.layers.layer import InstanceFusionLayer

Processor = Callable[..., Tensor]
"""What diffusers calls in the place of an attention: (attention, hidden states, text states, mask) -> hidden states."""


class LayoutProcessor(ABC):
    """Run `base` on the whole batch, then change its output where the layout in `holder` acts.

    Without a layout, or where it does not act, the output is that of `base`, bit for bit.

    Args:
        base: the processor of the plain attention.
        holder: where the layout of the running batch is.
        name: of the attention in the UNet.
    """

    def __init__(self, base: Processor, holder: ContextHolder, name: str) -> None:
        self.base, self.holder, self.name = base, holder, name

    def __call__(
        self,
        attn: FrozenAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        # Not every processor takes `temb`, and no text attention of Stable Diffusion needs it.
        extra = {} if temb is None else {"temb": temb}
        plain: Tensor = self.base(attn, hidden_states, encoder_hidden_states, attention_mask, **extra)
        ctx = self.holder.context
        if ctx is None or not self._acts(ctx):
            return plain
        return self._changed(attn, hidden_states, plain, ctx)

    @abstractmethod
    def _acts(self, ctx: LayoutContext) -> bool:
        """Whether the layout changes this attention in this step."""

    @abstractmethod
    def _changed(self, attn: FrozenAttention, hidden_states: Tensor, plain: Tensor, ctx: LayoutContext) -> Tensor:
        """Return `plain` with the rows that have a layout replaced, [B, HW, C]."""


class FusionProcessor(LayoutProcessor):
    """Replace the rows that have a layout by a fusion layer's; the unconditional rows stay.

    Args:
        layer: the fusion layer of this attention.
        base, holder, name: see `LayoutProcessor`.
    """

    def __init__(self, base: Processor, layer: InstanceFusionLayer, holder: ContextHolder, name: str) -> None:
        super().__init__(base, holder, name)
        self.layer = layer

    def _acts(self, ctx: LayoutContext) -> bool:
        return ctx.active

    @torch.compiler.disable
    def _changed(self, attn: FrozenAttention, hidden_states: Tensor, plain: Tensor, ctx: LayoutContext) -> Tensor:
        """Ragged and cached by layout, so a compiled UNet calls it as it is."""
        fused = self.layer(attn, hidden_states[ctx.rows], plain[ctx.rows], ctx, self.name)
        return plain.index_copy(0, ctx.rows, fused.to(plain.dtype))
