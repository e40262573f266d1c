"""How far into denoising RaDL must be helped: it starts from a rendered scene under noise instead of pure noise.

    radl-bench generate coco-mig --level 6 --method reports/limits.py:FromScene --set start=0.5 --runs work/limits

With `start=1` only the autoencoder acts, with `start=0` it is RaDL as it ships. Where the score falls between them is
where the denoiser loses the scene: near 1 its details, near 0 what there is to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from diffusers import DDIMScheduler
from PIL.Image import Image

from radl_bench.errors import UsageError
from radl_bench.generators.radl import RadlGenerator
from radl_bench.mini.scenes import render
from radl_bench.types import Sample
from radl_model.engine.engine import Inputs, single_thread


class LateScheduler(DDIMScheduler):
    """DDIM that leaves out the first `skip` steps."""

    skip = 0

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        super().set_timesteps(*args, **kwargs)
        self.timesteps = self.timesteps[self.skip :]


class FromScene(RadlGenerator):
    """RaDL on the mini model from the rendered scene of each sample, under the noise of the step it starts at.

    Args:
        start: share of the steps left out, 0..1.
        base: as of `RadlGenerator`.

    Raises:
        UsageError: `start` is not in 0..1.
    """

    name = "radl-from-scene"

    def __init__(self, model: str = "mini", start: float | str = 0.5, **base: Any) -> None:
        super().__init__(model, **base)
        self.params["start"] = float(start)
        if not 0 <= self.params["start"] <= 1:
            raise UsageError(f"start={start} must lie in [0, 1].")
        steps = self.params["num_inference_steps"]
        self.pipe.scheduler = LateScheduler.from_config(self.pipe.scheduler.config)
        self.pipe.scheduler.skip = round(self.params["start"] * steps)
        # The pipeline counts its steps from where it starts.
        self.active = max(0.0, self.params["active_fraction"] - self.pipe.scheduler.skip / steps)

    def generate(self, samples: Sequence[Sample], seeds: Sequence[int]) -> list[Image]:
        """Return one image a (sample, seed); scene and noise are of that seed."""
        with single_thread():
            return [self._one(sample, seed) for sample, seed in zip(samples, seeds, strict=True)]

    def _one(self, sample: Sample, seed: int) -> Image:
        settings = replace(self._run_settings(), active_fraction=self.active)
        latents = self.engine.denoise(
            self._layouts([sample]), settings, self.adapter, Inputs(latents=self._start(sample, seed))
        )
        images = cast("list[Image]", self.engine.decode(latents)[0])
        return images[0]

    @torch.no_grad()
    def _start(self, sample: Sample, seed: int) -> torch.Tensor:
        """Latents [1, C, h, w]: the scene's, under the noise that pure sampling of the seed would start from."""
        scheduler, vae = self.pipe.scheduler, self.pipe.vae
        picture = torch.from_numpy(np.array(render(sample, seed))).permute(2, 0, 1)[None].float() / 127.5 - 1
        latents = vae.encode(picture.to(vae.device, vae.dtype)).latents * vae.config.scaling_factor
        noise = torch.randn(latents.shape, generator=torch.Generator("cpu").manual_seed(seed)).to(latents)
        scheduler.set_timesteps(self.params["num_inference_steps"])
        if not len(scheduler.timesteps):
            return latents
        noised: torch.Tensor = scheduler.add_noise(latents, noise, scheduler.timesteps[:1].cpu())
        return noised
