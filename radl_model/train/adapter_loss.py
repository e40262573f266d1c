"""Training step of the adapter: the base is frozen, the loss is the base's own denoising loss on cached latents."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from radl_model.train.batch import AdapterBatch, TextBank
from radl_model.train.draws import Draws
from radl_model.train.ways import way_of


def adapter_loss(
    unet: nn.Module,
    adapter: nn.Module,
    batch: AdapterBatch,
    scheduler: Any,
    draws: Draws,
    *,
    texts: TextBank,
    first_timestep: int = 0,
    **options: float,
) -> Tensor:
    """Mean squared error of the frozen base with the adapter on; gradients reach the adapter alone.

    Args:
        unet: frozen, with the adapter attached (`adapter.attach(unet)`).
        scheduler: gives noise and target; `prediction_type` epsilon or v_prediction.
        draws: noise, timesteps and what the way drops; the loss is a function of it and of the batch.
        texts: encoder of prompts, phrases and verbs.
        first_timestep: timesteps are drawn from [first_timestep, T). Sampling uses the layers in the first, noisiest
            steps only, so half of T trains just what is used.
        options: of the way this kind of adapter is trained, see `ways.py`.
    """
    device = batch.latents.device
    noise = draws.randn(*batch.latents.shape[1:]).to(device)
    total = scheduler.config.num_train_timesteps
    timesteps = draws.randint(first_timestep, total).to(device)
    noisy = scheduler.add_noise(batch.latents, noise, timesteps)
    call = partial(unet, noisy, timesteps, texts.once(batch.prompt_ids), return_dict=False)
    predicted, more = way_of(adapter).predict(call, adapter, batch, texts, draws, **options)
    return weighted_error(predicted, target_of(scheduler, batch.latents, noise, timesteps), batch.weights) + more


def target_of(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the base was trained to predict."""
    if scheduler.config.prediction_type == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    return noise


def weighted_error(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean squared error under `weights` [B, 1, h, w], divided by their mean, so that losses stay comparable."""
    squares = (predicted.float() - target.float()).square()
    return (squares * weights).mean() / weights.mean()
