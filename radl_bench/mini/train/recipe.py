"""Stage "recipe": the base, aligned with the encoder, on a text tower that already reads (the recipe of the mini base).

What differs from "base": the text tower is taught first and frozen (`text_tower.py`); the middle of the UNet is held to
the features of the clean scene (`encoder.py`; Yu et al. 2024, arXiv 2410.06940); timesteps are stratified, and the
share of noisy ones is annealed to nothing; matrices may learn with Muon.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import CLIPTextModel, CLIPTokenizer

from radl_bench.errors import MissingData
from radl_bench.mini.train import base as stage
from radl_bench.mini.train.cache import LatentPool
from radl_bench.mini.train.config import BASE, LEARNS, TEXT, VAE, present, sized, takes, trained
from radl_model.train.adapter_loss import weighted_error
from radl_model.train.layouts import EMPTY_SHARE
from radl_model.train.loop import Loop, LoopConfig


class AlignedBase(nn.Module):
    """UNet and frozen text tower; a forward also gives the projected features of the middle [B, C, h/2, w/2].

    Args:
        goal_width: channels of the encoder's features.
    """

    def __init__(self, unet: Any, text_encoder: CLIPTextModel, goal_width: int, hidden: int = 256) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder.requires_grad_(False).eval()
        width = unet.config.block_out_channels[-1]
        self.projection = nn.Sequential(nn.Conv2d(width, hidden, 1), nn.SiLU(), nn.Conv2d(hidden, goal_width, 1))
        self._middle: Tensor | None = None
        unet.mid_block.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._middle = output

    def train(self, mode: bool = True) -> AlignedBase:
        """The tower stays in evaluation mode."""
        super().train(mode)
        self.text_encoder.eval()
        return self

    def forward(self, latents: Tensor, timesteps: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            states = self.text_encoder(ids).last_hidden_state
        velocity = self.unet(latents.contiguous(memory_format=torch.channels_last), timesteps, states).sample
        assert self._middle is not None
        return velocity, self.projection(self._middle)


def alignment_loss(projected: Tensor, goal: Tensor) -> Tensor:
    """1 - cosine of the angle between the features of a cell, mean over images and cells; [B, C, h, w] both."""
    return (1 - (normalize(projected.float(), dim=1) * normalize(goal.float(), dim=1)).sum(1)).mean()


def stratified_timesteps(count: int, rng: torch.Generator, noisy: float = 0.0) -> Tensor:
    """int64 [count] in 0..999, one of each count-th part of the schedule; a share `noisy` moved to 800..999.

    Stratified draws spread a batch evenly, so its loss varies less from step to step than with independent draws.
    """
    drawn = (torch.arange(count) + torch.rand(count, generator=rng)) / count
    moved = torch.rand(count, generator=rng) < noisy
    drawn = torch.where(moved, 0.8 + 0.2 * drawn, drawn)
    return (drawn * 999.999).long()


@dataclass(frozen=True)
class Recipe:
    """What the loss adds to the velocity's error.

    Attributes:
        align: weight of the alignment; 0 leaves it out.
        noisy: share of the timesteps in 800..999 at the start, annealed linearly to 0 at step `anneal`.
        min_snr: gamma of min-SNR (Hang et al. 2023, arXiv 2303.09556) for velocity; 0 leaves it out.
    """

    align: float = 0.5
    noisy: float = 0.6
    anneal: int = 1
    min_snr: float = 0.0


class Lesson(stage.Lesson):
    """A lesson that a training takes from step `first` up to step `last`."""

    SETTINGS: ClassVar = stage.Lesson.SETTINGS | {"first", "last"}

    def __init__(self, *args: Any, first: int = 0, last: int = 1 << 60, **options: Any) -> None:
        super().__init__(*args, **options)
        self.first, self.last = first, last
        if self.pool.features is None:
            raise MissingData("These latents have no features to align with. Set encoder_folder in the cache's config.")


Batch = tuple[Tensor, Tensor, Tensor, Tensor, int]


class RecipeTraining:
    """Batches and loss of the stage."""

    def __init__(self, lessons: list[Lesson], tokenizer: CLIPTokenizer, seed: int, recipe: Recipe) -> None:
        self.lessons, self.seed, self.recipe = lessons, seed, recipe
        self.empty = stage.token_ids(tokenizer, [""])
        self.scheduler = stage.build_scheduler()

    def lesson_of(self, step: int) -> Lesson:
        """The lesson whose turn it is, by the shares of those that are on."""
        on = [lesson for lesson in self.lessons if lesson.first <= step < lesson.last]
        shares = np.array([lesson.share for lesson in on])
        return on[int(np.random.default_rng((self.seed, step, 2)).choice(len(on), p=shares / shares.sum()))]

    def make_batch(self, step: int) -> Batch:
        """Latents [B, C, h, w], ids [B, T], weights [B, 1, h, w], features [B, F, h/2, w/2], step."""
        lesson = self.lesson_of(step)
        rows = lesson.pool.draw(step, lesson.batch_size, self.seed)
        assert lesson.pool.features is not None
        latents, features = lesson.pool.latents[rows].float(), lesson.pool.features[rows].float()
        return latents, lesson.ids[rows].long(), lesson.weights[rows].float(), features, step

    def noisy(self, step: int) -> float:
        """Share of the noisy timesteps at a step."""
        return self.recipe.noisy * max(0.0, 1 - step / max(self.recipe.anneal, 1))

    def loss(self, module: nn.Module, batch: Batch, rng: torch.Generator) -> Tensor:
        """Weighted squared error of the velocity, plus the alignment; a tenth of the prompts is empty."""
        latents, ids, weights, features, step = batch
        device = latents.device
        empty = (torch.rand(len(ids), 1, generator=rng) < EMPTY_SHARE).to(device)
        noise = torch.randn(latents.shape, generator=rng).to(device)
        timesteps = stratified_timesteps(len(ids), rng, self.noisy(step)).to(device)
        noised = self.scheduler.add_noise(latents, noise, timesteps)
        nothing = self.empty[:, : ids.shape[1]].to(device)
        velocity, middle = module(noised, timesteps, torch.where(empty, nothing, ids))
        if self.recipe.min_snr:
            weights = weights * self._snr_weights(timesteps)
        error = weighted_error(velocity, self.scheduler.get_velocity(latents, noise, timesteps), weights)
        return error + self.recipe.align * alignment_loss(middle, features) if self.recipe.align else error

    def _snr_weights(self, timesteps: Tensor) -> Tensor:
        alpha = self.scheduler.alphas_cumprod.to(timesteps.device)[timesteps].view(-1, 1, 1, 1)
        snr = alpha / (1 - alpha).clamp(min=1e-8)
        return snr.clamp(max=self.recipe.min_snr) / (snr + 1)


def on_sample(
    out: Path, tokenizer: CLIPTokenizer, vae_folder: Path, pool: LatentPool, module: AlignedBase, step: int
) -> dict[str, float]:
    """As the stage "base": a sheet, the pipeline folder, how much a wrong class or colour costs."""
    return stage.on_sample(out, tokenizer, vae_folder, pool, stage.TextToLatent(module.unet, module.text_encoder), step)


def build(settings: dict[str, Any], config: LoopConfig) -> tuple[AlignedBase, CLIPTokenizer, RecipeTraining]:
    """Return what a recipe's table describes: the module, its tokenizer, batches and loss."""
    tokenizer = stage.build_tokenizer()
    if "init_from" in settings:
        start = stage.load(trained(settings["init_from"], *BASE))
        unet, text_encoder = start.unet, start.text_encoder
    else:
        present(settings, ("model", "text"), "The config of the recipe stage, which has no 'init_from',")
        unet = stage.build_unet(tuple(settings["model"]["channels"]))
        text_encoder = CLIPTextModel.from_pretrained(trained(settings["text"], *TEXT), torch_dtype=torch.float32)
    lessons = stage.read_lessons(Lesson, settings["lessons"], tokenizer, config.batch_size)
    width = lessons[0].pool.features.shape[1]  # type: ignore[union-attr]
    module = AlignedBase(unet, text_encoder, width)
    stage.attend_explicitly(module)  # type: ignore[arg-type]
    recipe = Recipe(**settings.get("recipe", {}))
    return module, tokenizer, RecipeTraining(lessons, tokenizer, settings.get("data_seed", 2), recipe)


@takes(
    "recipe",
    needs={"loop", "lessons", "vae_folder"},
    may=LEARNS | {"init_from", "text", "model", "recipe"},
    tables={"model": {"channels"}, "recipe": Recipe.__dataclass_fields__},
    also=sized,
)
def train(settings: dict[str, Any], out: Path, minutes: float | None) -> None:
    """Train the base by the recipe; leaves `base/`, a Stable Diffusion pipeline folder."""
    torch.manual_seed(settings.get("init_seed", 0))
    config = LoopConfig.from_dict(settings["loop"])
    module, tokenizer, training = build(settings, config)
    snapshot = partial(on_sample, out, tokenizer, trained(settings["vae_folder"], *VAE), training.lessons[0].pool)
    loop = Loop(module, training.make_batch, training.loss, config, out, snapshot)
    loop.resume()
    loop.run(minutes)
