"""Any other diffusers pipeline in the engine's place: called as it is, text to image."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from radl_model.engine.engine import single_thread
from radl_model.engine.layouts import Layout
from radl_model.engine.settings import Settings
from radl_model.engine.texts import Texts

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from PIL.Image import Image


class PipelineCaller:
    """Calls a pipeline with prompts, negative prompts, steps, guidance and one CPU generator an image.

    Args:
        pipe: its call takes those names and returns `.images`.
    """

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self.pipe: Any = pipe

    def generate(
        self,
        layouts: Sequence[Layout],
        seeds: Sequence[int],
        settings: Settings,
        adapter: None = None,
        *,
        exact: bool = True,
        one_thread: bool = False,
    ) -> list[Image]:
        """Return one image a (layout, seed), of its prompt alone; arguments as those of `Engine.generate`."""
        parts = [[i] for i in range(len(layouts))] if exact else [list(range(len(layouts)))]
        with single_thread() if one_thread else contextlib.nullcontext():
            return [
                image for part in parts for image in self._images([layouts[i] for i in part], part, seeds, settings)
            ]

    def _images(
        self, layouts: list[Layout], places: list[int], seeds: Sequence[int], settings: Settings
    ) -> list[Image]:
        images: list[Image] = self.pipe(
            [layout.prompt for layout in layouts],
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            negative_prompt=[settings.negative_prompt] * len(layouts),
            generator=[torch.Generator("cpu").manual_seed(seeds[i]) for i in places],
        ).images
        if getattr(self.pipe, "tokenizer", None) is not None:
            for image, layout in zip(images, layouts, strict=True):
                if note := Texts(self.pipe).note_of_cuts([layout.prompt]):
                    image.info["note"] = note
        return images
