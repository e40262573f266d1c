"""What the trainings of the two mini judges share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

VISIBLE = 0.25
"""Less of an instance than this is no target: nobody could say what it is."""


class Seeds(TypedDict, total=False):
    """Seeds that a config may give; a stage has its own where it does not."""

    init_seed: int
    data_seed: int


class JudgeSettings(Seeds):
    """What the configs of both judges hold; `loop`: arguments of `LoopConfig`."""

    loop: dict[str, Any]


def to_tensor(images: list[NDArray[np.uint8]]) -> Tensor:
    """uint8 images [H, W, 3] -> float32 [N, 3, H, W] in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def calibrate(module: nn.Module, batches: list[Tensor]) -> None:
    """Set the batch norm statistics to the averages over `batches`: the weight average has none of its own."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for images in batches:
            module(images)
    for norm in norms:
        norm.momentum = 0.1
        norm.eval()


def save(module: nn.Module, config: Mapping[str, object], folder: Path) -> None:
    """Write `config.json` and `model.safetensors` (fp16) into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu() for name, value in module.state_dict().items()}
    half = {name: (v.half() if v.is_floating_point() else v).contiguous() for name, v in state.items()}
    save_file(half, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
