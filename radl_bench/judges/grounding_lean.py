"""Modules that spare GroundingDINO work it repeats or need not do, at equal results.

`lean(model)` puts them into one transformers model of ours; the transformers package itself stays as it is. Three
things are spared: the Swin backbone runs once an image instead of once a query; the fusion layers, whose image side has
some 13,000 tokens and whose text side has four, carry the text through the image's projections instead of the image;
deformable attention sums its samples while it looks them up instead of building them all first.

Methods: GroundingDINO (Liu et al. 2023, arXiv:2303.05499), section 3.2; Deformable DETR (Zhu et al. 2021,
arXiv:2010.04159), equation 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import PreTrainedModel
    from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoBiMultiHeadAttention

QUERIES = 1024
"""Queries sampled at a time: what they look up stays in the processor's cache (2048 and 512 take 5 to 15 % longer)."""


class SeenBackbone(nn.Module):
    """A backbone that looks at an image once (`see`) and answers every later call from memory.

    It fits both libraries: a call's answer is `(features, positions)`, two lists, whatever the call's arguments;
    attributes and items are those of `inner`.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self._answer: tuple[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def __getitem__(self, index: int) -> nn.Module:
        return self.inner[index]  # type: ignore[index]

    def see(self, *image: object) -> None:
        """Run the backbone on an image and keep what it gives."""
        self._answer = self.inner(*image)

    def forget(self) -> None:
        """Let go of the features."""
        self._answer = None

    def forward(self, *_: Any) -> tuple[list[Any], list[Any]]:
        """Return the features and position embeddings of the image seen last, in new lists: the models append to them.

        Raises:
            RuntimeError: nothing was seen.
        """
        if self._answer is None:
            raise RuntimeError("The backbone has seen no image.")
        return list(self._answer[0]), list(self._answer[1])


class SeenByBatch(SeenBackbone):
    """The same for a transformers model that is asked several texts at once about the one image seen."""

    def forward(self, pixels: Tensor, *_: Any) -> tuple[list[Any], list[Any]]:
        """Return features `(map, mask)` and positions for each of `len(pixels)` texts, expanded without copying."""
        features, positions = super().forward()
        wide = [tuple(part.expand(len(pixels), *part.shape[1:]) for part in pair) for pair in features]
        return wide, [part.expand(len(pixels), *part.shape[1:]) for part in positions]


class LeanFusion(nn.Module):
    """The attention between image [B, N, 256] and text [B, T, 256] of one fusion layer, both ways.

    For a head, `x` the image and `P` the weights, `(x Wq) k' = x (Wq k')`, `(P v) Wo = P (v Wo)` and
    `P' (x Wv) = (P' x) Wv`: the right sides compute nothing of the size N x 1024.

    Args:
        attention: a `GroundingDinoBiMultiHeadAttention`, whose six linear layers are used as they are.
    """

    def __init__(self, attention: GroundingDinoBiMultiHeadAttention) -> None:
        super().__init__()
        self.heads: int = attention.num_heads
        self.scale: float = attention.scale
        self.vision_proj, self.text_proj = attention.vision_proj, attention.text_proj
        self.values_vision_proj, self.values_text_proj = attention.values_vision_proj, attention.values_text_proj
        self.out_vision_proj, self.out_text_proj = attention.out_vision_proj, attention.out_text_proj

    def forward(
        self,
        vision_features: Tensor,
        text_features: Tensor,
        vision_attention_mask: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Return `(image update [B, N, 256], weights [B, h, N, T])` and `(text update [B, T, 256], [B, h, T, N])`.

        Masks are [B, N] and [B, T], True at padding, as in the original.
        """
        logits = self._logits(vision_features, text_features)
        logits = (logits - logits.amax()).clamp(min=-50000)
        by_text = (logits - logits.amax(2, keepdim=True)).clamp(min=-50000)
        if text_attention_mask is not None:
            logits = logits.masked_fill(text_attention_mask[:, None, None, :], float("-inf"))
        if vision_attention_mask is not None:
            by_text = by_text.masked_fill(vision_attention_mask[:, None, :, None], float("-inf"))
        to_image, to_text = logits.softmax(3), by_text.softmax(2).mT
        image = self._image_update(to_image, text_features)
        return (image, to_image), (self._text_update(to_text, vision_features), to_text)

    def _logits(self, image: Tensor, text: Tensor) -> Tensor:
        keys = self._split(self.text_proj(text))  # [B, h, T, d]
        through = keys @ self.vision_proj.weight.unflatten(0, (self.heads, -1))  # [B, h, T, 256]
        constant = keys @ self.vision_proj.bias.unflatten(0, (self.heads, -1))[..., None]  # [B, h, T, 1]
        products = image @ through.flatten(1, 2).mT  # [B, N, h T]
        return (products.unflatten(2, (self.heads, -1)).transpose(1, 2) + constant.mT) * self.scale

    def _image_update(self, weights: Tensor, text: Tensor) -> Tensor:
        values = self._split(self.values_text_proj(text))
        out = self.out_vision_proj.weight.T.unflatten(0, (self.heads, -1))  # [h, d, 256]
        through = (values @ out).flatten(1, 2)  # [B, h T, 256]
        return weights.transpose(1, 2).flatten(2) @ through + self.out_vision_proj.bias

    def _text_update(self, weights: Tensor, image: Tensor) -> Tensor:
        seen = (weights.flatten(1, 2) @ image).unflatten(1, (self.heads, -1))  # [B, h, T, 256]
        gathered = seen @ self.values_vision_proj.weight.unflatten(0, (self.heads, -1)).mT
        gathered = gathered + self.values_vision_proj.bias.unflatten(0, (self.heads, 1, -1))  # weights add up to 1
        return self.out_text_proj(gathered.transpose(1, 2).flatten(2))

    def _split(self, wide: Tensor) -> Tensor:
        """[B, T, h d] -> [B, h, T, d]."""
        return wide.unflatten(2, (self.heads, -1)).transpose(1, 2)


