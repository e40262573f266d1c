"""Images into latents, in two steps: what the autoencoder says of an image, and a draw from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

ENCODED_AT_ONCE = 8
"""Images that the autoencoder sees together; it needs several times the memory of a training sample."""


@torch.no_grad()
def moments(vae: nn.Module, pixels: Tensor) -> Tensor:
    """Return what the autoencoder says of images [n, 3, S, S]: mean and deviation of each latent, joined by channel.

    An autoencoder that gives latents alone, as AutoencoderTiny, says just those. Float32, where the autoencoder is.
    """
    parameter = next(vae.parameters())
    parts = []
    for piece in pixels.split(ENCODED_AT_ONCE):
        encoded = vae.encode(piece.to(parameter.device, parameter.dtype))  # type: ignore[operator]
        law = getattr(encoded, "latent_dist", None)
        parts.append(encoded.latents if law is None else torch.cat([law.mean, law.std], 1))
    return torch.cat(parts).float()


def drawn(said: Tensor, vae_config: Mapping[str, float], numbers: Sequence[int], seed: int) -> Tensor:
    """Return latents as the UNet sees them; those of a KL autoencoder are drawn, by the number of the visit.

    Args:
        said: see `moments`.
        vae_config: configuration of the autoencoder.
    """
    scale, channels = float(vae_config["scaling_factor"]), int(vae_config["latent_channels"])
    if said.shape[1] == channels:
        return said * scale
    mean, deviation = said.chunk(2, 1)
    shape = tuple(mean.shape[1:])
    noise = [np.random.default_rng((seed, n, 2)).standard_normal(shape, dtype=np.float32) for n in numbers]
    return (mean + deviation * torch.from_numpy(np.stack(noise)).to(mean)) * scale
