"""Layout guidance (TFLCG): latents moved until each phrase is attended to in its box; no training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from radl_bench.generators.engine import BaseSettings, Numbers
from radl_bench.generators.numbers import real, whole
from radl_bench.generators.training_free import TrainingFreeGenerator

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from radl_model.guidance.layout_guidance import LayoutGuidanceAdapter

OFFICIAL: Numbers = {"num_inference_steps": 51, "scheduler": "lms", "guidance_scale": 7.5, "negative_prompt": ""}
READINGS = {"official": ("words", "for-good"), "unified": ("spans", "each-step")}
"""Of `tokens` and `stop`, where they are not given."""


class LayoutGuidanceGenerator(TrainingFreeGenerator):
    """Layout to image by backward guidance. Official: 51 steps of LMS, the first 10 guided, tokens counted as words.

    Args:
        model: as for `EngineGenerator`.
        strength: factor of the energy whose gradient moves the latents.
        threshold: energy under which an image is left alone, 0 to 1.
        turns: most updates a step.
        tokens: how phrases are found in the prompt, "spans" or "words"; "words" with recipe=official when not set.
        stop: when an image is left alone, "each-step" or "for-good"; "for-good" with recipe=official when not set. See
            `radl_model.guidance.layout_guidance.GuidanceConfig`.
        plurals: whether the instances of one plural ("three horses") share its words, "shared" or "none".
        base: settings of `TrainingFreeGenerator`.
    """

    name = "layout-guidance"
    active = 0.2
    official = OFFICIAL

    def __init__(
        self,
        model: str = "mini",
        device: str | None = None,
        strength: float | str = 30.0,
        threshold: float | str = 0.2,
        turns: int | str = 5,
        tokens: str | None = None,
        stop: str | None = None,
        plurals: str = "shared",
        **base: Unpack[BaseSettings],
    ) -> None:
        readings = READINGS.get(base.get("recipe", "unified"), READINGS["unified"])
        self.own: dict[str, Any] = {
            "strength": real("strength", strength),
            "threshold": real("threshold", threshold),
            "turns": whole("turns", turns, 0, 1000),
            "tokens": readings[0] if tokens is None else tokens,
            "stop": readings[1] if stop is None else stop,
            "plurals": plurals,
        }
        super().__init__(model, device, **base)
        self.params |= self.own

    def _adapter(self) -> LayoutGuidanceAdapter:
        from radl_model.guidance.layout_guidance import GuidanceConfig, LayoutGuidanceAdapter

        return LayoutGuidanceAdapter(self.pipe.unet, GuidanceConfig(**self.own))
