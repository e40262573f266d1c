"""The layout encoder: classes and boxes in, one state a slot out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from radl_model.layout_diffusion.config import LayoutDiffusionConfig


class EncodedLayout(NamedTuple):
    """What the attention blocks read.

    Attributes:
        states: [N, W, L], the encoder's output a slot; classes: [N, W, L], the embedded classes.
        boxes: [N, W, L], the embedded boxes; image: [N, E], what is added to the time embedding.
    """

    states: Tensor
    classes: Tensor
    boxes: Tensor
    image: Tensor


class SelfAttention(nn.Module):
    """Multi-head self-attention; `c_qkv` holds (q, k, v) head by head, and q and k are each scaled by d^-1/4."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.c_qkv = nn.Linear(width, 3 * width)
        self.c_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, W] -> [N, L, W]; empty slots take part, as published."""
        n, length, width = x.shape
        q, k, v = self.c_qkv(x).view(n, length, self.heads, -1).chunk(3, dim=-1)
        scale = q.shape[-1] ** -0.25
        weights = torch.einsum("nihd,njhd->nhij", q * scale, k * scale).float().softmax(-1).to(v.dtype)
        return self.c_proj(torch.einsum("nhij,njhd->nihd", weights, v).reshape(n, length, width))


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., W] -> [..., W]."""
        return self.c_proj(nn.functional.gelu(self.c_fc(x)))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn, self.ln_1 = SelfAttention(width, heads), nn.LayerNorm(width)
        self.mlp, self.ln_2 = Mlp(width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, W] -> [N, L, W]."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """The blocks of the encoder, under the published key `transform.resblocks`."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])

    def forward(self, x: Tensor) -> Tensor:
        """[N, L, W] -> [N, L, W]."""
        for block in self.resblocks:
            x = block(x)
        return x


class LayoutEncoder(nn.Module):
    """Classes and boxes to states (LayoutDiffusion, section 3.2)."""

    def __init__(self, config: LayoutDiffusionConfig) -> None:
        super().__init__()
        width = config.encoder_width
        self.obj_class_embedding = nn.Embedding(config.classes, width)
        self.obj_bbox_embedding = nn.Linear(4, width)
        self.transform = Transformer(width, config.encoder_layers, config.encoder_heads)
        self.final_ln = nn.LayerNorm(width)
        self.transformer_proj = nn.Linear(width, 4 * config.channels)

    def forward(self, classes: Tensor, boxes: Tensor) -> EncodedLayout:
        """Encode int64 classes [N, L] and xyxy boxes [N, L, 4] in fractions; slot 0 stands for the whole image."""
        embedded, placed = self.obj_class_embedding(classes), self.obj_bbox_embedding(boxes)
        states = self.final_ln(self.transform(embedded + placed))
        image = self.transformer_proj(states[:, 0])
        return EncodedLayout(states.transpose(1, 2), embedded.transpose(1, 2), placed.transpose(1, 2), image)
