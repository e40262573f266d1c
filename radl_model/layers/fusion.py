"""Fusion (7): per-pixel softmax weights over the phases of each image, from a shading-aggregation gate.

Phases of one image: background, its instances, layout attention, relation. All phases of the batch are one ragged list
of L entries; `PhaseMap` says which image and which slot each belongs to. Features come packed: of an instance only the
cells inside its box, since all others hold zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from radl_model.layers.config import FusionConfig
from radl_model.layers.context import LayoutContext

COVER_FLOOR = 1e-3
"""Smallest coverage in the prior: outside its box a phase starts at a thousandth of the weight."""
EXTRA_BIAS = -4.0
"""Prior of the layout and relation phases, whose features start at zero: 2 % of the weight each."""
SIZE_GAIN = 1.0
"""Where boxes overlap, weights start inverse to their areas: the smaller thing is in front more often than not."""
BACKGROUND, INSTANCE, LAYOUT, RELATION = range(4)


@dataclass(frozen=True)
class PhaseMap:
    """Where the L entries of the phase list go.

    Attributes:
        kind: [L], one of the four kinds.
        dense: [L] index into [images * width], one place an image and phase.
        image: [L], the image of each.
        rank: [L] rank among the phases that may change places in the gate, -1 for the others.
        slot: [L] slot of each in the gate of its image, while nothing changes places.
        log_area: [L], log of the box area for instances, 0 for the rest.
        width: places an image.
    """

    kind: Tensor
    dense: Tensor
    image: Tensor
    rank: Tensor
    slot: Tensor
    log_area: Tensor
    width: int

    def flat_slots(self, config: FusionConfig, order: Tensor | None) -> Tensor:
        """[L] index into [images * slots], with the ranks of each image at the places that `order` [B, M] says."""
        slot = self.slot
        if order is not None:
            slot = torch.where(self.rank < 0, slot, config.first_slot + order[self.image, self.rank.clamp_min(0)])
        return self.image * config.slots + slot


def phase_map(ctx: LayoutContext, config: FusionConfig) -> PhaseMap:
    """Lay out the phase list [background, instances, layout?, relation?] of a batch."""
    images = torch.arange(ctx.images, device=ctx.rows.device)
    none, zero = torch.full_like(images, -1), torch.zeros_like(images)
    width, first, last = ctx.width + 3, config.first_slot, config.slots - 1
    # (kind, image, place in the table, rank, slot)
    parts = [(INSTANCE, ctx.owner, 1 + ctx.place, ctx.place, first + ctx.place)]
    if first:
        parts.insert(0, (BACKGROUND, images, zero, none, zero))
    if config.layout_attention:
        after = torch.bincount(ctx.owner, minlength=ctx.images)
        fixed = config.layout_slot == "fixed"
        slot = zero + last - int(config.relation) if fixed else first + after
        parts.append((LAYOUT, images, zero + width - 2, none if fixed else after, slot))
    if config.relation:
        none, zero = none[ctx.speakers], zero[ctx.speakers]
        parts.append((RELATION, ctx.speakers, zero + width - 1, none, zero + last))
    sides = (ctx.boxes[:, 2:] - ctx.boxes[:, :2]).clamp_min(1e-3)
    kind = torch.cat([torch.full_like(owner, k) for k, owner, *_ in parts])
    log_area = sides.new_zeros(kind.numel())
    log_area[kind == INSTANCE] = sides.log().sum(1)
    image, place, rank, slot = (torch.cat(column) for column in list(zip(*parts, strict=True))[1:])
    return PhaseMap(kind, image * width + place, image, rank, slot, log_area, width)


class CBAM(nn.Module):
    """Convolutional block attention (Woo et al. 2018) on [M, HW, C]: a channel gate, then a 7 x 7 spatial gate."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.channel = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.spatial = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        mean, highest = self.channel(torch.stack([x.mean(1), x.amax(1)]))
        x = x * torch.sigmoid(mean + highest)[:, None]
        pooled = torch.stack([x.amax(2), x.mean(2)], 1).unflatten(2, grid)
        return x * torch.sigmoid(self.spatial(pooled)).flatten(2).transpose(1, 2)


