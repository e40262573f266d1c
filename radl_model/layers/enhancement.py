"""Attribute Enhancement (2) and Instance Attention (3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import get_fourier_embeds_from_boundingbox
from torch import Tensor, nn

from radl_model.layers.attention import Attention, attend, split_heads
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import LayoutContext
from radl_model.layers.ragged import Rows


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

    def forward(self, features: Tensor, rows: Rows, ctx: LayoutContext, cells: int) -> Tensor:
        """[R, C] packed features of the cells inside the masks, of a layer of `cells` positions -> the same shape."""
        own, grid = self.attention, ctx.layer_grid(cells)
        query = ctx.once((self, "query", id(rows)), lambda: self._query(grid).index_select(0, rows.cell))
        read = rows.attend_within(query, own.to_k(features), own.to_v(features), own.heads)
        return features + self.gamma * own.to_out(read)

    def _query(self, grid: tuple[int, int]) -> Tensor:
        """The map as queries on a grid, [HW, C]."""
        resized = F.interpolate(self.query[None], size=grid, mode="bilinear", align_corners=False)
        return self.attention.to_q(resized[0].flatten(1).T)


class TokenEnhancement(nn.Module):
    """The other reading of (2): K learnable tokens read the instance's cells, and the cells read the tokens back."""

    def __init__(self, channels: int, heads: int, count: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(count, channels) * 0.02)
        self.attention = Attention(channels, heads, channels, zero_out=False)
        self.write = Attention(channels, heads, channels, zero_out=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor, rows: Rows, ctx: LayoutContext, cells: int) -> Tensor:
        """[R, C] packed features of the cells inside the masks -> the same shape."""
        own, heads = self.attention, self.attention.heads
        keys, values = own.to_k(features), own.to_v(features)
        gathered = features.new_zeros(rows.pairs, *self.query.shape)
        for bucket in rows.buckets:
            states = split_heads(bucket.pad(keys), heads), split_heads(bucket.pad(values), heads)
            query = own.to_q(self.query).expand(len(bucket.real), -1, -1)
            read = own.to_out(attend(query, states, bucket.mask))
            gathered = read if bucket.pairs is None else gathered.index_copy(0, bucket.pairs, read)
        read = rows.attend(self.write.to_q(features), self.write.keys(gathered))
        return features + self.gamma * self.write.to_out(read)


def make_enhancement(channels: int, heads: int, config: FusionConfig) -> AttributeEnhancement | TokenEnhancement | None:
    """Build the branch (2) that the settings ask for."""
    if config.enhancement == "grid":
        return AttributeEnhancement(channels, heads, config.enhancement_grid)
    if config.enhancement == "tokens":
        return TokenEnhancement(channels, heads, config.enhancement_tokens)
    return None


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

    def __init__(self, channels: int, heads: int, text_dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.context, self.box_order = config.context, config.box_order
        self.position = PositionNet(config.n_freqs, config.position_hidden, text_dim)
        self.attention = Attention(channels, heads, text_dim if config.context == "token" else 2 * text_dim)

    def forward(self, features: Tensor, rows: Rows, norm: nn.Module, ctx: LayoutContext, name: str) -> Tensor:
        """[R, C] packed features -> [R, C]; keys are made once a run."""
        keys = ctx.once((name, "instance keys"), lambda: self.attention.keys(self.tokens(ctx)))
        return self.attention.to_out(rows.attend(self.attention.to_q(norm(features)), keys))

    def tokens(self, ctx: LayoutContext) -> Tensor:
        """c_i of every pair: [P, T, 2D], [P, 1, 2D] or [P, 2, D]."""
        boxes = ctx.boxes if self.box_order == "xyxy" else ctx.boxes[:, [0, 2, 1, 3]]
        place = self.position(boxes)[:, None].to(ctx.phrases.dtype)
        if self.context == "token":
            return torch.cat([ctx.pooled[:, None], place], 1)
        label = ctx.phrases if self.context == "channel_tokens" else ctx.pooled[:, None]
        return torch.cat([label, place.expand(-1, label.shape[1], -1)], -1)
