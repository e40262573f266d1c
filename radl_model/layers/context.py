"""What the layers know about the current batch: layouts, texts, which rows of the UNet batch to change, and caches.

The pipeline (or the training step) builds one `LayoutContext` a run and binds it through a `ContextHolder` that all
processors share. Nothing goes through `cross_attention_kwargs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from radl_model.errors import UsageError
from radl_model.layers.config import FusionConfig
from radl_model.layers.masks import MaskSet, build_masks, highest
from radl_model.layers.ragged import Rows, build_rows

T = TypeVar("T")

TRAINING_BUCKETS = 6
"""Sizes of instances told apart in training: 256 cells down to 8."""


@dataclass
class LayoutContext:
    """Layouts of the images that have at least one instance; images without one are not in here at all.

    Only real instances are kept, flattened to P pairs (image, instance), so padding cannot matter.

    Attributes:
        rows: [B] rows of the UNet batch that carry these images' conditional half.
        owner: [P] index into `rows`; place: [P] rank within the image, from 0.
        phrases: [P, T, D] text states; pooled: [P, D]; boxes: [P, 4] xyxy fractions.
        verbs: [V, T, D] states of the relation texts; verb_owner: [V] index into `rows`, ascending.
        grid: latent (height, width), from which a layer derives its own.
        active: False switches every layer back to the plain attention, step by step; refining: the parameter-free
            fuser is on in the other cross-attentions.
        related: [P] bool, the instances that the relation is about; all when None.
        order: [B, M] place in the gate of the phase with each rank, by rank when None.
        rngs: B generators, from which each layer call draws such an order anew; None draws nothing.
        watch: called with (layer name, queries, keys) of the frozen attention of the phrases, for a training loss.
    """

    rows: Tensor
    owner: Tensor
    place: Tensor
    phrases: Tensor
    pooled: Tensor
    boxes: Tensor
    verbs: Tensor
    verb_owner: Tensor
    grid: tuple[int, int]
    mask_mode: str = "migc"
    active: bool = True
    refining: bool = False
    related: Tensor | None = None
    order: Tensor | None = None
    rngs: list[torch.Generator] | None = None
    watch: Callable[[str, Tensor, tuple[Tensor, Tensor]], None] | None = None
    cache: dict[Hashable, Any] = field(default_factory=dict)

    @property
    def images(self) -> int:
        return self.rows.numel()

    @property
    def width(self) -> int:
        """Most instances that an image of this batch has."""
        return self.once("width", lambda: int(self.place.max()) + 1)

    @property
    def speakers(self) -> Tensor:
        """Images that have a relation text, [S] indices into `rows`, one each."""
        return self.once("speakers", lambda: self.verb_owner.unique())

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the cached value of `key`, making it on first use: texts and boxes do not change over the steps."""
        if key not in self.cache:
            self.cache[key] = make()
        return self.cache[key]

    def layer_grid(self, cells: int) -> tuple[int, int]:
        """Grid (H, W) of a layer with `cells` positions."""
        down = round(math.sqrt(self.grid[0] * self.grid[1] / cells))
        return max(1, -(-self.grid[0] // down)), max(1, -(-self.grid[1] // down))

    def masks(self, cells: int) -> MaskSet:
        """Masks for a layer with `cells` positions, built once."""
        grid = self.layer_grid(cells)
        make = lambda: build_masks(self.boxes, self.owner, self.images, grid, self.grid, self.mask_mode)  # noqa: E731
        return self.once(("masks", cells), make)

    def relation_mask(self, cells: int, config: FusionConfig) -> Tensor:
        """Mask of (6) on a layer with `cells` positions, [B, cells]; which boxes and how joined, `config` says."""

        def make() -> Tensor:
            masks = self.masks(cells)
            chosen = None if config.relation_scope == "union" else self.related
            if config.total_mask == "sum":
                each = masks.instance if chosen is None else masks.instance * chosen[:, None]
                return torch.zeros_like(masks.union).index_add_(0, self.owner, each).clamp_(max=1)
            if chosen is None:
                return masks.union
            return highest(masks.instance_cover * chosen[:, None], self.owner, self.images)

        return self.once(("relation mask", cells, config.relation_scope, config.total_mask), make)

    def draw_order(self, count: int) -> Tensor | None:
        """Place of each of `count` ranks in the gate, [B, count]; None where it is the rank itself."""
        if self.rngs is None:
            return self.order
        # Place j gets rank drawn[j]; the gate wants the inverse.
        drawn = torch.stack([torch.randperm(count, generator=rng) for rng in self.rngs])
        return drawn.argsort(1).to(self.rows.device)

    def inside(self, cells: int) -> Tensor:
        """Indices into the flattened [P * cells] positions that lie in their instance's box, [R]."""
        return self.packed(cells).flat

    def packed(self, cells: int) -> Rows:
        """The same cells as packed rows; in a few sizes for training, as one for sampling, where launches cost."""
        buckets = TRAINING_BUCKETS if torch.is_grad_enabled() else 1
        return self.once(
            ("packed", cells, buckets), lambda: build_rows(self.masks(cells).instance, self.owner, buckets)
        )


@dataclass
class ContextHolder:
    """The one mutable place that pipeline and processors share; `context` is None outside a layout run."""

    context: LayoutContext | None = None

    def __deepcopy__(self, _: object) -> ContextHolder:
        """A copy of what holds it is outside any run."""
        return ContextHolder()


def build_context(
    phrases: Tensor,
    pooled: Tensor,
    boxes: Tensor,
    valid: Tensor,
    grid: tuple[int, int],
    *,
    verbs: Tensor | None = None,
    verb_valid: Tensor | None = None,
    guidance: bool = False,
    mask_mode: str = "migc",
    related: Tensor | None = None,
    order: Tensor | None = None,
    rngs: list[torch.Generator] | None = None,
) -> LayoutContext | None:
    """Build the context of a batch of B layouts padded to N instances; None when no image has an instance.

    Args:
        phrases: [B, N, T, D] text states of the phrases; pooled: [B, N, D].
        boxes: [B, N, 4] xyxy fractions; valid: [B, N] bool, which entries are real.
        grid: latent (height, width).
        verbs: [B, T, D] text states for Relation Attention; verb_valid: [B] bool, which images have such a text. With
            several texts an image, [B, V, T, D] and [B, V].
        guidance: the UNet batch holds B unconditional rows before the B conditional ones.
        related: [B, N] bool, the instances that the relation is about; an image without any means all of its own.
        order, rngs: see `LayoutContext`, of all B images.

    Raises:
        UsageError: a real box is not finite, inverted or outside the image.
    """
    valid = valid.bool()
    kept = valid.any(1).nonzero().squeeze(1)
    if kept.numel() == 0:
        return None
    image, column = valid.nonzero(as_tuple=True)
    rank = kept.new_full((valid.shape[0],), -1)
    rank[kept] = torch.arange(kept.numel(), device=kept.device)
    owner, place = rank[image], valid.long().cumsum(1)[image, column] - 1
    check_boxes(boxes[image, column])
    with_verbs, states = kept[:0], phrases.new_zeros(0, *phrases.shape[2:])
    if verbs is not None and verb_valid is not None:
        several, spoken = verbs.view(len(valid), -1, *verbs.shape[-2:]), verb_valid.bool().view(len(valid), -1)
        with_verbs, which = (spoken & valid.any(1, keepdim=True)).nonzero(as_tuple=True)
        states = several[with_verbs, which]
    if related is not None:
        related = (related.bool() | ~(related.bool() & valid).any(1, keepdim=True))[image, column]
    return LayoutContext(
        rows=kept + (valid.shape[0] if guidance else 0),
        owner=owner,
        place=place,
        phrases=phrases[image, column],
        pooled=pooled[image, column],
        boxes=boxes[image, column].float(),
        verbs=states,
        verb_owner=rank[with_verbs],
        grid=grid,
        mask_mode=mask_mode,
        related=related,
        order=None if order is None else order[kept],
        rngs=None if rngs is None else [rngs[i] for i in kept.tolist()],
    )


def check_boxes(boxes: Tensor) -> None:
    """Raise `UsageError` unless every row of `boxes` [P, 4] satisfies 0 <= x0 < x1 <= 1 and the same for y."""
    good = torch.isfinite(boxes).all(1) & (boxes >= 0).all(1) & (boxes <= 1).all(1)
    good &= (boxes[:, :2] < boxes[:, 2:]).all(1)
    if not bool(good.all()):
        row = boxes[(~good).nonzero()[0, 0]].tolist()
        shown = ", ".join(f"{v:g}" for v in row)
        raise UsageError(f"The box ({shown}) is not x0 < x1, y0 < y1 in fractions of the image side, between 0 and 1.")
