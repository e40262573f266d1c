"""The other networks of (7): MIGC++'s refined fusion, a bare convolution, and two without learned weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from radl_model.layers.config import FusionConfig
from radl_model.layers.context import LayoutContext
from radl_model.layers.fusion import BACKGROUND, COVER_FLOOR, INSTANCE, Fusion, PhaseFusion, PhaseMap

BOX_WEIGHT = 10.0
"""Weight of an instance against the prompt's 1 in the parameter-free fuser, as in MIGC."""


def naive_fusion(plain: Tensor, frozen: Tensor, ctx: LayoutContext) -> Tensor:
    """Average of the frozen attentions without parameters, [B, HW, C].

    (CA + 10 sum_i M_i CA_i) / (1 + 10 sum_i M_i + 1e-6), CA of the prompt and CA_i of phrase i.

    Args:
        plain: [B, HW, C], CA; frozen: [R, C], M_i CA_i in the cells of the boxes.
    """
    cells = plain.shape[1]

    def scale() -> Tensor:
        mask = ctx.packed(cells).mask.to(plain.dtype)
        return 1 + BOX_WEIGHT * _sum(mask, ctx, cells) + 1e-6

    weight = ctx.once(("scale of boxes", cells, plain.dtype), scale)
    return (plain + BOX_WEIGHT * _sum(frozen.to(plain.dtype), ctx, cells)) / weight


def _sum(values: Tensor, ctx: LayoutContext, cells: int) -> Tensor:
    """Sum over the instances of each image, [R, C] of the cells in the boxes -> [B, HW, C], in a fixed order."""
    table = values.new_zeros(ctx.images * ctx.width * cells, values.shape[1]).index_copy(0, _at(ctx, cells), values)
    return table.view(ctx.images, ctx.width, cells, -1).sum(1)


def _at(ctx: LayoutContext, cells: int) -> Tensor:
    """Place of each packed cell in [images * width * HW], made once a run."""

    def make() -> Tensor:
        flat = ctx.inside(cells)
        return (ctx.owner * ctx.width + ctx.place)[flat // cells] * cells + flat % cells

    return ctx.once(("cells by image", cells, torch.is_grad_enabled()), make)


class RefinedFusion(PhaseFusion):
    """MIGC++'s: a gate without the first conv and CBAM and without background, added to the parameter-free average.

    The mask is not joined to the features: a first conv that could take it is not there.
    """

    def _make_logit(self, channels: int) -> None:
        self.conv2 = nn.Linear(channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def _logits(self, features: Tensor, cover: Tensor, ctx: LayoutContext) -> Tensor:
        count, cells = cover.shape
        logits = self.conv2(features)[:, 0]
        blank = self.conv2.bias.to(logits.dtype).expand((count + 1) * cells)
        return blank.index_copy(0, self.places(ctx, cells)[0], logits).view(count + 1, cells)

    def refine(self, plain: Tensor, frozen: Tensor, fused: Tensor, ctx: LayoutContext) -> Tensor:
        """Add the fused phases [B, HW, C] to `naive_fusion` of the frozen attentions [R, C], by tanh(gamma)."""
        return naive_fusion(plain, frozen, ctx) + torch.tanh(self.gamma).to(plain.dtype) * fused


class ConvFusion(PhaseFusion):
    """A 1x1 conv on [phase; mask] plus the log of the mask; phases do not see each other before the softmax."""

    def __init__(self, channels: int, config: FusionConfig) -> None:
        super().__init__(channels, config)
        del self.cbam2

    def _make_logit(self, channels: int) -> None:
        self.conv2 = nn.Linear(channels + 1, 1)

    def _logits(self, features: Tensor, cover: Tensor, ctx: LayoutContext) -> Tensor:
        inside = self.conv2(torch.cat([features, self._covered(features, cover, ctx)], -1))[:, 0]
        blank = self.conv2.bias.to(inside.dtype).expand(cover.numel())
        logits = blank.index_copy(0, self.places(ctx, cover.shape[1])[0], inside).view_as(cover)
        return logits if self.config.mask_prior else logits + cover.clamp_min(COVER_FLOOR).log()

    def _slots(self, logits: Tensor, where: PhaseMap, ctx: LayoutContext, cells: int) -> Tensor:
        return logits


class MeanFusion(Fusion):
    """No learned weights: background and instances are averaged by coverage; layout and relation are added."""

    def weights(self, features: Tensor, cover: Tensor, ctx: LayoutContext) -> Tensor:
        where = self.where(ctx)
        placed = ((where.kind == BACKGROUND) | (where.kind == INSTANCE))[:, None]
        table = cover.new_zeros(ctx.images * where.width, cover.shape[1], dtype=torch.float32)
        table = table.index_copy(0, where.dense, torch.where(placed, cover.float(), 0.0))
        total = table.unflatten(0, (ctx.images, where.width)).sum(1)[where.image]
        return torch.where(placed, cover.float() / total.clamp_min(COVER_FLOOR), 1.0)


class SumFusion(Fusion):
    """No weights at all: the masked phases are added."""

    def weights(self, features: Tensor, cover: Tensor, ctx: LayoutContext) -> Tensor:
        return torch.ones_like(cover, dtype=torch.float32)


def make_fusion(channels: int, config: FusionConfig) -> Fusion:
    """Build the network of (7) that the settings ask for."""
    if config.fusion == "mean":
        return MeanFusion(config)
    if config.fusion == "sum":
        return SumFusion(config)
    kinds = {"sac": PhaseFusion, "refined": RefinedFusion, "conv": ConvFusion}
    return kinds[config.fusion](channels, config)
