"""RaDL: the same base, noise, scheduler and guidance as the text-only baseline, with the layout read by an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from radl_bench.generators.stable_diffusion import StableDiffusionGenerator
from radl_bench.types import Sample


class RadlGenerator(StableDiffusionGenerator):
    """Layout to image with RaDL's adapter.

    Args:
        model: as for `StableDiffusionGenerator`.
        device: as there.
        adapter: folder of the adapter; the one that belongs to the model when None.
        active_fraction: share of the steps with layout control; the adapter's own when None.
        num_inference_steps, ..., exact: settings of `StableDiffusionGenerator`.

    Raises:
        MissingWeights: base or adapter is not on this machine.
        UsageError: a setting that makes no sense, or an adapter that was made for another base.
    """

    name = "radl"
    adapter_name = "radl"

    def __init__(
        self,
        model: str = "mini",
        device: str | None = None,
        adapter: str | None = None,
        active_fraction: float | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        scheduler: str | None = None,
        negative_prompt: str | None = None,
        max_batch: int | None = None,
        dtype: str = "float32",
        exact: bool | str | None = None,
    ) -> None:
        from radl_model.weights import resolve_adapter

        self.adapter = resolve_adapter(model, self.adapter_name, adapter)
        super().__init__(
            model, device, num_inference_steps, guidance_scale, scheduler, negative_prompt, max_batch, dtype, exact
        )
        self.pipe.adapter.attach(self.pipe.unet)
        own = self.pipe.adapter.fusion_config
        self.params["active_fraction"] = own.active_fraction if active_fraction is None else float(active_fraction)
        self.params["adapter"] = own.to_dict()

    def _load(self, model: str) -> Any:
        from radl_model.pipeline import RaDLPipeline

        return RaDLPipeline.from_pretrained(self.base, adapter=self.adapter)

    def _weight_places(self) -> list[Path]:
        return [self.base, self.adapter]

    def _layouts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        return {
            "phrases": [[i.phrase for i in sample.instances] for sample in samples],
            "boxes": [[i.box for i in sample.instances] for sample in samples],
            "verbs": [sample.verbs for sample in samples],
            "active_fraction": self.params["active_fraction"],
        }
