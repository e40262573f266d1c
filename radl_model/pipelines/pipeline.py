"""`RaDLPipeline`: Stable Diffusion v1 with layouts.

The denoising loop is the parent's; a step callback gates the layers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from torch import Tensor

from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapters import load_adapter
from radl_model.errors import UsageError
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import LayoutContext, build_context
from radl_model.pipelines.bases import load_pipeline
from radl_model.pipelines.layouts import Layout, as_layouts
from radl_model.pipelines.wording import relation_texts, slot_generators

logger = logging.getLogger(__name__)


class RaDLPipeline(StableDiffusionPipeline):
    """Text and layout to image.

    Every part of `StableDiffusionPipeline` works as before (LoRA, schedulers, offloading, other v1 bases). Without
    phrases a call is exactly the parent's.

    Example:
        >>> import torch
        >>> from radl_model import RaDLPipeline, resolve_adapter, resolve_base
        >>> pipe = RaDLPipeline.from_pretrained(resolve_base("mini"), adapter=resolve_adapter("mini", "radl"))
        >>> pipe.set_progress_bar_config(disable=True)
        >>> image = pipe(
        ...     "a photo of a red car leaning against a blue dog",
        ...     phrases=["a red car", "a blue dog"],
        ...     boxes=[[0.05, 0.4, 0.5, 0.9], [0.55, 0.4, 0.95, 0.9]],
        ...     generator=torch.Generator().manual_seed(0),
        ...     num_inference_steps=4,
        ... ).images[0]
        >>> image.size
        (128, 128)
    """

    unet: Any
    text_encoder: Any
    tokenizer: Any
    adapter: Any
    vae_scale_factor: int
    register_modules: Callable[..., None]
    _execution_device: torch.device

    _optional_components = [*StableDiffusionPipeline._optional_components, "adapter"]  # noqa: RUF012
    # The layers run inside the UNet's forward, so no hook of their own would ever move them.
    _exclude_from_cpu_offload = [*StableDiffusionPipeline._exclude_from_cpu_offload, "adapter"]  # noqa: RUF012

    def __init__(
        self,
        vae: Any,
        text_encoder: Any,
        tokenizer: Any,
        unet: Any,
        scheduler: Any,
        safety_checker: Any = None,
        feature_extractor: Any = None,
        image_encoder: Any = None,
        adapter: FusionAdapter | None = None,
        requires_safety_checker: bool = False,
    ) -> None:
        super().__init__(
            vae, text_encoder, tokenizer, unet, scheduler, safety_checker, feature_extractor, image_encoder,
            requires_safety_checker,
        )  # fmt: skip
        self.register_modules(adapter=adapter)
        self.truncated: list[str] = []

    @classmethod
    def from_pretrained(cls, base: str | Path, *, adapter: FusionAdapter | str | Path | None = None, **kwargs: Any):  # type: ignore[override]
        """Load a base and an adapter.

        Args:
            base: hub id ("CompVis/stable-diffusion-v1-4"), pipeline folder, or a single `.safetensors` file.
            adapter: an adapter, its folder, or the file of a public checkpoint; None gives the text-only pipeline.
            kwargs: as `StableDiffusionPipeline.from_pretrained` (`dtype`, `local_files_only`, `variant`, ...).

        Raises:
            UsageError: the base is not shaped like Stable Diffusion v1, or the adapter was made for another base.
            BadInput: the base or the adapter is damaged or incomplete.
            MissingWeights: there is no adapter at that place.
        """
        if isinstance(adapter, (str, Path)):
            adapter = load_adapter(adapter)
        pipe = load_pipeline(super().from_pretrained, cls.from_single_file, base, **kwargs)
        if adapter is not None:
            adapter.attach(pipe.unet)
            pipe.register_modules(adapter=adapter.to(pipe.unet.device, pipe.unet.dtype))
        return pipe

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self,
        prompt: str | list[str] | None = None,
        phrases: list[Any] | None = None,
        boxes: Any = None,
        verbs: str | list[str] | None = None,
        *,
        related: list[Any] | None = None,
        num_inference_steps: int = 60,
        guidance_scale: float = 7.5,
        active_fraction: float | None = None,
        callback_on_step_end: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate one image a prompt (times `num_images_per_prompt`).

        Args:
            prompt: one text, or a list of B texts.
            phrases: texts of the instances, a list for one prompt or B lists (their lengths may differ).
            boxes: as `phrases`, xyxy in fractions of the image side.
            verbs: text for Relation Attention, one or B; None extracts it from the prompt, "" states no relation.
            related: indices of the instances that the relation is about, for one prompt or B such lists; read only
                where the adapter's `relation_scope` is "pair".
            active_fraction: share of the steps with layout control, the adapter's own when None; 0.5 of 60 steps
                means the steps with index < 30.
            callback_on_step_end: as the parent's; the layers are switched before it is called.
            kwargs: everything else that `StableDiffusionPipeline` takes: `negative_prompt`, `generator` (one an image),
                `height`, `width`, `output_type`, `latents`, `prompt_embeds`, ...

        Raises:
            UsageError: layouts that do not fit the prompts, bad boxes, too many instances, or no adapter for a layout.
        """
        context = self._context(prompt, phrases, boxes, verbs, guidance_scale, related, kwargs)
        if context is None:
            return super().__call__(  # type: ignore[misc]
                prompt,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                callback_on_step_end=callback_on_step_end,
                **kwargs,
            )
        if isinstance(callback_on_step_end, (PipelineCallback, MultiPipelineCallbacks)):
            kwargs["callback_on_step_end_tensor_inputs"] = callback_on_step_end.tensor_inputs
        gate = _Gate(context, self.adapter.fusion_config, active_fraction, callback_on_step_end)
        gate.before(0, num_inference_steps)
        self.adapter.attach(self.unet)
        self.adapter.holder.context = context
        try:
            return super().__call__(  # type: ignore[misc]
                prompt,
                num_inference_steps=num_inference_steps,
                guidance_scale=guidance_scale,
                callback_on_step_end=gate,
                **kwargs,
            )
        finally:
            self.adapter.holder.context = None

    def _context(
        self,
        prompt: Any,
        phrases: Any,
        boxes: Any,
        verbs: Any,
        guidance_scale: float,
        related: list[Any] | None,
        kwargs: dict[str, Any],
    ) -> LayoutContext | None:
        """Check the layouts and encode their texts; None when there is nothing to place."""
        if phrases is None and boxes is None:
            return None
        if self.adapter is None:
            raise UsageError("This pipeline has no adapter, so it cannot follow a layout; load one with adapter=PATH.")
        config = self.adapter.fusion_config
        if prompt is None and kwargs.get("prompt_embeds") is not None:
            count = len(kwargs["prompt_embeds"])
            prompt = "" if count == 1 else [""] * count
        layouts = as_layouts(
            prompt, phrases, boxes, verbs, related, limit=config.max_instances, verb_mode=config.verb_mode
        )
        layouts = [entry for entry in layouts for _ in range(kwargs.get("num_images_per_prompt") or 1)]
        if not any(entry.phrases for entry in layouts):
            return None
        sides = [kwargs.get(k) or self.unet.config.sample_size * self.vae_scale_factor for k in ("height", "width")]
        return self._encode(
            layouts,
            (sides[0] // self.vae_scale_factor, sides[1] // self.vae_scale_factor),
            guidance_scale > 1 and self.unet.config.time_cond_proj_dim is None,
            slot_generators(config, kwargs.get("generator"), len(layouts)),
        )

    def _encode(
        self,
        layouts: list[Layout],
        grid: tuple[int, int],
        guidance: bool,
        rngs: list[torch.Generator] | None = None,
    ) -> LayoutContext | None:
        """Encode each different text once and lay the states out as [B, N, ...]."""
        config = self.adapter.fusion_config
        verbs = [relation_texts(entry.prompt, entry.verbs, config) for entry in layouts]
        spoken = [text for row in verbs for text in row]
        texts = list(dict.fromkeys([p for entry in layouts for p in entry.phrases] + spoken))
        states, pooled = self._encode_texts(texts)
        at = {text: i for i, text in enumerate(texts)}
        width = max(len(entry.phrases) for entry in layouts)
        index = torch.zeros(len(layouts), width, dtype=torch.long)
        boxes, valid = torch.zeros(len(layouts), width, 4), torch.zeros(len(layouts), width, dtype=torch.bool)
        related = torch.zeros_like(valid)
        verb_index = torch.zeros(len(layouts), max(1, *map(len, verbs)), dtype=torch.long)
        verb_valid = torch.zeros_like(verb_index, dtype=torch.bool)
        for row, entry in enumerate(layouts):
            count = len(entry.phrases)
            index[row, :count] = torch.tensor([at[p] for p in entry.phrases], dtype=torch.long)
            boxes[row, :count] = torch.tensor(entry.boxes).reshape(count, 4)
            valid[row, :count] = True
            related[row, list(entry.related)] = True
            verb_index[row, : len(verbs[row])] = torch.tensor([at[v] for v in verbs[row]], dtype=torch.long)
            verb_valid[row, : len(verbs[row])] = True
        index, boxes, valid, related, verb_index, verb_valid = (
            t.to(states.device) for t in (index, boxes, valid, related, verb_index, verb_valid)
        )
        return build_context(
            states[index],
            pooled[index],
            boxes,
            valid,
            grid,
            verbs=states[verb_index],
            verb_valid=verb_valid,
            guidance=guidance,
            mask_mode=config.mask_mode,
            related=related if config.relation_scope == "pair" else None,
            rngs=rngs,
        )

    def _encode_texts(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token states [M, T, D] and pooled states [M, D] of M texts; a text that is cut is logged and recorded."""
        length = self.tokenizer.model_max_length
        self.truncated = self._too_long(texts)
        for text in self.truncated:
            logger.warning("The phrase %r is longer than %d tokens; its end is cut off.", text, length)
        ids = self.tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        out = self.text_encoder(ids.input_ids.to(self._execution_device))
        dtype = self.unet.dtype
        return out.last_hidden_state.to(dtype), out.pooler_output.to(dtype)

    def note_of_cuts(self, texts: list[str]) -> str:
        """Return a sentence that names the texts whose end is cut off, "" when all fit (77 tokens with v1 bases)."""
        cut = list(dict.fromkeys(self._too_long(texts)))
        length = self.tokenizer.model_max_length
        return f"Cut off after {length} tokens: " + "; ".join(f"'{text}'" for text in cut) + "." if cut else ""

    def _too_long(self, texts: list[str]) -> list[str]:
        # A token is at least one byte, and two mark start and end: most texts need no tokenizer.
        length = self.tokenizer.model_max_length
        long = [text for text in texts if len(text.encode()) + 2 > length]
        return [text for text in long if len(self.tokenizer(text).input_ids) > length]


class _Gate:
    """Step callback: layers on for the first `fraction` of the steps; then the caller's own callback."""

    def __init__(
        self, context: LayoutContext, config: FusionConfig, fraction: float | None, inner: Callable[..., Any] | None
    ) -> None:
        self.context, self.config, self.fraction, self.inner = context, config, fraction, inner

    def before(self, step: int, total: int) -> None:
        """Set the context for the step with index `step` of `total`."""
        self.context.active = step < self.config.active_steps(total, self.fraction)
        self.context.refining = step < self.config.refine_steps(total)

    def __call__(self, pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        # Called after step `step`, so it decides about the next one.
        self.before(step + 1, pipe.num_timesteps)
        return values if self.inner is None else self.inner(pipe, step, timestep, values)
