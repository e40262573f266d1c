"""Classes by name (COCO's things and COCO-Stuff's 91 others), and layouts as the model reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from radl_model.coco_classes import COCO_CLASSES
from radl_model.layout_diffusion.config import LayoutDiffusionConfig

Box = tuple[float, float, float, float]

_STUFF = (
    "banner, blanket, branch, bridge, building-other, bush, cabinet, cage, cardboard, carpet, ceiling-other, "
    "ceiling-tile, cloth, clothes, clouds, counter, cupboard, curtain, desk-stuff, dirt, door-stuff, fence, "
    "floor-marble, floor-other, floor-stone, floor-tile, floor-wood, flower, fog, food-other, fruit, furniture-other, "
    "grass, gravel, ground-other, hill, house, leaves, light, mat, metal, mirror-stuff, moss, mountain, mud, napkin, "
    "net, paper, pavement, pillow, plant-other, plastic, platform, playingfield, railing, railroad, river, road, rock, "
    "roof, rug, salad, sand, sea, shelf, sky-other, skyscraper, snow, solid-other, stairs, stone, straw, "
    "structural-other, table, tent, textile-other, towel, tree, vegetable, wall-brick, wall-concrete, wall-other, "
    "wall-panel, wall-stone, wall-tile, wall-wood, water-other, waterdrops, window-blind, window-other, wood"
)
CLASSES = {name: i for i, name in COCO_CLASSES.items()} | {name: 92 + n for n, name in enumerate(_STUFF.split(", "))}
"""COCO's category ids, 1 to 90 with gaps, and COCO-Stuff's, 92 to 182 (Caesar et al., CVPR 2018)."""

SYNONYMS = {"sofa": "couch", "television": "tv", "aeroplane": "airplane", "motorbike": "motorcycle"}
_LEADING = re.compile(r"^(?:an?|the)\s+", re.IGNORECASE)


class Encoded(NamedTuple):
    """A layout as the model reads it, and what of it the model does not see.

    Attributes:
        classes: int64 [L]; boxes: float32 [L, 4]. Slot 0 is the whole image, empty slots are padding.
        unknown: names that the model has no class for; cut: how many instances found no slot, of how many `asked`.
    """

    classes: Tensor
    boxes: Tensor
    unknown: tuple[str, ...] = ()
    cut: int = 0
    asked: int = 0

    @property
    def note(self) -> str:
        """A sentence for the image's row, "" when the model sees the whole layout."""
        parts = [f"no class for {', '.join(repr(n) for n in self.unknown)}"] if self.unknown else []
        parts += [f"{self.cut} smaller instances beyond the slots"] if self.cut else []
        left_out = len(self.unknown) + self.cut
        return f"No guidance for {left_out} of {self.asked} instances: {'; '.join(parts)}." if parts else ""


def class_of(name: str, names: Sequence[str] = ()) -> int | None:
    """Return the number of a class name, its article stripped; None for a name that is not known.

    Args:
        names: see `LayoutDiffusionConfig.names`.
    """
    plain = _LEADING.sub("", name.strip()).lower()
    known = {own: number for number, own in enumerate(names, start=1)} or CLASSES
    return known.get(SYNONYMS.get(plain, plain))


def encode(names: Sequence[str], boxes: Sequence[Box], config: LayoutDiffusionConfig) -> Encoded:
    """Return the layout of these class names and xyxy boxes (fractions); too many keep the largest boxes."""
    ids = [class_of(name, config.names) for name in names]
    known = [n for n, i in enumerate(ids) if i is not None]
    largest = sorted(known, key=lambda n: _area(boxes[n]), reverse=True)[: config.most_instances]
    kept = sorted(largest)
    classes = torch.full((config.slots,), config.padding)
    places = torch.zeros(config.slots, 4)
    classes[0], places[0] = 0, torch.tensor([0.0, 0.0, 1.0, 1.0])
    for slot, n in enumerate(kept, start=1):
        classes[slot], places[slot] = ids[n] or 0, torch.tensor(boxes[n])
    unknown = tuple(name for name, i in zip(names, ids, strict=True) if i is None)
    return Encoded(classes, places, unknown, len(known) - len(kept), len(names))


def empty(config: LayoutDiffusionConfig) -> Encoded:
    """Return the layout without instances, which classifier-free guidance goes away from."""
    return encode((), (), config)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
