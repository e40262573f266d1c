"""MultiDiffusion with regions (Bar-Tal et al., ICML 2023): phrases are denoised in their boxes, the results averaged.

In every step an image has one row of the prompt and one for each instance. All take the scheduler's step on their own,
and the next latent is their average, each weighted by its mask; the prompt holds where there is no box. In the first
steps ("bootstrapping") what lies outside a box is replaced by a plain colour under noise, so that the thing is drawn
inside. Written from the paper and a description of the release.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn

from radl_model.engine import Layout, Run, Session, Step
from radl_model.engine.roles import Grid
from radl_model.errors import UsageError
from radl_model.guidance.cells import first_pixel, mask_of

COLOURS = 20
"""Plain backgrounds to choose from."""
COLOUR_SEED = 0
MEMORYLESS = ("DDIMScheduler", "EulerDiscreteScheduler")
"""Schedulers whose step depends on its input alone: after a fusion there is no history of one region any more."""


@dataclass(frozen=True)
class Region:
    """A row: its image, its text, the cells it decides and how it draws its backgrounds (None: it has none)."""

    image: int
    text: str | None
    mask: Tensor
    rng: torch.Generator | None = None


class MultiDiffusionAdapter:
    """Makes a base follow boxes by denoising regions apart; has no weights.

    Args:
        vae: of the base, encodes the plain backgrounds, once for each size of image.
        bootstrapping: share of the steps with plain backgrounds, [0, 1]; the release has .4, the paper .2.
        template: text of a region, `{}` is its phrase.
    """

    max_instances = None

    def __init__(self, vae: AutoencoderKL | AutoencoderTiny, bootstrapping: float = 0.4, template: str = "{}") -> None:
        self.vae, self.bootstrapping, self.template = vae, bootstrapping, template
        self._colours: dict[Grid, Tensor] = {}

    def attach(self, unet: nn.Module) -> None:
        """Nothing is put into the UNet."""

    def detach(self, unet: nn.Module) -> None:
        """Nothing was put into the UNet."""

    def start(self, run: Run) -> Session | None:
        """Return the session of a batch, None without any instance.

        Raises:
            UsageError: a scheduler with a memory, or one that adds noise.
        """
        if not any(layout.phrases for layout in run.layouts):
            return None
        check_scheduler(run.scheduler)
        if run.step_extra.get("eta"):
            raise UsageError("multidiffusion averages regions, which noise of their own would blur; leave eta at 0.")
        share = self.bootstrapping if run.active_fraction is None else run.active_fraction
        colours = self.colours(run.grid).to(run.device, run.texts.dtype)
        return MultiDiffusionSession(run, colours, round(share * run.steps), self.template)

    @torch.no_grad()
    def colours(self, grid: Grid) -> Tensor:
        """Return the latents of the plain backgrounds, [20, C, H, W], the same in every process."""
        if grid not in self._colours:
            rng = torch.Generator("cpu").manual_seed(COLOUR_SEED)
            values = torch.rand(COLOURS, 3, 1, 1, generator=rng) * 2 - 1
            factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
            plain = values.expand(-1, -1, grid[0] * factor, grid[1] * factor).to(next(self.vae.parameters()))
            self._colours[grid] = torch.cat([self._encode(pixels[None], rng) for pixels in plain])
        return self._colours[grid]

    def _encode(self, pixels: Tensor, rng: torch.Generator) -> Tensor:
        """Latent of an image in [-1, 1]; an autoencoder with a posterior is sampled, as the release does."""
        encoded = self.vae.encode(pixels)
        latent: Tensor = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.sample(rng)
        return latent * self.vae.config.scaling_factor


def check_scheduler(scheduler: object) -> None:
    """Raise `UsageError` for a scheduler that remembers earlier steps."""
    if type(scheduler).__name__ not in MEMORYLESS:
        raise UsageError(
            f"multidiffusion joins its regions after each step, and {type(scheduler).__name__} remembers earlier "
            "ones; use ddim or euler."
        )


class MultiDiffusionSession(Session):
    """One batch: rows of all images and regions, in the order of the images."""

    def __init__(self, run: Run, colours: Tensor, bootstrapping: int, template: str) -> None:
        self.colours, self.bootstrapping = colours, bootstrapping
        self.regions = [region for i in range(run.images) for region in _regions(run, i, template)]
        self.owner = torch.tensor([region.image for region in self.regions], device=run.device)
        self.masks = torch.stack([region.mask for region in self.regions])[:, None].to(colours)
        self.weights = self.masks / self._sum(self.masks, run.images)[self.owner]
        self.texts = self._texts(run)
        self.noise: Tensor | None = None

    def denoise(self, step: Step, latents: Tensor) -> Tensor:
        """Step every region by itself and join them."""
        if self.noise is None:
            # What Euler starts from has the spread of its first sigma.
            self.noise = latents / step.run.scheduler.init_noise_sigma
        rows = latents[self.owner]
        if step.index < self.bootstrapping:
            rows = self._on_colours(step, rows)
        rows = step.advance(step.predict(rows, self.texts), rows)
        return self._sum(self.weights * rows, step.run.images)

    def _on_colours(self, step: Step, rows: Tensor) -> Tensor:
        """Replace what lies outside each box by a plain colour with the noise of this step; [R, C, H, W]."""
        assert self.noise is not None
        plain = rows.clone()
        for row, region in enumerate(self.regions):
            if region.rng is not None:
                colour = self.colours[int(torch.randint(len(self.colours), (), generator=region.rng))]
                share = step.alpha_bar
                plain[row] = step.unscale(share**0.5 * colour + (1 - share) ** 0.5 * self.noise[region.image])
        return torch.lerp(plain, rows, self.masks)

    def _texts(self, run: Run) -> Tensor:
        """States of all rows, [2R, T, D] with guidance (negatives first), else [R, T, D]."""
        texts = list(dict.fromkeys(region.text for region in self.regions if region.text is not None))
        known = dict(zip(texts, run.encoder.encode(texts).states, strict=True)) if texts else {}
        own = [run.prompt_states[r.image] if r.text is None else known[r.text] for r in self.regions]
        states = torch.stack(own)
        return torch.cat([run.negative_states[self.owner], states]) if run.guided else states

    def _sum(self, rows: Tensor, images: int) -> Tensor:
        """Sum of the rows of each image, [R, ...] -> [B, ...]."""
        total = torch.zeros(images, *rows.shape[1:], dtype=rows.dtype, device=rows.device)
        return total.index_add_(0, self.owner, rows)


def _regions(run: Run, image: int, template: str) -> Iterator[Region]:
    """The rows of an image: the prompt wherever there is no box, then one an instance."""
    layout = run.layouts[image]
    masks = [mask_of([box], run.grid, first_pixel) for box in layout.boxes]
    ground = 1 - torch.stack(masks).amax(0) if masks else torch.ones(run.grid)
    if ground.any():  # where boxes cover everything the prompt decides nothing
        yield Region(image, None, ground)
    for phrase, mask, key in zip(layout.phrases, masks, _keys(layout), strict=True):
        yield Region(image, template.format(phrase), mask, run.rng(image, key))


def _keys(layout: Layout) -> Sequence[str]:
    """What a region's choices depend on beside the seed: itself, so that the order of regions does not matter."""
    return [f"multidiffusion {phrase} {box}" for phrase, box in zip(layout.phrases, layout.boxes, strict=True)]
