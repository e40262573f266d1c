"""One turn of a training step (forward and backward of some samples) without data: to be counted or timed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from radl_model.pipelines.sd14 import SCHEDULER, TOKENS
from radl_model.train.adapter_loss import adapter_loss
from radl_model.train.batch import AdapterBatch, TextBank
from radl_model.train.draws import Draws, Part
from radl_model.train.layouts import Rules

STEPWISE = ("beta_start", "beta_end", "beta_schedule")


class BlankTexts(TextBank):
    """Stands in for a text encoder: states of the right shape, all zero."""

    def __init__(self, width: int) -> None:
        self.width = width

    def once(self, ids: Tensor) -> Tensor:
        """[B, T] ids -> [B, T, D]."""
        return torch.zeros(*ids.shape, self.width)

    def remembered(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """[M, T] ids -> [M, T, D] and [M, D]."""
        return torch.zeros(*ids.shape, self.width), torch.zeros(len(ids), self.width)


class Turn:
    """Forward and backward of `samples` full layouts through a frozen UNet with an adapter on it.

    Every slot is taken and every image has a relation text, so that it is the dearest turn that can come. The boxes
    cover a quarter of the image each.

    Args:
        unet: frozen, with the adapter attached; may hold fake tensors.
        loss: options of `adapter_loss`.
    """

    def __init__(
        self, unet: nn.Module, adapter: nn.Module, loss: Mapping[str, Any], rules: Rules, precision: str
    ) -> None:
        self.unet: Any = unet
        self.adapter, self.loss, self.rules = adapter, dict(loss), rules
        self.precision = precision
        self.scheduler = DDPMScheduler(**{name: SCHEDULER[name] for name in STEPWISE})

    def batch(self, samples: int) -> AdapterBatch:
        """Blank samples of the size that the rules say."""
        side, slots = self.rules.side // 8, self.rules.instances
        ids, channels = torch.zeros(samples, TOKENS, dtype=torch.long), self.unet.config.in_channels
        corners = torch.rand(samples, slots, 2, generator=torch.Generator().manual_seed(0)) / 2
        return AdapterBatch(
            latents=torch.zeros(samples, channels, side, side),
            prompt_ids=ids,
            phrase_ids=ids[:, None].expand(-1, slots, -1),
            boxes=torch.cat([corners, corners + 0.5], -1),
            valid=torch.ones(samples, slots, dtype=torch.bool),
            verb_ids=ids,
            verb_valid=torch.ones(samples, dtype=torch.bool),
            weights=torch.ones(samples, 1, side, side),
        )

    def forward(self, samples: int) -> Tensor:
        """The loss of a turn."""
        draws = Draws(torch.Generator().manual_seed(0), Part.whole(samples))
        device = next(self.adapter.parameters()).device
        texts = BlankTexts(self.unet.config.cross_attention_dim)
        with self.autocast(device.type):
            return adapter_loss(
                self.unet, self.adapter, self.batch(samples).to(device), self.scheduler, draws, texts=texts, **self.loss
            )

    def autocast(self, device: str) -> AbstractContextManager[object]:
        """Context of the training's precision."""
        if self.precision == "no":
            return nullcontext()
        return torch.autocast(device, dtype=torch.float16 if self.precision == "fp16" else torch.bfloat16)
