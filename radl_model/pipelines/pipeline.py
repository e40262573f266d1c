"""`RaDLPipeline`: Stable Diffusion v1 with layouts, the pipeline people know over the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion import StableDiffusionPipelineOutput
from torch import Tensor, nn

from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapters import load_adapter, load_folder
from radl_model.checkpoints.kinds import kind_of
from radl_model.engine.engine import Engine
from radl_model.engine.layouts import Layout, Values, as_layouts
from radl_model.engine.protocol import LayoutAdapter
from radl_model.errors import UsageError, did_you_mean
from radl_model.gligen.adapter import GligenAdapter
from radl_model.numbers import check_finite, check_share, check_steps
from radl_model.pipelines.bases import load_pipeline
from radl_model.pipelines.layout_call import LayoutCall

_SHARES = ("eta", "guidance_rescale")
"""Arguments of the parent that lie in [0, 1]."""


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
        self.method: LayoutAdapter | None = None
        """Another way to follow layouts, which comes before the adapter."""

    @cached_property
    def engine(self) -> Engine:
        """The engine that calls with a layout run on."""
        return Engine(self)

    @property
    def truncated(self) -> list[str]:
        """Phrases whose end was cut off in the last call that encoded some."""
        return self.engine.texts.truncated

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, base: str | Path, *, adapter: FusionAdapter | LayoutAdapter | str | Path | None = None, **kwargs: object
    ) -> RaDLPipeline:
        """Load a base and an adapter.

        Args:
            base: hub id ("CompVis/stable-diffusion-v1-4"), pipeline folder, or a single `.safetensors` file.
            adapter: an adapter, its folder, or the file of a public checkpoint of MIGC or RaDL; or any other
                `LayoutAdapter` (GLIGEN's folder too), which the pipeline then has as its `method`; None gives the
                text-only pipeline.
            kwargs: as `StableDiffusionPipeline.from_pretrained` (`dtype`, `local_files_only`, `variant`, ...).

        Raises:
            UsageError: the base is not shaped like Stable Diffusion v1, or the adapter was made for another base.
            BadInput: the base or the adapter is damaged or incomplete.
            MissingWeights: there is no adapter at that place.
        """
        if isinstance(adapter, (str, Path)):
            gligen = kind_of(Path(adapter)) == GligenAdapter.__name__
            adapter = load_folder(Path(adapter), GligenAdapter) if gligen else load_adapter(adapter)
        pipe = load_pipeline(super().from_pretrained, cls.from_single_file, base, **kwargs)
        if isinstance(adapter, FusionAdapter):
            adapter.attach(pipe.unet)
            pipe.register_modules(adapter=adapter.to(pipe.unet.device, pipe.unet.dtype))
        else:
            pipe.method = adapter
        return pipe

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self,
        prompt: str | list[str] | None = None,
        phrases: Values = None,
        boxes: Values = None,
        verbs: str | Sequence[str | None] | None = None,
        *,
        related: Values = None,
        num_inference_steps: int = 60,
        guidance_scale: float = 7.5,
        active_fraction: float | None = None,
        **kwargs: object,
    ) -> StableDiffusionPipelineOutput:
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
            kwargs: everything else that `StableDiffusionPipeline` takes: `negative_prompt`, `generator` (one an image),
                `height`, `width`, `output_type`, `latents`, `prompt_embeds`, `callback_on_step_end` (the layers are
                switched before it is called), ...

        Raises:
            UsageError: layouts that do not fit the prompts, bad boxes, too many instances, a number out of its range,
                or no adapter for a layout.
        """
        check_steps(num_inference_steps)
        check_finite("guidance_scale", guidance_scale)
        for name, value in (("active_fraction", active_fraction), *((n, kwargs.get(n)) for n in _SHARES)):
            check_share(name, value)
        layouts = self._layouts(prompt, phrases, boxes, verbs, related, kwargs)
        call = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale, **kwargs}
        if not any(layout.phrases for layout in layouts):
            plain: StableDiffusionPipelineOutput = super().__call__(prompt, **call)  # type: ignore[misc]
            return plain
        adapter = self.method or self.adapter
        if adapter is None:
            raise UsageError("This pipeline has no adapter, so it cannot follow a layout; load one with adapter=PATH.")
        made = _layout_call(active_fraction=active_fraction, **call)
        images, flagged = made.run(self, self.engine, adapter, layouts)
        if not made.return_dict:
            return images, flagged  # as the parent's
        return StableDiffusionPipelineOutput(images=images, nsfw_content_detected=flagged)

    @staticmethod
    def _layouts(
        prompt: str | list[str] | None,
        phrases: Values,
        boxes: Values,
        verbs: str | Sequence[str | None] | None,
        related: Values,
        call: Mapping[str, Any],
    ) -> list[Layout]:
        """The layouts, checked; none when there is nothing to place."""
        if phrases is None and boxes is None:
            return []
        if prompt is None and call.get("prompt_embeds") is not None:
            count = len(call["prompt_embeds"])
            prompt = "" if count == 1 else [""] * count
        return as_layouts(prompt, phrases, boxes, verbs, related)

    def encode_prompt(self, *args: object, **kwargs: object) -> tuple[Tensor, Tensor]:
        """Encode prompts as the parent does, `clip_skip` included."""
        with _text_model(self.text_encoder):
            encoded: tuple[Tensor, Tensor] = super().encode_prompt(*args, **kwargs)
        return encoded

    def note_of_cuts(self, texts: Sequence[str]) -> str:
        """Return a sentence that names the texts whose end is cut off, "" when all fit (77 tokens with v1 bases)."""
        return self.engine.texts.note_of_cuts(texts)


def _layout_call(**arguments: Any) -> LayoutCall:
    known = LayoutCall.__dataclass_fields__
    for name in arguments:
        if name not in known:
            raise UsageError(did_you_mean(name, known, "argument of a call with a layout"))
    return LayoutCall(**arguments)


@contextmanager
def _text_model(text_encoder: nn.Module | None) -> Iterator[None]:
    """Let diffusers find the last norm of a text encoder whose layers have no inner `text_model` any more.

    Only the dictionary of the instance gets the name: as a submodule of itself it would be listed and saved twice.
    """
    if text_encoder is None or hasattr(text_encoder, "text_model"):
        yield
        return
    vars(text_encoder)["text_model"] = text_encoder
    try:
        yield
    finally:
        del vars(text_encoder)["text_model"]
