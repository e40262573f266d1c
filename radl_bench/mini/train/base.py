"""Stage 2: the text-only latent diffusion model of the mini world, shaped like Stable Diffusion v1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image
from torch import nn
from torch.nn.functional import mse_loss
from transformers import CLIPTextModel, CLIPTokenizer

from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.train.autoencoder import LATENT_CHANNELS
from radl_bench.mini.train.cache import LatentPool
from radl_bench.mini.train.config import only, present
from radl_bench.mini.train.emphasis import thing_weights
from radl_bench.mini.train.text import build_text_encoder, build_tokenizer, token_ids
from radl_bench.types import COLORS
from radl_model.train.adapter_loss import weighted_error
from radl_model.train.precision import autocast

SHEET_PROMPTS = (
    "a photo of a red apple", "a photo of a blue elephant", "a photo of a black cat", "a photo of a brown chair",
    "a photo of a yellow bus", "a photo of a green bicycle", "a photo of a white toilet", "a photo of a blue clock",
    "a photo of a green car and a yellow banana", "a photo of a white bus and a red umbrella",
    "a photo of a blue laptop and a brown dog", "a red cup and a black book", "a photo of a yellow teddy bear",
    "a photo of a red scissors", "a photo of a pizza", "a photo of a blue cow and a red cow and a green cow",
)  # fmt: skip


def build_unet(channels: tuple[int, ...] = (128, 256), text_width: int = 192, heads: int = 4) -> UNet2DConditionModel:
    """Return an untrained UNet with the tail of SD v1's: attention at 16x16 down and up, and in the 8x8 middle."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=heads,  # diffusers reads this as the number of heads
        norm_num_groups=16,
    ).to(memory_format=torch.channels_last)


