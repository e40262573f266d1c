"""Instance masks on a layer's grid, built once a (layout, resolution).

Two notions are kept apart. `feature` multiplies a phase's features (the Hadamard mask of equations (1), (3), (5), (6));
`cover` is what the fusion sees of the geometry. In mode `migc` both are the same fractional mask. In mode `area` the
feature mask is the support of the coverage, so that a cell that a box covers by a fifth mixes the two phases one to
four, instead of dimming both, and a small box never vanishes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FINE = 8
"""Sub-cells an axis on which the union of boxes is formed in mode `area`."""
EPS = 1e-4


@dataclass(frozen=True)
class MaskSet:
    """Masks of P instances and B images on a grid of H x W cells, values in [0, 1].

    Attributes:
        instance, instance_cover: [P, H*W], feature mask and coverage.
        background, background_cover: [B, H*W].
        union: [B, H*W], coverage of all boxes together.
    """

    instance: Tensor
    instance_cover: Tensor
    background: Tensor
    background_cover: Tensor
    union: Tensor


def build_masks(
    boxes: Tensor, owner: Tensor, images: int, grid: tuple[int, int], latent: tuple[int, int], mode: str
) -> MaskSet:
    """Build the masks of P boxes on a layer's grid.

    Args:
        boxes: [P, 4] xyxy fractions; owner: [P], the image of each, in [0, images).
        grid: the layer's (H, W); latent: the latent's, an eighth of the image's sides.
        mode: `migc` or `area`, see the module.
    """
    draw = _migc if mode == "migc" else _area
    instance, union = draw(boxes.float(), owner, images, grid, latent)
    rest = 1.0 - union
    if mode == "migc":
        return MaskSet(instance, instance, rest, rest, union)
    instance, rest = instance * (instance > EPS), rest * (rest > EPS)
    return MaskSet((instance > 0).float(), instance, (rest > 0).float(), rest, union)


def _area(
    boxes: Tensor, owner: Tensor, images: int, grid: tuple[int, int], latent: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Exact share of each cell that a box covers; the union is formed on sub-cells and averaged."""
    rows, cols = _axis_cover(boxes[:, 1::2], grid[0] * FINE), _axis_cover(boxes[:, 0::2], grid[1] * FINE)
    plane = rows[:, :, None] * cols[:, None, :]
    union = highest(plane, owner, images)
    return F.avg_pool2d(plane[:, None], FINE).flatten(1), F.avg_pool2d(union[:, None], FINE).flatten(1)


def _axis_cover(span: Tensor, cells: int) -> Tensor:
    """[P, 2] spans in fractions -> [P, cells], the covered share of each cell."""
    low = torch.arange(cells, device=span.device, dtype=span.dtype)
    reach = torch.minimum(span[:, 1:] * cells, low + 1) - torch.maximum(span[:, :1] * cells, low)
    return reach.clamp(0, 1)


def _migc(
    boxes: Tensor, owner: Tensor, images: int, grid: tuple[int, int], latent: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """MIGC's masks: boxes truncated to pixels, then bilinear to the latent and on to the layer, without antialias.

    In closed form: each cell takes few pixels of each axis (for even factors 2 x 2, of which it is the mean), so only
    those are ever drawn. At 8 x 8 a box under 56 pixels may vanish between them.
    """
    (row_share, row_at), (col_share, col_at) = (
        _two_stage(full * 8, full, cells, boxes.device) for full, cells in zip(latent, grid, strict=True)
    )
    rows = _pixels(boxes[:, 1::2], latent[0] * 8)[:, row_at]
    cols = _pixels(boxes[:, 0::2], latent[1] * 8)[:, col_at]
    ground = 1 - highest(rows[:, :, None] * cols[:, None, :], owner, images)
    # The union is not a product of axes, so the ground takes both shares one after the other.
    ground = (ground[:, None] * row_share[:, :, None]).sum(2)
    ground = (ground[:, :, None] * col_share).sum(3)
    rows, cols = (rows[:, None] * row_share).sum(2), (cols[:, None] * col_share).sum(2)
    return (rows[:, :, None] * cols[:, None, :]).flatten(1), 1 - ground.flatten(1)


def _two_stage(size: int, middle: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """One axis of the reduction size -> middle -> cells: shares [cells, S] of the S pixels used, and their places.

    Linear interpolation of the unit vectors gives the whole matrix, of which nearly all columns are zero.
    """
    share = torch.eye(size, device=device, dtype=torch.float32)[:, None]
    for target in (middle, cells):
        share = F.interpolate(share, size=target, mode="linear", align_corners=False)
    at = (share[:, 0] > 0).any(1).nonzero().squeeze(1)
    return share[at, 0].T.contiguous(), at


def _pixels(span: Tensor, size: int) -> Tensor:
    """[P, 2] spans in fractions -> [P, size] ones from int(size * low) up to int(size * high)."""
    at = torch.arange(size, device=span.device)
    low, high = (span * size).long().unbind(-1)
    return ((at >= low[:, None]) & (at < high[:, None])).float()


def highest(values: Tensor, owner: Tensor, images: int) -> Tensor:
    """Largest value over the instances of each image, [P, ...] -> [images, ...]; 0 where there is none."""
    out = values.new_zeros(images, *values.shape[1:])
    index = owner.view(-1, *[1] * (values.dim() - 1)).expand_as(values)
    return out.scatter_reduce_(0, index, values, "amax", include_self=True)
