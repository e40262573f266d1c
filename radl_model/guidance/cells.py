"""Boxes on a grid of cells. Each published method rounds in its own way; no box ever vanishes between two cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from radl_model.boxes import Four
from radl_model.engine.roles import Grid

Rounding = Callable[[float], int]
Cells = tuple[int, int, int, int]
"""Columns [x0, x1) and rows [y0, y1), as (x0, y0, x1, y1)."""


def nearest(edge: float) -> int:
    """To the nearest whole cell, halves to the even one (BoxDiff)."""
    return round(edge)


def cut(edge: float) -> int:
    """Down, at both edges (layout guidance)."""
    return int(edge)


def first_pixel(edge: float) -> int:
    """Up: a cell belongs to a box that holds its first pixel, as after a reduction by "nearest" (MultiDiffusion)."""
    return math.ceil(edge - 1e-9)  # 0.3 * 10 is three


def cells_of(box: Four, grid: Grid, rounding: Rounding) -> Cells:
    """Return the cells of a box; along an axis where none is left, the one that holds its centre."""
    x0, x1 = _axis(box[0], box[2], grid[1], rounding)
    y0, y1 = _axis(box[1], box[3], grid[0], rounding)
    return x0, y0, x1, y1


def mask_of(boxes: Iterable[Four], grid: Grid, rounding: Rounding) -> Tensor:
    """Return the union of boxes on a grid, [H, W] of 0 and 1."""
    mask = torch.zeros(grid)
    for box in boxes:
        x0, y0, x1, y1 = cells_of(box, grid, rounding)
        mask[y0:y1, x0:x1] = 1
    return mask


def _axis(low: float, high: float, cells: int, rounding: Rounding) -> tuple[int, int]:
    start, stop = rounding(low * cells), min(rounding(high * cells), cells)
    if start >= stop:
        start = min(int((low + high) / 2 * cells), cells - 1)
        stop = start + 1
    return start, stop
