"""Stage 1: the f8 autoencoder of the mini model, a `diffusers.AutoencoderTiny` on scenes of the mini world.

Trained on 64 px crops around instances: the network is convolutional, and empty background teaches little. A weak
penalty keeps every latent channel near zero mean and unit variance, so that `scaling_factor` is 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import normalize

from radl_bench.mini.layouts import LayoutSampler, LayoutSettings
from radl_bench.mini.scenes import SIZE, render
from radl_bench.types import Sample

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from radl_bench.mini.train.encoder import SceneEncoder

CROP = 64
LATENT_CHANNELS = 16


def build(width: int = 64, latent_channels: int = LATENT_CHANNELS) -> AutoencoderTiny:
    """Return the untrained autoencoder: 8x downsampling, `width` channels throughout, no full-resolution blocks."""
    return AutoencoderTiny(
        encoder_block_out_channels=(width,) * 4,
        decoder_block_out_channels=(width,) * 4,
        num_encoder_blocks=(0, 1, 2, 2),
        num_decoder_blocks=(2, 3, 3, 0),
        latent_channels=latent_channels,
        scaling_factor=1.0,
    ).to(memory_format=torch.channels_last)


def resume_decoder(folder: Path) -> AutoencoderTiny:
    """Load an autoencoder and freeze its encoder: latents, and the models trained on them, stay as they are."""
    vae = AutoencoderTiny.from_pretrained(folder).to(memory_format=torch.channels_last)
    vae.encoder.requires_grad_(False)
    return vae


def to_tensor(images: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W] in [-1, 1], channels last in memory."""
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    return tensor.contiguous(memory_format=torch.channels_last)


def _crop(image: NDArray[np.uint8], sample: Sample, rng: np.random.Generator) -> NDArray[np.uint8]:
    x0, y0, x1, y1 = sample.instances[int(rng.integers(sample.level))].box
    corner = [int(rng.uniform(a, b) * SIZE) - CROP // 2 for a, b in ((y0, y1), (x0, x1))]
    top, left = (int(np.clip(c, 0, SIZE - CROP)) for c in corner)
    return image[top : top + CROP, left : left + CROP]


def make_batch(step: int, batch_size: int, seed: int = 1, **layout: Unpack[LayoutSettings]) -> torch.Tensor:
    """Return [batch_size, 3, 64, 64] crops of fresh scenes, two of each; `layout`: settings of `LayoutSampler`."""
    rng = np.random.default_rng((seed, step))
    layouts = LayoutSampler(int(rng.integers(1 << 31)), **layout)
    crops: list[NDArray[np.uint8]] = []
    while len(crops) < batch_size:
        sample = layouts.sample()
        image = render(sample, int(rng.integers(1 << 31)))
        crops += [_crop(image, sample, rng) for _ in range(2)]
    return to_tensor(np.stack(crops[:batch_size]))


class AutoencoderLoss(torch.nn.Module):
    """Wraps the autoencoder so that encoding, noising, decoding and looking are one forward under autocast.

    Args:
        latent_noise: standard deviation of the noise on the latents.
        eye: scene encoder that compares what is decoded with what it was; None compares pixels alone.
        perceptual: weight of that comparison in the loss.
    """

    def __init__(
        self,
        vae: AutoencoderTiny,
        latent_noise: float = 0.08,
        eye: SceneEncoder | None = None,
        perceptual: float = 0.0,
    ) -> None:
        super().__init__()
        self.vae, self.latent_noise, self.eye, self.perceptual = vae, latent_noise, eye, perceptual

    def forward(self, images: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return reconstruction [-1, 1], latents, and the `perceptual_distance` of the reconstruction."""
        latents = self.vae.encoder(images)
        output = self.vae.decoder(latents + self.latent_noise * noise)
        apart = perceptual_distance(self.eye, output, images) if self.eye else output.new_zeros(())
        return output, latents, apart


def perceptual_distance(eye: SceneEncoder, output: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Squared difference of unit features, mean over places and layers, in 0..4 (Zhang et al. 2018, unweighted)."""
    with torch.no_grad():
        wanted = eye.layers(images)
    apart = [
        (normalize(a.float(), dim=1) - normalize(b.float(), dim=1)).square().sum(1).mean()
        for a, b in zip(eye.layers(output), wanted, strict=True)
    ]
    return torch.stack(apart).mean()


def loss_fn(module: torch.nn.Module, images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """L1 + 4 x squared error + 0.01 x (deviation of latent mean and variance from 0 and 1) + the perceptual part."""
    count, _, height, width = images.shape
    noise = torch.randn(count, LATENT_CHANNELS, height // 8, width // 8, generator=rng)
    output, latents, apart = module(images, noise.to(images.device))
    error = output.float() - images
    latents = latents.float()
    mean, variance = latents.mean((0, 2, 3)), latents.var((0, 2, 3))
    spread = 0.01 * (mean.square() + (variance - 1).square()).mean()
    return error.abs().mean() + 4 * error.square().mean() + spread + module.perceptual * apart


def psnr(vae: AutoencoderTiny, count: int = 64, seed: int = 990_000) -> tuple[float, NDArray[np.uint8]]:
    """Return the PSNR in dB over `count` held-out scenes, and a sheet of 8 scenes above their reconstructions."""
    layouts = LayoutSampler(seed)
    scenes = np.stack([render(layouts.sample(), seed + i) for i in range(count)])
    with torch.no_grad():
        output = torch.cat([vae.decoder(vae.encoder(part)) for part in to_tensor(scenes).split(16)])
    decoded = ((output.clamp(-1, 1).permute(0, 2, 3, 1).numpy() + 1) * 127.5).round().astype(np.uint8)
    error = np.square(scenes.astype(np.float64) - decoded).mean((1, 2, 3))
    sheet = np.vstack([np.hstack(list(scenes[:8])), np.hstack(list(decoded[:8]))])
    return float(np.mean(10 * np.log10(255**2 / error))), sheet


def on_sample(out: Path, module: AutoencoderLoss, step: int) -> dict[str, float]:
    """Write a sample sheet and the current weights; return the PSNR."""
    value, sheet = psnr(module.vae)
    Image.fromarray(sheet).save(out / f"sheet-{step:06d}.png")
    module.vae.save_pretrained(out / "vae")
    return {"psnr": round(value, 2)}
