"""The denoising engine: the one loop over a v1-shaped base that every method runs on."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from diffusers import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import retrieve_timesteps
from torch import Tensor

from radl_model.engine.layouts import Layout, check_count
from radl_model.engine.protocol import LayoutAdapter, Session
from radl_model.engine.run import Generators, Run, Step
from radl_model.engine.settings import Settings
from radl_model.engine.texts import Texts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    Images: TypeAlias = list[Image] | NDArray[np.float32] | Tensor


@dataclass
class Inputs:
    """What a batch starts from, where it is not the default.

    Attributes:
        generator: of the initial noise, one an image or one for all.
        latents: [B, C, H, W] initial noise of unit variance instead.
        negative_prompts: one an image; the settings' own for all when None.
        prompt_embeds, negative_prompt_embeds: [B, T, D] states instead of the texts'.
        timesteps, sigmas: a schedule of one's own.
        clip_skip: layers of the text encoder to leave out; lora_scale: of LoRA weights in it.
        unet_extra: further arguments of the UNet.
        on_step: called after each step with it and the latents, returns those to go on with.
    """

    generator: Generators = None
    latents: Tensor | None = None
    negative_prompts: list[str] | None = None
    prompt_embeds: Tensor | None = None
    negative_prompt_embeds: Tensor | None = None
    timesteps: list[int] | None = None
    sigmas: list[float] | None = None
    clip_skip: int | None = None
    lora_scale: float | None = None
    unet_extra: Mapping[str, Any] = field(default_factory=dict)
    on_step: Callable[[Step, Tensor], Tensor] | None = None


class Engine:
    """Denoises batches of layouts with a base, and with a method if one is given.

    Nothing here knows widths: channels of the latents, length and width of texts and the size of images are the base's.

    Args:
        pipe: the base, a `StableDiffusionPipeline` or a subclass. Its parts are read at each call, so that any of them
            (scheduler, LoRA weights, a compiled UNet) may be changed in between.
    """

    def __init__(self, pipe: StableDiffusionPipeline) -> None:
        self.pipe = pipe
        self.texts = Texts(pipe)
        self._attached: LayoutAdapter | None = None

    @torch.no_grad()
    def generate(
        self,
        layouts: Sequence[Layout],
        seeds: Sequence[int],
        settings: Settings | None = None,
        adapter: LayoutAdapter | None = None,
        *,
        exact: bool = True,
        one_thread: bool = False,
    ) -> list[Image]:
        """Return one RGB image a (layout, seed); what a method notes about it stands in `image.info["note"]`.

        Noise is drawn on the CPU, by one generator an image.

        Args:
            exact: make each image by itself, so that no bit of it depends on the others: another batch size takes
                other matrix kernels, which moves a byte now and then.
            one_thread: compute with one thread, since their number moves bytes too.

        Raises:
            UsageError: more instances than the adapter takes.
        """
        settings = settings or Settings()
        parts = [[i] for i in range(len(layouts))] if exact else [list(range(len(layouts)))]
        made: list[Image] = []
        with single_thread() if one_thread else contextlib.nullcontext():
            for part in parts if layouts else []:
                rngs = [torch.Generator("cpu").manual_seed(seeds[i]) for i in part]
                made += self._images([layouts[i] for i in part], rngs, settings, adapter)
        return made

    def _images(
        self, layouts: list[Layout], rngs: list[torch.Generator], settings: Settings, adapter: LayoutAdapter | None
    ) -> list[Image]:
        notes: list[str] = []
        latents = self.denoise(layouts, settings, adapter, Inputs(generator=rngs), notes)
        images = cast("list[Image]", self.decode(latents, rngs)[0])
        self.pipe.maybe_free_model_hooks()
        for image, layout, note in zip(images, layouts, notes, strict=True):
            texts = [layout.prompt, *(layout.phrases if adapter is not None else ())]
            note = " ".join(filter(None, (self.texts.note_of_cuts(texts), note)))
            if note:
                image.info["note"] = note
        return images

    @torch.no_grad()
    def denoise(
        self,
        layouts: Sequence[Layout],
        settings: Settings,
        adapter: LayoutAdapter | None = None,
        inputs: Inputs | None = None,
        notes: list[str] | None = None,
    ) -> Tensor:
        """Return the final latents [B, C, H, W] of a batch; its notes, one an image, are added to `notes`.

        Raises:
            UsageError: more instances than the adapter takes.
        """
        if adapter is not None:
            check_count(layouts, adapter.max_instances)
        inputs = inputs or Inputs()
        run, latents = self._start(tuple(layouts), settings, inputs)
        started = self._session(adapter, run)
        session = run.session = started or Session()
        try:
            for index, timestep in enumerate(self._bar(run)):
                if run.stopped:
                    break
                step = Step(run, index, timestep)
                latents = session.denoise(step, session.before_unet(step, latents))
                latents = session.after_step(step, latents)
                if inputs.on_step is not None:
                    latents = inputs.on_step(step, latents)
            if notes is not None:
                notes += session.notes() or [""] * run.images
        finally:
            session.close()
        return latents

    @torch.no_grad()
    def decode(
        self, latents: Tensor, generator: Generators = None, output_type: str = "pil"
    ) -> tuple[Images, list[bool] | None]:
        """Return images as the base makes them of latents, and what its safety checker says (None without one)."""
        pipe = self.pipe
        flagged = None
        image = latents
        if output_type != "latent":
            image = pipe.vae.decode(latents / pipe.vae.config.scaling_factor, return_dict=False, generator=generator)[0]
            image, flagged = pipe.run_safety_checker(image, pipe._execution_device, latents.dtype)
        fine = [True] * len(image) if flagged is None else [not flag for flag in flagged]
        return pipe.image_processor.postprocess(image, output_type=output_type, do_denormalize=fine), flagged

    def size(self, height: int | None = None, width: int | None = None) -> tuple[int, int]:
        """Return height and width of the images in pixels, the base's own where they are not given."""
        own = self.pipe.unet.config.sample_size
        sides = (own, own) if isinstance(own, int) else tuple(own)
        if not height or not width:
            return sides[0] * self.pipe.vae_scale_factor, sides[1] * self.pipe.vae_scale_factor
        return height, width

    def use(self, adapter: LayoutAdapter | None) -> None:
        """Attach an adapter in the place of the one before; None takes that out."""
        if self._attached is not None and self._attached is not adapter:
            self._attached.detach(self.pipe.unet)
        if adapter is not None:
            adapter.attach(self.pipe.unet)
        self._attached = adapter

    def _session(self, adapter: LayoutAdapter | None, run: Run) -> Session | None:
        if adapter is None:
            return None
        self.use(adapter)
        return adapter.start(run)

    def _start(self, layouts: tuple[Layout, ...], settings: Settings, inputs: Inputs) -> tuple[Run, Tensor]:
        """Encode the prompts and draw the noise, in the order and with the calls of the parent pipeline."""
        pipe = self.pipe
        height, width = self.size(settings.height, settings.width)
        states, negative = self._encode(layouts, settings, inputs)
        device = pipe._execution_device
        timesteps, steps = retrieve_timesteps(pipe.scheduler, settings.steps, device, inputs.timesteps, inputs.sigmas)
        latents = pipe.prepare_latents(
            len(layouts), pipe.unet.config.in_channels, height, width, states.dtype, device, inputs.generator,
            inputs.latents,
        )  # fmt: skip
        run = Run(
            layouts=layouts,
            texts=states,
            guidance_scale=settings.guidance_scale,
            guidance_rescale=settings.guidance_rescale,
            timesteps=timesteps,
            steps=steps,
            grid=(latents.shape[-2], latents.shape[-1]),
            encoder=self.texts,
            unet=pipe.unet,
            scheduler=pipe.scheduler,
            generators=inputs.generator,
            active_fraction=settings.active_fraction,
            max_rows=settings.max_rows,
            unet_extra=inputs.unet_extra,
            step_extra=self._step_extra(inputs.generator, settings.eta),
        )
        if run.guided:
            run.texts = torch.cat([negative, states])
        elif pipe.unet.config.time_cond_proj_dim is not None:
            run.unet_extra = {**run.unet_extra, "timestep_cond": self._distilled(len(layouts), settings, latents)}
        return run, latents

    def _encode(self, layouts: tuple[Layout, ...], settings: Settings, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """[B, T, D] states of prompts and negative prompts; the second are None without guidance."""
        given = inputs.prompt_embeds is not None
        negatives = inputs.negative_prompts
        if negatives is None:
            negatives = [settings.negative_prompt] * len(layouts)
        guided = settings.guidance_scale > 1 and self.pipe.unet.config.time_cond_proj_dim is None
        encoded: tuple[Tensor, Tensor] = self.pipe.encode_prompt(
            None if given else [layout.prompt for layout in layouts],
            self.pipe._execution_device,
            1,
            guided,
            None if inputs.negative_prompt_embeds is not None else negatives,
            prompt_embeds=inputs.prompt_embeds,
            negative_prompt_embeds=inputs.negative_prompt_embeds,
            lora_scale=inputs.lora_scale,
            clip_skip=inputs.clip_skip,
        )
        return encoded

    def _step_extra(self, generator: Generators, eta: float) -> dict[str, Any]:
        """Arguments of the scheduler's step, of those it takes."""
        takes = inspect.signature(self.pipe.scheduler.step).parameters
        return {k: v for k, v in (("eta", eta), ("generator", generator)) if k in takes}

    def _distilled(self, images: int, settings: Settings, latents: Tensor) -> Tensor:
        """Embedding of the guidance scale, for a base that was distilled with it."""
        scale = torch.tensor(settings.guidance_scale - 1).repeat(images)
        dim = self.pipe.unet.config.time_cond_proj_dim
        made: Tensor = self.pipe.get_guidance_scale_embedding(scale, embedding_dim=dim)
        return made.to(device=latents.device, dtype=latents.dtype)

    def _bar(self, run: Run) -> Iterator[Tensor]:
        """The timesteps, with the base's progress bar."""
        order = self.pipe.scheduler.order
        warm = run.total - run.steps * order
        with self.pipe.progress_bar(total=run.steps) as bar:
            for i, timestep in enumerate(run.timesteps):
                yield timestep
                if i == run.total - 1 or (i + 1 > warm and (i + 1) % order == 0):
                    bar.update()


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Let torch compute with a single thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
