"""One batch on its way through the denoising steps: what hooks may read, and the pieces of a step."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from torch import Tensor, nn

from radl_model.engine.layouts import Layout
from radl_model.engine.roles import Grid, bare
from radl_model.engine.texts import Texts

if TYPE_CHECKING:
    from radl_model.engine.attention import AttentionStore
    from radl_model.engine.protocol import Session

Generators = torch.Generator | list[torch.Generator] | None


@dataclass(frozen=True)
class UNetCall:
    """One forward of the UNet.

    Attributes:
        sample: [R, C, H, W], scaled as the UNet wants it; with guidance the first half are the unconditional rows.
        timestep: of all rows.
        texts: [R, T, D].
        extra: further arguments of the UNet by name, e.g. `cross_attention_kwargs`.
    """

    sample: Tensor
    timestep: Tensor
    texts: Tensor
    extra: Mapping[str, Any] = field(default_factory=dict)

    def with_extra(self, **extra: object) -> UNetCall:
        """Return the call with more arguments."""
        return replace(self, extra={**self.extra, **extra})


@dataclass
class Run:
    """A batch of B images that is denoised together, and the settings it is denoised with.

    Attributes:
        layouts: B layouts.
        texts: [2B, T, D] states of the negative prompts and the prompts with guidance, [B, T, D] without.
        guidance_scale, guidance_rescale: of classifier-free guidance.
        timesteps: of the scheduler, one a step that is taken; steps: how many were asked for (PNDM takes one more).
        grid: (height, width) of the latents.
        encoder: encodes phrases and finds them in prompts.
        unet, scheduler: of the base.
        generators: as given, one an image or one for all.
        active_fraction: share of the steps with layout control that the caller asks for, the method's own when None.
        max_rows: most rows of one UNet call in `Step.predict`; None for no limit.
        stopped: no further step is taken once this is True.
    """

    layouts: tuple[Layout, ...]
    texts: Tensor
    guidance_scale: float
    guidance_rescale: float
    timesteps: Tensor
    steps: int
    grid: Grid
    encoder: Texts
    unet: nn.Module
    scheduler: Any
    generators: Generators = None
    active_fraction: float | None = None
    max_rows: int | None = None
    unet_extra: Mapping[str, Any] = field(default_factory=dict)
    step_extra: Mapping[str, Any] = field(default_factory=dict)
    session: Session | None = None
    stopped: bool = False

    @property
    def images(self) -> int:
        return len(self.layouts)

    @property
    def total(self) -> int:
        """Number of steps that are taken."""
        return len(self.timesteps)

    @property
    def guided(self) -> bool:
        """Whether each image has an unconditional row too, in the first half of the UNet's batch."""
        distilled = getattr(self.unet.config, "time_cond_proj_dim", None) is not None
        return self.guidance_scale > 1 and not distilled

    @property
    def prompt_states(self) -> Tensor:
        """[B, T, D] states of the prompts alone."""
        return self.texts[-self.images :]

    @property
    def negative_states(self) -> Tensor:
        """[B, T, D] states of the negative prompts; those of the prompts when there is no guidance."""
        return self.texts[: self.images]

    @property
    def device(self) -> torch.device:
        return self.texts.device

    def rng(self, image: int, purpose: str) -> torch.Generator:
        """Return a new CPU generator that depends on the image's seed and on `purpose` alone."""
        if isinstance(self.generators, list):
            seed = self.generators[image].initial_seed()
        else:
            seed = (torch.initial_seed() if self.generators is None else self.generators.initial_seed()) + image
        digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
        return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass(frozen=True)