class Fusion(nn.Module):
    """Sum of the phases of each image, weighted; subclasses say how."""

    def __init__(self, config: FusionConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, features: Tensor, cover: Tensor, ctx: LayoutContext) -> Tensor:
        """Fuse the phases into [B, HW, C].

        Args:
            features: [M, C], the cells of the phase list at `places`; cover: [L, HW] coverage.
        """
        where, cells = self.where(ctx), cover.shape[1]
        flat, dense = self.places(ctx, cells)
        weights = self.weights(features, cover, ctx).flatten().index_select(0, flat)
        weighted = features * weights[:, None].to(features.dtype)
        table = weighted.new_zeros(ctx.images * where.width * cells, features.shape[1]).index_copy(0, dense, weighted)
        # Summing fixed places, not scattering with atomics, keeps the result the same on every run and device.
        return table.view(ctx.images, where.width, cells, -1).sum(1)

    def places(self, ctx: LayoutContext, cells: int) -> tuple[Tensor, Tensor]:
        """Places of the features in the flattened [L * HW], and in [images * width * HW]; made once a run."""

        def make() -> tuple[Tensor, Tensor]:
            where = self.where(ctx)
            first = ctx.images * cells * self.config.first_slot
            last = first + ctx.owner.numel() * cells
            every = torch.arange(where.dense.numel() * cells, device=ctx.rows.device)
            flat = torch.cat([every[:first], ctx.inside(cells) + first, every[last:]])
            return flat, where.dense[flat // cells] * cells + flat % cells

        return ctx.once(("places", cells, self.config, torch.is_grad_enabled()), make)

    def where(self, ctx: LayoutContext) -> PhaseMap:
        """The places of the phase list, made once a run."""
        return ctx.once(("phases", self.config), lambda: phase_map(ctx, self.config))

    def weights(self, features: Tensor, cover: Tensor, ctx: LayoutContext) -> Tensor:
        """Weights [L, HW] (float32) of the phases with features [M, C] and coverage [L, HW]."""
        raise NotImplementedError

    def softmax(self, logits: Tensor, ctx: LayoutContext) -> Tensor:
        """[L, HW] logits -> weights that sum to 1 over the phases of an image, at each cell."""
        where = self.where(ctx)
        table = logits.new_full((ctx.images * where.width, logits.shape[1]), -torch.inf)
        table = table.index_copy(0, where.dense, logits)
        weights = table.unflatten(0, (ctx.images, where.width)).softmax(1)
        return weights.flatten(0, 1).index_select(0, where.dense)


class PhaseFusion(Fusion):
    """Weights of the phases: 1x1 conv on [phase; mask], CBAM, 1x1 conv to a logit, CBAM over slots, softmax.

    Absent phases share the logit of an all-zero phase in the slots, and take no part in the softmax. With `mask_prior`
    the logits start as log coverage, and the last 1x1 conv at zero.
    """

    def __init__(self, channels: int, config: FusionConfig) -> None:
        super().__init__(config)
        self._make_logit(channels)
        self.cbam2 = CBAM(config.slots, 1)
        if config.mask_prior:
            nn.init.zeros_(self.conv2.weight)
            nn.init.zeros_(self.conv2.bias)
            self.cover_gain = nn.Parameter(torch.ones(1))
            self.size_gain = nn.Parameter(torch.full((1,), SIZE_GAIN))
            self.kind_bias = nn.Parameter(torch.tensor([0.0, 0.0, EXTRA_BIAS, EXTRA_BIAS]))

    def _make_logit(self, channels: int) -> None:
        self.conv1 = nn.Linear(channels + 1, channels)
        self.cbam1 = CBAM(channels, 16)
        self.conv2 = nn.Linear(channels, 1)

    def weights(self, features: Tensor, cover: Tensor, ctx: LayoutContext) -> Tensor:
        """Weights [L, HW] (float32) of the phases; at each cell an image's phases sum to 1."""
        logits = self._slots(self._logits(features, cover, ctx), self.where(ctx), ctx, cover.shape[1]).float()
        if self.config.mask_prior:
            logits = logits + ctx.once((self, "prior", cover.shape), lambda: self._prior(cover.float(), ctx))
        return self.softmax(logits, ctx)

    def _logits(self, features: Tensor, cover: Tensor, ctx: LayoutContext) -> Tensor:
        """[M, C] -> [L + 1, HW]; the last row is the all-zero phase. Cells without a feature cost nothing."""
        count, cells = cover.shape
        flat, _ = self.places(ctx, cells)
        z = self.conv1(torch.cat([features, self._covered(features, cover, ctx)], -1))
        blank = self.conv1.bias.to(z.dtype).expand((count + 1) * cells, -1)
        z = blank.index_copy(0, flat, z).unflatten(0, (-1, cells))
        return self.conv2(self.cbam1(z, ctx.layer_grid(cells)))[..., 0]

    def _covered(self, features: Tensor, cover: Tensor, ctx: LayoutContext) -> Tensor:
        """Coverage of the features' cells, [M, 1]."""
        flat, _ = self.places(ctx, cover.shape[1])
        make = lambda: cover.flatten().index_select(0, flat)[:, None].to(features.dtype)  # noqa: E731
        return ctx.once((self, "covered", features.shape, features.dtype), make)

    def _slots(self, logits: Tensor, where: PhaseMap, ctx: LayoutContext, cells: int) -> Tensor:
        """Let the phases of an image see each other in their slots: [L + 1, HW] -> [L, HW]."""
        slot = where.flat_slots(self.config, ctx.draw_order(self.config.permuted_slots))
        table = logits[-1].expand(ctx.images * self.config.slots, cells).index_copy(0, slot, logits[:-1])
        gated = self.cbam2(table.unflatten(0, (ctx.images, -1)).transpose(1, 2), ctx.layer_grid(cells))
        return gated.transpose(1, 2).flatten(0, 1).index_select(0, slot)

    def _prior(self, cover: Tensor, ctx: LayoutContext) -> Tensor:
        """Log coverage, less for the larger of overlapping boxes, plus a bias by kind, [L, HW]."""
        where = self.where(ctx)
        excess = ctx.once(("excess", cover.shape), lambda: _size_excess(cover, where, ctx.images))
        log_cover = cover.clamp_min(COVER_FLOOR).log()
        return self.cover_gain * log_cover - self.size_gain * excess + self.kind_bias[where.kind][:, None]


def _size_excess(cover: Tensor, where: PhaseMap, images: int) -> Tensor:
    """Log of an instance's box area over that of the smallest box at the cell; 0 for other phases, [L, HW]."""
    area = where.log_area[:, None].expand_as(cover)
    seen = (where.kind == INSTANCE)[:, None] & (cover > 0)
    table = cover.new_full((images * where.width, cover.shape[1]), torch.inf)
    table = table.index_copy(0, where.dense, torch.where(seen, area, torch.inf))
    smallest = table.unflatten(0, (images, where.width)).amin(1)[where.dense // where.width]
    return torch.where(seen, area - smallest, 0.0)