def build_scheduler() -> DDIMScheduler:
    """SD's noise schedule, rescaled to end in pure noise (a small image keeps its mean colour otherwise); velocity."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


class TextToLatent(nn.Module):
    """UNet and text tower as one module: (noised latents, timesteps, token ids) -> velocity."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet, self.text_encoder = unet, text_encoder

    def forward(self, latents: torch.Tensor, timesteps: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        states = self.text_encoder(ids).last_hidden_state
        return self.unet(latents.contiguous(memory_format=torch.channels_last), timesteps, states).sample


def draw_timesteps(count: int, rng: torch.Generator, noisy: float = 0.0) -> torch.Tensor:
    """Half uniform, half around the middle of the schedule; int64 [count] in 0..999.

    Args:
        noisy: this share is drawn from 800..999 instead, where nothing but the words tells what there is to draw.
    """
    uniform = torch.rand(count, generator=rng)
    middle = torch.sigmoid(torch.randn(count, generator=rng))
    drawn = torch.where(torch.rand(count, generator=rng) < 0.5, uniform, middle)
    if noisy:
        drawn = torch.where(
            torch.rand(count, generator=rng) < noisy, 0.8 + 0.2 * torch.rand(count, generator=rng), drawn
        )
    return (drawn * 999.999).long()


class Lesson:
    """Images of one size, drawn in batches.

    Args:
        pool: latents with samples.
        batch_size: images a step.
        share: how often a step is of this lesson, against the others' shares.
        tokens: cuts the padding, a third of a step's work; the tower is causal, so the words keep their states.
        things, power: see `thing_weights`.
    """

    SETTINGS: ClassVar = {"latents", "batch_size", "share", "tokens", "things", "power"}

    def __init__(
        self,
        pool: LatentPool,
        tokenizer: CLIPTokenizer,
        batch_size: int,
        share: float = 1.0,
        tokens: int | None = None,
        things: float = 0.0,
        power: float = 0.0,
    ) -> None:
        self.pool, self.batch_size, self.share = pool, batch_size, share
        self.ids = token_ids(tokenizer, [s.prompt for s in pool.samples]).int()[:, :tokens]
        self.weights = thing_weights(pool.samples, pool.latents.shape[-1], things, power)


AnyLesson = TypeVar("AnyLesson", bound=Lesson)


def read_lessons(
    kind: type[AnyLesson], tables: Sequence[Mapping[str, Any]], tokenizer: CLIPTokenizer, batch_size: int
) -> list[AnyLesson]:
    """Return the lessons of a config's `[[lessons]]`; raises `UsageError` for a setting that the kind does not take."""
    for table in tables:
        only(table, kind.SETTINGS, "setting of a lesson")
        present(table, ("latents",), "A lesson")
    rows = [{"batch_size": batch_size, **table} for table in tables]
    return [kind(LatentPool(*map(Path, row.pop("latents"))), tokenizer, **row) for row in rows]


class BaseTraining:
    """Batches and loss of the text-only stage; `noisy`: see `draw_timesteps`."""

    def __init__(self, lessons: list[Lesson], tokenizer: CLIPTokenizer, seed: int, noisy: float = 0.0) -> None:
        self.lessons, self.seed, self.noisy = lessons, seed, noisy
        shares = np.array([lesson.share for lesson in lessons])
        self.shares = shares / shares.sum()
        self.empty = token_ids(tokenizer, [""])
        self.scheduler = build_scheduler()

    def make_batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return latents [B, C, h, w], token ids [B, T] and weights [B, 1, h, w] of the lesson whose turn it is."""
        turn = int(np.random.default_rng((self.seed, step, 2)).choice(len(self.lessons), p=self.shares))
        lesson = self.lessons[turn]
        indices = lesson.pool.draw(step, lesson.batch_size, self.seed)
        return lesson.pool.latents[indices].float(), lesson.ids[indices].long(), lesson.weights[indices].float()

    def loss(
        self, module: nn.Module, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], rng: torch.Generator
    ) -> torch.Tensor:
        """Mean squared error of the velocity; a tenth of the prompts is dropped for classifier-free guidance."""
        latents, ids, weights = batch
        device = latents.device
        dropped = (torch.rand(len(ids), 1, generator=rng) < 0.1).to(device)
        noise = torch.randn(latents.shape, generator=rng).to(device)
        timesteps = draw_timesteps(len(ids), rng, self.noisy).to(device)
        noised = self.scheduler.add_noise(latents, noise, timesteps)
        velocity = module(noised, timesteps, torch.where(dropped, self.empty[:, : ids.shape[1]].to(device), ids))
        return weighted_error(velocity, self.scheduler.get_velocity(latents, noise, timesteps), weights)


@torch.no_grad()
def sensitivity(
    module: TextToLatent, tokenizer: CLIPTokenizer, pool: LatentPool, timestep: int = 900
) -> dict[str, float]:
    """Return how much the loss grows, in per cent, when the caption names a wrong class or a wrong colour.

    Measured on up to 64 single coloured things of the pool. A model that does not read the class has 0: this tells
    long before a sample sheet does whether shapes are being learnt.
    """
    rng = np.random.default_rng(0)
    chosen = [i for i, s in enumerate(pool.samples) if s.level == 1 and s.instances[0].color][:64]
    things = [pool.samples[i].instances[0] for i in chosen]
    captions = {
        "right": [f"a photo of a {t.color} {t.category}" for t in things],
        "class": [f"a photo of a {t.color} {rng.choice([c for c in CATEGORIES if c != t.category])}" for t in things],
        "colour": [f"a photo of a {rng.choice([c for c in COLORS if c != t.color])} {t.category}" for t in things],
    }
    latents = pool.latents[chosen].float()
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    steps = torch.full((len(chosen),), timestep)
    scheduler = build_scheduler()
    noised, target = scheduler.add_noise(latents, noise, steps), scheduler.get_velocity(latents, noise, steps)
    with autocast():
        loss = {
            k: float(mse_loss(module(noised, steps, token_ids(tokenizer, v)).float(), target))
            for k, v in captions.items()
        }
    return {f"wrong_{k}": round(100 * (loss[k] / loss["right"] - 1), 2) for k in ("class", "colour")}


def pipeline(module: TextToLatent, tokenizer: CLIPTokenizer, vae: AutoencoderTiny) -> StableDiffusionPipeline:
    """Return the pipeline that `StableDiffusionPipeline.from_pretrained` loads again."""
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=module.text_encoder,
        tokenizer=tokenizer,
        unet=module.unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def sheet(pipe: StableDiffusionPipeline, side: int = 128, steps: int = 25, guidance: float = 4.0) -> Image.Image:
    """Return the images of `SHEET_PROMPTS`, `side` pixels a side, eight a row, seeds 0..15."""
    generators = [torch.Generator().manual_seed(i) for i in range(len(SHEET_PROMPTS))]
    with autocast():
        images = pipe(
            list(SHEET_PROMPTS), height=side, width=side, num_inference_steps=steps, guidance_scale=guidance,
            generator=generators, output_type="np",
        ).images  # fmt: skip
    rows = [np.hstack(list(images[i : i + 8])) for i in range(0, len(images), 8)]
    return Image.fromarray((np.vstack(rows) * 255).astype(np.uint8))


def build(settings: dict[str, Any]) -> tuple[TextToLatent, CLIPTokenizer]:
    """Return the untrained module and its tokenizer."""
    tokenizer = build_tokenizer()
    text_encoder = build_text_encoder(tokenizer)
    return TextToLatent(build_unet(tuple(settings["channels"])), text_encoder), tokenizer


def load(folder: Path) -> TextToLatent:
    """Return the module of a trained pipeline folder, in float32, to train it further."""
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32)
    text_encoder = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", torch_dtype=torch.float32)
    return TextToLatent(unet.to(memory_format=torch.channels_last).train(), text_encoder.train())


def attend_explicitly(module: TextToLatent) -> TextToLatent:
    """Compute attention as two products on a CPU, where the backward of the fused kernel takes a third of a step."""
    if not torch.cuda.is_available():
        module.unet.set_attn_processor(AttnProcessor())
        module.text_encoder.set_attn_implementation("eager")
    return module


def on_sample(
    out: Path, tokenizer: CLIPTokenizer, vae_folder: Path, pool: LatentPool, module: TextToLatent, step: int
) -> dict[str, float]:
    """Write a sample sheet and the pipeline folder `out/base` (float16); return `sensitivity` on the pool."""
    vae = AutoencoderTiny.from_pretrained(vae_folder)
    module.eval()
    sheet(pipeline(module, tokenizer, vae), 8 * pool.latents.shape[-1]).save(out / f"sheet-{step:06d}.png")
    halves = [deepcopy(part).half() for part in (vae, module.text_encoder, module.unet)]
    saved = pipeline(TextToLatent(halves[2], halves[1]), tokenizer, halves[0])
    saved.save_pretrained(out / "base", safe_serialization=True)
    (out / "base" / "scale.json").write_text('{"scale": "mini"}\n')  # what it draws is of the sprite world
    for config in (out / "base").glob("*/config.json"):
        # transformers would load the text tower in the type of the file, and half precision does not run on every CPU.
        text = config.read_text().replace('"dtype": "float16"', '"dtype": "float32"')
        # Where an earlier lesson was read from says nothing to a reader of the weights.
        config.write_text(re.sub(r' *"_name_or_path": "[^"]*",\n', "", text))
    measured = sensitivity(module, tokenizer, pool)
    module.train()
    return measured
