"""The square that is cut out of an image for training, and its boxes in it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import torchvision.transforms.v2.functional as vision
from PIL import Image, ImageOps
from torch import Tensor

from radl_model.errors import BadInput
from radl_model.train.layout_rows import LayoutRow

KEPT_SHARE = 0.5
"""A box of which the crop leaves less than this share is left out: its phrase would speak of what is not there."""


class Placed(NamedTuple):
    """Boxes xyxy as fractions of the square, and which instances they are of."""

    boxes: list[tuple[float, float, float, float]]
    kept: list[int]


class Square(NamedTuple):
    """Scaled size of the image, and the corner of the square in it; pixels."""

    wide: int
    high: int
    left: int
    top: int

    @classmethod
    def middle(cls, width: int, height: int, side: int) -> Square:
        """The middle of an image whose shorter side is scaled to `side`."""
        scale = side / min(width, height)
        wide, high = max(side, round(width * scale)), max(side, round(height * scale))
        return cls(wide, high, (wide - side) // 2, (high - side) // 2)


def place_boxes(width: int, height: int, boxes: Sequence[Sequence[float]], side: int) -> Placed:
    """Move the boxes of an image (xyxy fractions) into its middle square; those mostly cut away are left out."""
    wide, high, left, top = Square.middle(width, height, side)
    moved, kept = [], []
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        whole = (
            (x0 * wide - left) / side,
            (y0 * high - top) / side,
            (x1 * wide - left) / side,
            (y1 * high - top) / side,
        )
        inside = (max(whole[0], 0.0), max(whole[1], 0.0), min(whole[2], 1.0), min(whole[3], 1.0))
        if inside[0] < inside[2] and inside[1] < inside[3] and _area(inside) >= KEPT_SHARE * _area(whole):
            moved.append(inside)
            kept.append(number)
    return Placed(moved, kept)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def crop_pixels(image: Image.Image, side: int) -> Tensor:
    """Scale the shorter side to `side` pixels and cut the middle square out: [3, S, S] in -1..1."""
    wide, high, left, top = Square.middle(*image.size, side)
    square = image.resize((wide, high), Image.Resampling.LANCZOS).crop((left, top, left + side, top + side))
    return vision.pil_to_tensor(square).float() / 127.5 - 1


def row_image(row: LayoutRow) -> Image.Image:
    """Return the image of a row, upright; raises `BadInput` for one that cannot be read."""
    try:
        with Image.open(io.BytesIO(row.image), formats=("JPEG", "PNG", "WEBP", "BMP")) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # decoders of damaged files raise whatever they like
        raise BadInput(
            f"The image {row.id} of the training set cannot be read ({error}). Build the set again."
        ) from None
    if upright.size != (row.width, row.height):
        raise BadInput(
            f"The image {row.id} of the training set has {upright.size[0]} x {upright.size[1]} pixels, and its row "
            f"says {row.width} x {row.height}. Build the set again."
        )
    return upright