class LeanSampling(nn.Module):
    """Multi-scale deformable sampling: bilinear lookups and their weighted sum in one `embedding_bag`.

    Each level gets a border of zeros, one pixel before and two behind it, so that a sample outside needs no care.
    """

    def forward(
        self,
        value: Tensor,
        value_spatial_shapes: Tensor,
        value_spatial_shapes_list: Sequence[tuple[int, int]],
        level_start_index: Tensor,
        sampling_locations: Tensor,
        attention_weights: Tensor,
        im2col_step: int,
    ) -> Tensor:
        """Return [B, Q, h d] from `value` [B, S, h, d], locations [B, Q, h, L, P, 2] in 0..1, weights [B, Q, h, L, P].

        The arguments are those of transformers' `MultiScaleDeformableAttention`.
        """
        shapes = [(int(h), int(w)) for h, w in value_spatial_shapes_list]
        maps = zip(value.split([h * w for h, w in shapes], dim=1), shapes, strict=True)
        padded = [
            functional.pad(part.unflatten(1, shape), (0, 0, 0, 0, 1, 2, 1, 2)).flatten(1, 2) for part, shape in maps
        ]
        table = torch.cat(padded, 1).flatten(1, 2)  # rows of d numbers, by (pixel, head)
        layout = _Layout(shapes, value.shape[2], value)
        images = zip(table, sampling_locations, attention_weights, strict=True)
        return torch.stack([_sample_image(layout, *image) for image in images])


def _sample_image(layout: _Layout, rows: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    blocks = zip(locations.split(QUERIES), weights.split(QUERIES), strict=True)
    return torch.cat([layout.sample(rows, *block) for block in blocks])


class _Layout:
    """Where the pixels of every level lie in the table: sizes, row lengths and the row of its pixel (0, 0)."""

    def __init__(self, shapes: Sequence[tuple[int, int]], heads: int, like: Tensor) -> None:
        self.heads = heads
        self.size = like.new_tensor([[w, h] for h, w in shapes])[:, None]  # [L, 1, 2]
        lengths = torch.tensor([(w + 3) * heads for _, w in shapes], dtype=torch.int32, device=like.device)
        areas = torch.tensor([0] + [(h + 3) * (w + 3) * heads for h, w in shapes[:-1]], device=like.device)
        head = torch.arange(heads, dtype=torch.int32, device=like.device)[:, None, None]
        self.length = lengths[:, None]
        self.origin = areas.cumsum(0).int()[:, None] + self.length + heads + head  # [h, L, 1]

    def sample(self, rows: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        """Return [Q, h d] from the table `rows`, locations [Q, h, L, P, 2] and weights [Q, h, L, P]."""
        place = (locations * self.size - 0.5).clamp_(min=-1).minimum(self.size)
        corner = place.floor()
        right, down = (place - corner).unbind(-1)
        column, line = corner.int().unbind(-1)
        first = line * self.length + column * self.heads + self.origin
        index = torch.stack([first, first + self.heads, first + self.length, first + self.length + self.heads], -1)
        lower = down * weights
        upper = weights - lower
        lower_right, upper_right = lower * right, upper * right
        shares = torch.stack([upper - upper_right, upper_right, lower - lower_right, lower_right], -1)
        bags = locations.shape[0] * self.heads
        summed = functional.embedding_bag(
            index.view(bags, -1), rows, per_sample_weights=shares.view(bags, -1), mode="sum"
        )
        return summed.view(locations.shape[0], -1)


def lean(model: PreTrainedModel) -> PreTrainedModel:
    """Put the modules of this file into a `GroundingDinoForObjectDetection` in eval mode, and return it.

    `see` of its `model.backbone` must then be called with the pixels [1, 3, H, W] and mask [1, H, W] of an image before
    the model answers any text about it. On a GPU the library's own sampling is kept.
    """
    model.model.backbone = SeenByBatch(model.model.backbone)
    on_cpu = next(model.parameters()).device.type == "cpu"
    for layer in model.model.encoder.layers:
        layer.fusion_layer.attn = LeanFusion(layer.fusion_layer.attn)
        if on_cpu:
            layer.deformable_layer.self_attn.attn = LeanSampling()
    if on_cpu:
        for layer in model.model.decoder.layers:
            layer.encoder_attn.attn = LeanSampling()
    return model
