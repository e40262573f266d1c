"""Training step of the adapter: the base is frozen, the loss is the base's own denoising loss on cached latents."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from radl_bench.mini.train.emphasis import weighted_error


@dataclass(frozen=True)
class AdapterBatch:
    """B layouts padded to N instances, T tokens a text.

    Attributes:
        latents: [B, c, h, w], scaled as the UNet sees them.
        prompt_ids: [B, T]; a prompt dropped for guidance is the ids of the empty text.
        phrase_ids: [B, N, T]; boxes: [B, N, 4] xyxy fractions; valid: [B, N] bool.
        verb_ids: [B, T]; verb_valid: [B] bool.
        weights: [B, 1, h, w] of the loss, see `thing_weights`.
    """

    latents: Tensor
    prompt_ids: Tensor
    phrase_ids: Tensor
    boxes: Tensor
    valid: Tensor
    verb_ids: Tensor
    verb_valid: Tensor
    weights: Tensor

    def to(self, device: torch.device | str) -> AdapterBatch:
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})


class TextBank:
    """A frozen text encoder that remembers: phrases repeat all through a training, prompts hardly ever.

    Args:
        text_encoder: CLIPTextModel.
        limit: texts kept; the memory is emptied when it is full.
    """

    def __init__(self, text_encoder: nn.Module, limit: int = 4096) -> None:
        self.text_encoder = text_encoder.requires_grad_(False).eval()
        self.limit = limit
        self.known: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def once(self, ids: Tensor) -> Tensor:
        """[B, T] ids -> [B, T, D] states, not remembered."""
        return self.text_encoder(ids).last_hidden_state

    @torch.no_grad()
    def remembered(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """[M, T] ids -> states [M, T, D] and pooled states [M, D]."""
        keys = [tuple(row) for row in ids.tolist()]
        if len(self.known) > self.limit:
            self.known.clear()
        new = list(dict.fromkeys(key for key in keys if key not in self.known))
        if new:
            out = self.text_encoder(torch.tensor(new, device=ids.device))
            self.known.update(zip(new, zip(out.last_hidden_state, out.pooler_output, strict=True), strict=True))
        rows = [self.known[key] for key in keys]
        return torch.stack([s for s, _ in rows]), torch.stack([p for _, p in rows])


def adapter_loss(
    unet: nn.Module,
    adapter: nn.Module,
    batch: AdapterBatch,
    scheduler: Any,
    rng: torch.Generator,
    *,
    texts: TextBank,
    first_timestep: int = 0,
    **options: float,
) -> Tensor:
    """Mean squared error of the frozen base with the adapter on; gradients reach the adapter alone.

    Args:
        unet: frozen, with the adapter attached (`adapter.attach(unet)`).
        scheduler: gives noise and target; `prediction_type` epsilon or v_prediction.
        rng: CPU generator; the loss is a function of it and of the batch.
        texts: encoder of prompts, phrases and verbs.
        first_timestep: timesteps are drawn from [first_timestep, T). Sampling uses the layers in the first, noisiest
            steps only, so half of T trains just what is used.
        options: of the way this kind of adapter is trained, see `ways.py`.
    """
    from radl_bench.mini.train.ways import way_of

    device = batch.latents.device
    noise = torch.randn(batch.latents.shape, generator=rng).to(device)
    total = scheduler.config.num_train_timesteps
    timesteps = torch.randint(first_timestep, total, (len(noise),), generator=rng).to(device)
    noisy = scheduler.add_noise(batch.latents, noise, timesteps)
    call = partial(unet, noisy, timesteps, texts.once(batch.prompt_ids), return_dict=False)
    predicted, more = way_of(adapter).predict(call, adapter, batch, texts, rng, **options)
    return weighted_error(predicted, target_of(scheduler, batch.latents, noise, timesteps), batch.weights) + more


def target_of(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the base was trained to predict."""
    if scheduler.config.prediction_type == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    return noise
