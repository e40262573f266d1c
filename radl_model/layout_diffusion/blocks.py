"""Blocks of the pixel-space UNet: residual blocks and object-aware cross-attention (OaCA)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from radl_model.layout_diffusion.encoder import EncodedLayout


class GroupNorm32(nn.GroupNorm):
    """Group norm with 32 groups that computes in float32 at least."""

    def __init__(self, channels: int) -> None:
        super().__init__(32, channels, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, ...] -> the same."""
        wide = torch.promote_types(torch.float32, x.dtype)
        weight, bias = self.weight.to(wide), self.bias.to(wide)
        return nn.functional.group_norm(x.to(wide), 32, weight, bias, self.eps).to(x.dtype)


def zeroed(module: nn.Module) -> nn.Module:
    """Return the module with all parameters at zero: a fresh block adds nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ResBlock(nn.Module):
    """A residual block that the time embedding scales and shifts.

    Args:
        resample: "down" halves the grid, "up" doubles it, on both branches; None keeps it.
    """

    def __init__(
        self, channels: int, embedding: int, out: int, dropout: float = 0.0, resample: str | None = None
    ) -> None:
        super().__init__()
        self.resample = resample
        self.in_layers = nn.Sequential(GroupNorm32(channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * out))
        self.out_layers = nn.Sequential(
            GroupNorm32(out), nn.SiLU(), nn.Dropout(dropout), zeroed(nn.Conv2d(out, out, 3, padding=1))
        )
        self.skip_connection = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """[N, C, H, W] and [N, E] -> [N, out, H', W']."""
        h = self.in_layers[2](self._resampled(self.in_layers[1](self.in_layers[0](x))))
        x = self._resampled(x)
        scale, shift = self.emb_layers(embedding).to(h.dtype)[:, :, None, None].chunk(2, dim=1)
        h = self.out_layers[0](h) * (1 + scale) + shift
        for layer in list(self.out_layers)[1:]:
            h = layer(h)
        return self.skip_connection(x) + h

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample == "up":
            return interpolate(x, scale_factor=2, mode="nearest")
        return avg_pool2d(x, 2) if self.resample == "down" else x


class ObjectAwareCrossAttention(nn.Module):
    """Image cells attend to all cells and to all slots of the layout, by content and by place (section 3.3).

    Args:
        channels: C of the image; head_channels: content channels of a head, to which as many for place are added.
        width: W of the layout encoder; side: r of the grid.
    """

    patches: Tensor

    def __init__(self, channels: int, head_channels: int, width: int, side: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.norm_for_qkv, self.qkv_projector = GroupNorm32(channels), nn.Conv1d(channels, 3 * channels, 1)
        self.layout_content_embedding_projector = nn.Conv1d(width, 2 * channels, 1)
        self.layout_position_embedding_projector = nn.Conv1d(width, channels, 1)
        self.norm_for_obj_class_embedding = GroupNorm32(width)
        self.norm_for_layout_positional_embedding = GroupNorm32(channels)
        self.norm_for_image_patch_positional_embedding = GroupNorm32(channels)
        self.proj_out = zeroed(nn.Conv1d(channels, channels, 1))
        self.side = side
        self.register_buffer("patches", patch_boxes(side), persistent=False)

    def reset_patches(self) -> None:
        """Compute the cells' boxes again, after the module was made without memory of its own."""
        self.patches = patch_boxes(self.side)

    def forward(self, x: Tensor, layout: EncodedLayout, embed_box: nn.Module) -> Tensor:
        """[N, C, r, r] -> the same; `embed_box` is the encoder's own embedding of boxes."""
        flat = x.flatten(2)
        q, k, v = self.qkv_projector(self.norm_for_qkv(flat)).chunk(3, dim=1)
        here = self._placed(embed_box(self.patches).T[None], self.norm_for_image_patch_positional_embedding)
        there = self._placed(layout.boxes, self.norm_for_layout_positional_embedding)
        content = (layout.states + self.norm_for_obj_class_embedding(layout.classes)) / 2
        layout_k, layout_v = self.layout_content_embedding_projector(content).chunk(2, dim=1)
        here = here.expand(len(x), -1, -1)
        keys = torch.cat([self._heads(k, here), self._heads(layout_k, there)], dim=3)
        values = torch.cat([self._heads(v), self._heads(layout_v)], dim=3)
        return x + self.proj_out(self._attend(self._heads(q, here), keys, values)).view_as(x)

    def _placed(self, boxes: Tensor, norm: nn.Module) -> Tensor:
        return norm(self.layout_position_embedding_projector(boxes))

    def _heads(self, *parts: Tensor) -> Tensor:
        """Channels [N, C, T] of each part to heads, the parts one after the other: [N, H, parts * C / H, T]."""
        return torch.cat([p.reshape(len(p), self.heads, -1, p.shape[2]) for p in parts], dim=2)

    @staticmethod
    def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scale = q.shape[2] ** -0.25
        weights = torch.einsum("nhct,nhcs->nhts", q * scale, k * scale).float().softmax(-1).to(v.dtype)
        return torch.einsum("nhts,nhcs->nhct", weights, v).flatten(1, 2)


def patch_boxes(side: int) -> Tensor:
    """Return the boxes of the cells of a grid, row by row: float32 [side * side, 4], xyxy in fractions."""
    at = torch.arange(side, dtype=torch.float32)
    y, x = torch.meshgrid(at, at, indexing="ij")
    return torch.stack([x, y, x + 1, y + 1], dim=-1).view(-1, 4) / side
