"""MIGC's inhibition term of the training loss (reading A15): a phrase's frozen attention should not favour any part of
the background over the rest of it."""

from __future__ import annotations

import torch
from torch import Tensor

from radl_model.layers.attention import KeyValue, split_heads
from radl_model.layers.context import LayoutContext


class Inhibition:
    """Collects, over the layers of one forward pass, how uneven the phrases' attention lies on the background.

    For each token but the first, averaged over heads: the mean over the background's cells of |A - mean of A there|.
    Tokens are summed, instances and layers averaged. A plain sum of A over tokens would be 1 everywhere, and the
    published text does not say how the token axis is reduced.

    Args:
        context: hand `observe` to it as `context.watch`.
    """

    def __init__(self, context: LayoutContext) -> None:
        self.context = context
        self.terms: list[Tensor] = []

    def observe(self, name: str, query: Tensor, keys: KeyValue) -> None:
        """Take one layer's queries [B, HW, C] and phrase keys [P, heads, T, d]; only the up path counts."""
        ctx = self.context
        if not name.startswith("up_blocks"):
            return
        cells = query.shape[1]
        queries, key = split_heads(query, keys[0].shape[1])[ctx.owner], keys[0]
        scores = (queries * key.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        shares = scores.float().softmax(-1).mean(1)[..., 1:]  # [P, HW, T - 1]
        ground = (ctx.masks(cells).background > 0).float()[ctx.owner, :, None]
        count = ground.sum(1, keepdim=True).clamp_min(1)
        mean = (shares * ground).sum(1, keepdim=True) / count
        uneven = ((shares - mean).abs() * ground / count).sum((1, 2))
        self.terms.append(uneven.mean())

    def value(self) -> Tensor:
        """Mean over the layers seen; 0 when there was none."""
        return torch.stack(self.terms).mean() if self.terms else torch.zeros(())
