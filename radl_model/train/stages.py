"""One function a training stage: settings (a TOML table), output folder, minutes -> trained weights in the folder."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from radl_model.train.loop import Loop, LoopConfig


def autoencoder(settings: dict[str, Any], out: Path, minutes: float | None) -> None:
    """Train the autoencoder; leaves `vae/` in diffusers format."""
    from radl_model.train import autoencoder as stage

    torch.manual_seed(settings.get("init_seed", 0))
    config = LoopConfig(**settings["loop"])
    module = stage.AutoencoderLoss(stage.build(**settings.get("model", {})))
    batch = partial(stage.make_batch, batch_size=config.batch_size, seed=settings.get("data_seed", 1))
    loop = Loop(module, batch, stage.loss_fn, config, out, partial(stage.on_sample, out))
    loop.resume()
    loop.run(minutes)
