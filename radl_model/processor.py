"""The attention processor that adds a fusion layer to a cross-attention, and is the plain one in every other case."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from radl_model.context import ContextHolder, LayoutContext
from radl_model.layer import InstanceFusionLayer


class FusionProcessor:
    """Run `base` on the whole batch, then replace the rows that have a layout.

    Without a context, or on an inactive step, the output is that of `base`, bit for bit; so are the unconditional rows
    and the rows without instances always.
    """

    def __init__(self, base: Any, layer: InstanceFusionLayer, holder: ContextHolder, name: str) -> None:
        self.base = base
        self.layer = layer
        self.holder = holder
        self.name = name

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        # Not every processor takes `temb`, and no text attention of Stable Diffusion needs it.
        extra = {} if temb is None else {"temb": temb}
        plain = self.base(attn, hidden_states, encoder_hidden_states, attention_mask, **extra)
        ctx = self.holder.context
        if ctx is None or not ctx.active:
            return plain
        return self._fused(attn, hidden_states, plain, ctx)

    @torch.compiler.disable
    def _fused(self, attn: Any, hidden_states: Tensor, plain: Tensor, ctx: LayoutContext) -> Tensor:
        """Rows with a layout replaced. Ragged and cached by layout, so a compiled UNet calls it as it is."""
        fused = self.layer(attn, hidden_states[ctx.rows], plain[ctx.rows], ctx, self.name)
        return plain.index_copy(0, ctx.rows, fused.to(plain.dtype))
