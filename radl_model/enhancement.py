"""Attribute Enhancement (2) and Instance Attention (3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import get_fourier_embeds_from_boundingbox
from torch import Tensor, nn

from radl_model.attention import Attention, at_rows, attend, split_heads
from radl_model.context import LayoutContext


class AttributeEnhancement(nn.Module):
    """Refine each instance's own features: a learnable query map reads them, F + gamma * A(Q_l, F, F).

    The map [C, S, S] is shared by all instances and resized bilinearly to the layer's grid; keys are the cells inside
    the instance's mask. `gamma` starts at zero.
    """

    def __init__(self, channels: int, heads: int, side: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(channels, side, side) * 0.02)
        self.attention = Attention(channels, heads, channels, zero_out=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, ctx: LayoutContext, name: str) -> Tensor:
        """[P, HW, C] masked features -> the same shape, zero outside the masks."""
        cells = features.shape[1]
        inside = ctx.inside(cells)
        keys = (
            split_heads(at_rows(self.attention.to_k, features, inside), self.attention.heads),
            split_heads(at_rows(self.attention.to_v, features, inside), self.attention.heads),
        )
        query = ctx.once((name, "enhancement", cells), lambda: self._query(ctx.layer_grid(cells)))
        read = attend(query.expand(features.shape[0], -1, -1), keys, self._key_mask(ctx, cells))
        return features + self.gamma * at_rows(self.attention.to_out, read, inside)

    def _query(self, grid: tuple[int, int]) -> Tensor:
        resized = F.interpolate(self.query[None], size=grid, mode="bilinear", align_corners=False)
        return self.attention.to_q(resized.flatten(2).transpose(1, 2))

    @staticmethod
    def _key_mask(ctx: LayoutContext, cells: int) -> Tensor:
        """[P, 1, 1, HW]; an instance whose box vanished at this resolution may read all (its output is masked)."""

        def make() -> Tensor:
            inside = ctx.masks(cells).instance > 0
            return (inside | ~inside.any(1, keepdim=True))[:, None, None]

        return ctx.once(("keys inside", cells), make)


class PositionNet(nn.Module):
    """Box embedding of GLIGEN: Fourier features (base 100) of the four coordinates, then a SiLU MLP."""

    def __init__(self, n_freqs: int, hidden: int, out: int) -> None:
        super().__init__()
        self.n_freqs = n_freqs
        self.mlp = nn.Sequential(
            nn.Linear(8 * n_freqs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, out)
        )

    def forward(self, boxes: Tensor) -> Tensor:
        """[P, 4] xyxy fractions -> [P, out]."""
        fourier = get_fourier_embeds_from_boundingbox(self.n_freqs, boxes[None])[0]
        return self.mlp(fourier.to(self.mlp[0].weight.dtype))


class InstanceAttention(nn.Module):
    """R_i = A(F W_q, c_i W_k, c_i W_v), where c_i joins the instance's label and its box (`FusionConfig.context`)."""

    def __init__(self, channels: int, heads: int, text_dim: int, context: str, n_freqs: int, hidden: int) -> None:
        super().__init__()
        self.context = context
        self.position = PositionNet(n_freqs, hidden, text_dim)
        self.attention = Attention(channels, heads, text_dim if context == "token" else 2 * text_dim)

    def forward(self, features: Tensor, norm: nn.Module, ctx: LayoutContext, name: str) -> Tensor:
        """[P, HW, C] features -> [P, HW, C], zero outside the boxes; keys are made once a run."""
        inside = ctx.inside(features.shape[1])
        keys = ctx.once((name, "instance keys"), lambda: self.attention.keys(self.tokens(ctx)))
        query = at_rows(lambda x: self.attention.to_q(norm(x)), features, inside)
        return at_rows(self.attention.to_out, attend(query, keys), inside)

    def tokens(self, ctx: LayoutContext) -> Tensor:
        """c_i of every pair: [P, T, 2D], [P, 1, 2D] or [P, 2, D]."""
        place = self.position(ctx.boxes)[:, None].to(ctx.phrases.dtype)
        if self.context == "token":
            return torch.cat([ctx.pooled[:, None], place], 1)
        label = ctx.phrases if self.context == "channel_tokens" else ctx.pooled[:, None]
        return torch.cat([label, place.expand(-1, label.shape[1], -1)], -1)
