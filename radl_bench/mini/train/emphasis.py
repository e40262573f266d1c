"""Where the denoising loss looks: at the things more than at the ground they stand on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from radl_bench.types import Sample
from radl_model.layers.masks import build_masks, highest

CHUNK = 512
WHOLE = 0.25  # a box of this share of the image weighs the same with every `power`
SMALLEST = 0.02


def thing_weights(samples: Sequence[Sample], side: int, things: float, power: float = 0.0) -> Tensor:
    """Weights of the loss, float16 [N, 1, side, side]: 1 on the ground, 1 + `things` x (.25 / area) ** power in a box.

    Every value of the target is a mean of its own, so weights move no optimum; they spend a small network and a short
    training on what is hard. Without them a thing of two cells by two has a sixty-fourth of an image's loss; with a
    power of 1 a small thing weighs as much as a large one. Where boxes meet, the larger weight holds.

    Args:
        samples: N samples; the area of a box is a share of the image, taken for .02 if it is less.
        side: cells of the latent.
        things: what a box of a quarter of the image adds.
        power: 0 makes all boxes alike.
    """
    weights = torch.ones(len(samples), 1, side, side, dtype=torch.float16)
    for start in range(0, len(samples) if things else 0, CHUNK):
        part = samples[start : start + CHUNK]
        boxes = torch.tensor([i.box for s in part for i in s.instances]).reshape(-1, 4)
        owner = torch.tensor([row for row, s in enumerate(part) for _ in s.instances], dtype=torch.long)
        masks = build_masks(boxes, owner, len(part), (side, side), (side, side), "area")
        union = masks.union
        if power:
            areas = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).clamp(min=SMALLEST)
            union = highest(masks.instance_cover * ((WHOLE / areas) ** power)[:, None], owner, len(part))
        weights[start : start + CHUNK] += (things * union).view(-1, 1, side, side).half()
    return weights
