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
    min_snr: float = 0.0,
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
        min_snr: cap of the signal-to-noise ratio in the weight of a timestep, 5 in its paper; 0 weighs all alike.
        options: of the way this kind of adapter is trained, see `ways.py`.
    """
    device = batch.latents.device
    noise = draws.randn(*batch.latents.shape[1:]).to(device)
    total = scheduler.config.num_train_timesteps
    timesteps = draws.randint(first_timestep, total).to(device)
    noisy = scheduler.add_noise(batch.latents, noise, timesteps)
    call = partial(unet, noisy, timesteps, texts.once(batch.prompt_ids), return_dict=False)
    predicted, more = way_of(adapter).predict(call, adapter, batch, texts, draws, **options)
    target = target_of(scheduler, batch.latents, noise, timesteps)
    times = snr_weights(scheduler, timesteps, min_snr) if min_snr else None
    return weighted_error(predicted, target, batch.weights, times) + more


def snr_weights(scheduler: Any, timesteps: Tensor, cap: float) -> Tensor:
    """Weight of each timestep, [B]: min(SNR, cap) / SNR; over SNR + 1 for a base that predicts velocities.

    Source: Min-SNR (Hang et al. 2023, arXiv:2303.09556), eq. 7 and its appendix.
    """
    signal = scheduler.alphas_cumprod.to(timesteps.device)[timesteps].float()
    ratio = signal / (1 - signal)
    return ratio.clamp(max=cap) / (ratio + float(scheduler.config.prediction_type == "v_prediction"))


def target_of(scheduler: Any, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the base was trained to predict."""
    if scheduler.config.prediction_type == "v_prediction":
        return scheduler.get_velocity(latents, noise, timesteps)
    return noise


def weighted_error(predicted: Tensor, target: Tensor, weights: Tensor, times: Tensor | None = None) -> Tensor:
    """Mean squared error under `weights` [B, 1, h, w], divided by their mean, so that losses stay comparable.

    `times` [B] weighs whole samples beside them, and is not divided out.
    """
    squares = (predicted.float() - target.float()).square() * weights
    if times is not None:
        squares = squares * times[:, None, None, None]
    return squares.mean() / weights.mean()