class Step:
    """One denoising step of a run.

    Attributes:
        index: from 0 to `run.total` - 1; timestep: its entry of the scheduler's list.
    """

    run: Run
    index: int
    timestep: Tensor

    @property
    def alpha_bar(self) -> float:
        """Share of the signal's variance at this timestep, 0 to 1; sigmas are interpolated between whole timesteps."""
        known, t = self.run.scheduler.alphas_cumprod.double(), float(self.timestep)
        low = int(t)
        if low == t:
            return float(known[low])
        sigma = ((1 - known[low : low + 2]) / known[low : low + 2]).sqrt()
        return float(1 / (1 + torch.lerp(sigma[0], sigma[1], t - low) ** 2))

    @property
    def sigma(self) -> float:
        """Noise over signal, sqrt((1 - alpha_bar) / alpha_bar); infinite where no signal is left."""
        share = self.alpha_bar
        return float("inf") if share == 0 else ((1 - share) / share) ** 0.5

    def scale(self, latents: Tensor) -> Tensor:
        """Return latents as the UNet sees them: schedulers that work with sigmas (Euler, LMS) divide, others do not."""
        scheduler = self.run.scheduler
        if not hasattr(scheduler, "scale_model_input"):
            return latents
        scaled: Tensor = scheduler.scale_model_input(latents, self.timestep)
        return scaled

    def unscale(self, seen: Tensor) -> Tensor:
        """Return the latents that `scale` turns into `seen`."""
        return seen / self.scale(torch.ones((), device=seen.device, dtype=seen.dtype))

    def predict(self, latents: Tensor, texts: Tensor | None = None) -> Tensor:
        """Return the guided prediction of the UNet, [M, C, H, W].

        Args:
            latents: [M, C, H, W], of the B images or of any other rows.
            texts: their states, [2M, T, D] (unconditional ones first) with guidance, else [M, T, D]; the run's own when
                None, which fit the B images.
        """
        run, texts = self.run, self.run.texts if texts is None else texts
        rows = 2 if run.guided else 1
        if run.max_rows is None or rows * len(latents) <= run.max_rows:
            return self._guided(latents, texts)
        each = max(1, run.max_rows // rows)
        halves = [part.split(each) for part in (texts.chunk(2) if run.guided else (texts,))]
        chunks = zip(latents.split(each), *halves, strict=True)
        return torch.cat([self._guided(part, torch.cat(states)) for part, *states in chunks])

    def advance(self, predicted: Tensor, latents: Tensor) -> Tensor:
        """Return the scheduler's next latents. Schedulers with a memory (PNDM, LMS, DPM) bear one call a step."""
        run = self.run
        stepped: tuple[Tensor] = run.scheduler.step(
            predicted, self.timestep, latents, **run.step_extra, return_dict=False
        )
        return stepped[0]

    def maps(self, seen: Tensor, store: AttentionStore) -> dict[str, Tensor]:
        """Run the conditional rows up to the last layer of `store` and return its maps, [B, heads, cells, T] a layer.

        With an input that requires a gradient, and inside `torch.enable_grad`, the maps hang in the graph. Parameters
        do not: they are frozen meanwhile.

        Args:
            seen: [B, C, H, W], what the UNet sees: `step.scale(latents)`.
        """
        run = self.run
        call = UNetCall(seen, self.timestep, run.prompt_states, run.unet_extra)
        # What stops the forward half-way is an exception, which a compiled UNet would not let through.
        return store.record(bare(run.unet), lambda unet: _forward(unet, call))

    def _guided(self, latents: Tensor, texts: Tensor) -> Tensor:
        run = self.run
        sample = self.scale(torch.cat([latents] * 2) if run.guided else latents)
        call = UNetCall(sample, self.timestep, texts, run.unet_extra)
        unet: Callable[[UNetCall], Tensor] = lambda call: _forward(run.unet, call)  # noqa: E731
        noise = unet(call) if run.session is None else run.session.around_unet(self, call, unet)
        if not run.guided:
            return noise
        without, text = noise.chunk(2)
        noise = without + run.guidance_scale * (text - without)
        if run.guidance_rescale > 0:
            noise = rescale_noise_cfg(noise, text, guidance_rescale=run.guidance_rescale)
        return noise


def _forward(unet: nn.Module, call: UNetCall) -> Tensor:
    out: tuple[Tensor] = unet(
        call.sample, call.timestep, encoder_hidden_states=call.texts, **call.extra, return_dict=False
    )
    return out[0]
