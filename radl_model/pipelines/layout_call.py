"""A call of `RaDLPipeline` with layouts: the parent's arguments, in its terms, onto the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from diffusers import StableDiffusionPipeline
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from torch import Tensor

from radl_model.engine.engine import Engine, Inputs
from radl_model.engine.layouts import Layout
from radl_model.engine.protocol import LayoutAdapter
from radl_model.engine.run import Generators, Step
from radl_model.engine.settings import Settings

if TYPE_CHECKING:
    from radl_model.engine.engine import Images

StepEnd: TypeAlias = Callable[..., dict[str, Any]] | PipelineCallback | MultiPipelineCallbacks
"""What diffusers takes as `callback_on_step_end`."""


@dataclass
class LayoutCall:
    """Arguments of `StableDiffusionPipeline.__call__`, which says what each means; layouts are one a prompt."""

    num_inference_steps: int
    guidance_scale: float
    active_fraction: float | None = None
    height: int | None = None
    width: int | None = None
    timesteps: list[int] | None = None
    sigmas: list[float] | None = None
    negative_prompt: str | list[str] | None = None
    num_images_per_prompt: int | None = 1
    eta: float = 0.0
    generator: Generators = None
    latents: Tensor | None = None
    prompt_embeds: Tensor | None = None
    negative_prompt_embeds: Tensor | None = None
    ip_adapter_image: Any = None
    ip_adapter_image_embeds: list[Tensor] | None = None
    output_type: str = "pil"
    return_dict: bool = True
    cross_attention_kwargs: dict[str, Any] | None = None
    guidance_rescale: float = 0.0
    clip_skip: int | None = None
    callback_on_step_end: StepEnd | None = None
    callback_on_step_end_tensor_inputs: Sequence[str] = field(default_factory=lambda: ["latents"])

    def __post_init__(self) -> None:
        if isinstance(self.callback_on_step_end, (PipelineCallback, MultiPipelineCallbacks)):
            self.callback_on_step_end_tensor_inputs = self.callback_on_step_end.tensor_inputs

    @property
    def copies(self) -> int:
        """Images a prompt."""
        return self.num_images_per_prompt or 1

    def run(
        self, pipe: StableDiffusionPipeline, engine: Engine, adapter: LayoutAdapter, layouts: Sequence[Layout]
    ) -> tuple[Images, list[bool] | None]:
        """Return the images, one a layout and copy, and what the safety checker says of them."""
        height, width = engine.size(self.height, self.width)
        self._check(pipe, layouts, height, width)
        self._show(pipe)
        settings = Settings(
            steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            guidance_rescale=self.guidance_rescale,
            eta=self.eta,
            active_fraction=self.active_fraction,
            height=height,
            width=width,
        )
        every = [layout for layout in layouts for _ in range(self.copies)]
        latents = engine.denoise(every, settings, adapter, self._inputs(pipe, len(layouts)))
        made = engine.decode(latents, self.generator, self.output_type)
        pipe.maybe_free_model_hooks()
        return made

    def _check(self, pipe: StableDiffusionPipeline, layouts: Sequence[Layout], height: int, width: int) -> None:
        """Raise what the parent raises for arguments that do not fit together."""
        pipe.check_inputs(
            [layout.prompt for layout in layouts] if self.prompt_embeds is None else None,
            height,
            width,
            None,
            self.negative_prompt,
            self.prompt_embeds,
            self.negative_prompt_embeds,
            self.ip_adapter_image,
            self.ip_adapter_image_embeds,
            self.callback_on_step_end_tensor_inputs,
        )

    def _show(self, pipe: Any) -> None:
        """Set what the parent's properties return, which callbacks read and write."""
        pipe._guidance_scale, pipe._guidance_rescale = self.guidance_scale, self.guidance_rescale
        pipe._clip_skip, pipe._cross_attention_kwargs = self.clip_skip, self.cross_attention_kwargs
        pipe._interrupt = False

    def _inputs(self, pipe: StableDiffusionPipeline, prompts: int) -> Inputs:
        extra: dict[str, Any] = {"cross_attention_kwargs": self.cross_attention_kwargs}
        if self.ip_adapter_image is not None or self.ip_adapter_image_embeds is not None:
            embeds = pipe.prepare_ip_adapter_image_embeds(
                self.ip_adapter_image, self.ip_adapter_image_embeds, pipe._execution_device, prompts * self.copies,
                pipe.do_classifier_free_guidance,
            )  # fmt: skip
            extra["added_cond_kwargs"] = {"image_embeds": embeds}
        return Inputs(
            generator=self.generator,
            latents=self.latents,
            negative_prompts=self._negatives(prompts),
            prompt_embeds=self._copied(self.prompt_embeds),
            negative_prompt_embeds=self._copied(self.negative_prompt_embeds),
            timesteps=self.timesteps,
            sigmas=self.sigmas,
            clip_skip=self.clip_skip,
            lora_scale=(self.cross_attention_kwargs or {}).get("scale"),
            unet_extra=extra,
            on_step=lambda step, latents: self._after(pipe, step, latents),
        )

    def _negatives(self, prompts: int) -> list[str]:
        given = self.negative_prompt or ""
        if isinstance(given, str):
            return [given] * (prompts * self.copies)
        if len(given) != prompts:
            raise ValueError(f"There are {prompts} prompts, but {len(given)} negative prompts.")
        return [text for text in given for _ in range(self.copies)]

    def _copied(self, states: Tensor | None) -> Tensor | None:
        return None if states is None else states.repeat_interleave(self.copies, 0)

    def _after(self, pipe: Any, step: Step, latents: Tensor) -> Tensor:
        """Call the caller's callback, and do what it says: other latents, texts, guidance, or an early end."""
        run = step.run
        pipe._num_timesteps = run.total
        if self.callback_on_step_end is not None:
            known = {
                "latents": latents, "prompt_embeds": run.texts, "negative_prompt_embeds": run.negative_states
            }  # fmt: skip
            wanted = {name: known[name] for name in self.callback_on_step_end_tensor_inputs}
            said = self.callback_on_step_end(pipe, step.index, step.timestep, wanted)
            latents, run.texts = said.get("latents", latents), said.get("prompt_embeds", run.texts)
        run.guidance_scale, run.stopped = pipe._guidance_scale, pipe._interrupt
        return latents
