"""MultiDiffusion: every phrase denoised in its box, the regions averaged in each step; no training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from radl_bench.errors import UsageError
from radl_bench.generators.engine import BaseSettings, Numbers
from radl_bench.generators.numbers import whole
from radl_bench.generators.training_free import TrainingFreeGenerator

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from radl_model.engine import Settings
    from radl_model.guidance.multidiffusion import MultiDiffusionAdapter

OFFICIAL: Numbers = {"num_inference_steps": 50, "scheduler": "ddim", "guidance_scale": 7.5, "negative_prompt": ""}


class MultiDiffusionGenerator(TrainingFreeGenerator):
    """Layout to image: each phrase denoised in its box, the regions averaged in every step. Official: 50 steps of DDIM.

    It costs one row of the UNet for the prompt and one an instance.

    Args:
        model: as for `EngineGenerator`.
        active_fraction: share of the steps with plain backgrounds around the boxes ("bootstrapping"): .4 as released,
            .2 in the paper.
        region: text of a region; `{}` stands for its phrase.
        max_rows: most rows of a UNet call.
        base: settings of `TrainingFreeGenerator`.
    """

    name = "multidiffusion"
    active = 0.4
    official = OFFICIAL

    def __init__(
        self,
        model: str = "mini",
        device: str | None = None,
        region: str = "{}",
        max_rows: int | str = 16,
        **base: Unpack[BaseSettings],
    ) -> None:
        if region.count("{}") != 1 or region.count("{") + region.count("}") != 2:
            raise UsageError(f"region={region!r} must hold {{}} once, where the phrase goes.")
        self.region, rows = region, whole("max_rows", max_rows)
        super().__init__(model, device, **base)
        self.params |= {"region": region, "max_rows": rows}

    def _adapter(self) -> MultiDiffusionAdapter:
        from radl_model.guidance.multidiffusion import MultiDiffusionAdapter

        return MultiDiffusionAdapter(self.pipe.vae, template=self.region)

    def _prepare(self) -> None:
        from radl_model.guidance.multidiffusion import check_scheduler

        super()._prepare()
        check_scheduler(self.pipe.scheduler)

    def _run_settings(self) -> Settings:
        return replace(super()._run_settings(), max_rows=self.params["max_rows"])
