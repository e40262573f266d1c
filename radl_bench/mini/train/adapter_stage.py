"""Stage 3: a layout adapter on the frozen base, from cached latents with their layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from radl_bench.errors import UsageError
from radl_bench.mini.layouts import LayoutSampler
from radl_bench.mini.train.cache import LatentPool
from radl_bench.mini.train.emphasis import thing_weights
from radl_bench.mini.train.text import token_ids
from radl_bench.types import Sample
from radl_model.checkpoints.adapters import save_adapter
from radl_model.pipelines.pipeline import RaDLPipeline
from radl_model.train.adapted import AdaptedUNet
from radl_model.train.adapter_loss import adapter_loss
from radl_model.train.batch import AdapterBatch, TextBank
from radl_model.train.draws import Draws, Part
from radl_model.train.layouts import EMPTY_SHARE
from radl_model.train.precision import autocast

MAX_INSTANCES = 6


class AdapterTraining:
    """Batches and loss of the adapter stage.

    Args:
        pipe: the frozen base.
        pool: latents with samples.
        options: keyword arguments of `adapter_loss` (`first_timestep`, and those of the kind of adapter).
        things, power: see `thing_weights`.
        empty_share: share of the prompts that are emptied, 0 to 1.

    Raises:
        UsageError: `empty_share` is no such share.
    """

    def __init__(
        self,
        pipe: StableDiffusionPipeline,
        pool: LatentPool,
        batch_size: int,
        seed: int,
        options: dict[str, Any],
        things: float = 0.0,
        empty_share: float = EMPTY_SHARE,
        power: float = 0.0,
    ) -> None:
        if not 0 <= empty_share <= 1:
            raise UsageError(f"empty_share={empty_share} must lie between 0 and 1.")
        self.pool, self.batch_size, self.seed, self.options = pool, batch_size, seed, options
        self.empty_share = empty_share
        self.scheduler = pipe.scheduler
        self.things, self.power = things, power
        self.texts = TextBank(pipe.text_encoder)
        self.ids: dict[str, torch.Tensor] = {}
        self.tokenizer = pipe.tokenizer

    def _tokens(self, texts: list[str]) -> torch.Tensor:
        new = sorted({text for text in texts if text not in self.ids})
        if new:
            self.ids.update(zip(new, token_ids(self.tokenizer, new), strict=True))
        return torch.stack([self.ids[text] for text in texts])

    def _layout(self, samples: list[Sample]) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        boxes = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(len(samples), MAX_INSTANCES, 1)
        valid = torch.zeros(len(samples), MAX_INSTANCES, dtype=torch.bool)
        phrases = []
        for row, sample in enumerate(samples):
            valid[row, : sample.level] = True
            boxes[row, : sample.level] = torch.tensor([i.box for i in sample.instances])
            phrases += [i.phrase for i in sample.instances] + [""] * (MAX_INSTANCES - sample.level)
        return boxes, valid, phrases

    def make_batch(self, step: int) -> AdapterBatch:
        """Return the batch of a step; a share of the prompts is empty."""
        indices = self.pool.draw(step, self.batch_size, self.seed)
        samples = [self.pool.samples[i] for i in indices]
        boxes, valid, phrases = self._layout(samples)
        keep = np.random.default_rng((self.seed, step, 1)).random(len(samples)) >= self.empty_share
        prompts = [s.prompt if kept else "" for s, kept in zip(samples, keep, strict=True)]
        verbs = [s.verbs for s in samples]
        return AdapterBatch(
            latents=self.pool.latents[indices].float(),
            prompt_ids=self._tokens(prompts),
            phrase_ids=self._tokens(phrases).unflatten(0, valid.shape),
            boxes=boxes,
            valid=valid,
            verb_ids=self._tokens(verbs),
            verb_valid=torch.tensor([bool(v) for v in verbs]),
            weights=thing_weights(samples, self.pool.latents.shape[-1], self.things, self.power).float(),
        )

    def loss(self, module: AdaptedUNet, batch: AdapterBatch, rng: torch.Generator) -> torch.Tensor:
        """See `adapter_loss`; autocast is set here because the UNet is not called through `module.forward`."""
        draws = Draws(rng, Part.whole(len(batch.latents)))
        with autocast(batch.latents.device.type):
            return adapter_loss(
                module.unet, module.adapter, batch, self.scheduler, draws, texts=self.texts, **self.options
            )


def held_out(count: int = 16, seed: int = 880_000) -> list[Sample]:
    """Layouts of 2 to 6 instances for sample sheets, apart from every training seed."""
    layouts = LayoutSampler(seed, level_weights=(0, 1, 1, 1, 1, 1), relations=0.1)
    return [layouts.sample() for _ in range(count)]


def sheet(base: Path, adapter: Path, steps: int = 24, guidance: float = 4.0) -> Image.Image:
    """Return 16 held-out layouts as the adapter draws them, boxes outlined."""
    pipe = RaDLPipeline.from_pretrained(base, adapter=adapter)
    pipe.set_progress_bar_config(disable=True)
    samples = held_out()
    with autocast():
        images = pipe(
            prompt=[s.prompt for s in samples],
            phrases=[[i.phrase for i in s.instances] for s in samples],
            boxes=[[i.box for i in s.instances] for s in samples],
            verbs=[s.verbs for s in samples],
            generator=[torch.Generator().manual_seed(i) for i in range(len(samples))],
            num_inference_steps=steps,
            guidance_scale=guidance,
        ).images
    return _grid(images, samples)


def _grid(images: list[Image.Image], samples: list[Sample], columns: int = 8) -> Image.Image:
    size = images[0].width
    grid = Image.new("RGB", (size * columns, size * -(-len(images) // columns)))
    for index, (image, sample) in enumerate(zip(images, samples, strict=True)):
        pen = ImageDraw.Draw(image)
        for instance in sample.instances:
            pen.rectangle([v * (size - 1) for v in instance.box], outline=(255, 0, 255))
        grid.paste(image, (index % columns * size, index // columns * size))
    return grid


def on_sample(out: Path, base: Path, module: AdaptedUNet, step: int) -> None:
    """Write the adapter as it ships (float16) and a sample sheet."""
    save_adapter(module.adapter, out / "adapter")
    sheet(base, out / "adapter").save(out / f"sheet-{step:06d}.png")
