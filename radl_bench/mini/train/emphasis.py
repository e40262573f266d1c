"""Where the denoising loss looks: at the things more than at the ground they stand on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from radl_bench.types import Sample
from radl_model.layers.masks import build_masks

CHUNK = 512


def thing_weights(samples: Sequence[Sample], side: int, things: float) -> Tensor:
    """Weights of the loss, float16 [N, 1, side, side]: 1 on the ground, 1 + `things` in the boxes.

    Every value of the target is a mean of its own, so weights move no optimum; they spend a small network and a short
    training on what is hard. Without them a thing of two cells by two has a sixty-fourth of an image's loss.
    """
    weights = torch.ones(len(samples), 1, side, side, dtype=torch.float16)
    for start in range(0, len(samples) if things else 0, CHUNK):
        part = samples[start : start + CHUNK]
        boxes = torch.tensor([i.box for s in part for i in s.instances]).reshape(-1, 4)
        owner = torch.tensor([row for row, s in enumerate(part) for _ in s.instances], dtype=torch.long)
        union = build_masks(boxes, owner, len(part), (side, side), (side, side), "area").union
        weights[start : start + CHUNK] += (things * union).view(-1, 1, side, side).half()
    return weights
