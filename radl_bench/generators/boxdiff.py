"""BoxDiff: latents moved until a noun's attention fills its box and leaves the rest; no training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from radl_bench.generators.engine import BaseSettings, Numbers, flag
from radl_bench.generators.numbers import real
from radl_bench.generators.training_free import TrainingFreeGenerator

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from radl_model.guidance.boxdiff import BoxDiffAdapter

OFFICIAL: Numbers = {"num_inference_steps": 50, "scheduler": "pndm", "guidance_scale": 7.5, "negative_prompt": ""}
READINGS = {"official": ("inner", "lost"), "unified": ("all", "kept")}
"""Of `after` and `second`, where they are not given."""
TOKENS = ("phrase", "last")
"""On the mini model, where a noun's attention says little (reports/guidance.md), and on others."""


class BoxDiffGenerator(TrainingFreeGenerator):
    """Layout to image by BoxDiff's constraints. Official: 50 steps of PNDM, the first 25 guided.

    Args:
        model: as for `EngineGenerator`.
        step_size: factor of the gradient; it belongs to the scale of the latents.
        refine: whether three steps repeat the update of the inner part, up to 20 times.
        after: terms of the update after a refinement, "all" or "inner"; "inner" with recipe=official when not set.
        second: what PNDM's second first step starts from, "kept" or "lost"; "lost" with recipe=official when not set.
        tokens: words of a phrase that are looked at, "last" or "phrase"; "last" when not set, on mini "phrase". See
            `radl_model.guidance.boxdiff.BoxDiffConfig`.
        plurals: whether the instances of one plural ("three horses") share its words, "shared" or "none".
        base: settings of `TrainingFreeGenerator`.
    """

    name = "boxdiff"
    active = 0.5
    official = OFFICIAL

    def __init__(
        self,
        model: str = "mini",
        device: str | None = None,
        step_size: float | str = 20.0,
        refine: bool | str = True,
        after: str | None = None,
        second: str | None = None,
        tokens: str | None = None,
        plurals: str = "shared",
        **base: Unpack[BaseSettings],
    ) -> None:
        readings = READINGS.get(base.get("recipe", "unified"), READINGS["unified"])
        self.own: dict[str, Any] = {
            "step_size": real("step_size", step_size),
            "refine": flag(refine),
            "after": readings[0] if after is None else after,
            "second": readings[1] if second is None else second,
            "tokens": TOKENS[model != "mini"] if tokens is None else tokens,
            "plurals": plurals,
        }
        super().__init__(model, device, **base)
        self.params |= self.own

    def _adapter(self) -> BoxDiffAdapter:
        from radl_model.guidance.boxdiff import BoxDiffAdapter, BoxDiffConfig

        return BoxDiffAdapter(BoxDiffConfig(**self.own))
