"""What methods that need no training share: the share of the steps they act in, and the wording of the prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radl_bench.errors import UsageError, did_you_mean
from radl_bench.generators.engine import BaseSettings, EngineGenerator
from radl_bench.generators.numbers import share
from radl_bench.types import Sample

PROMPTS = ("caption", "caption+labels")

if TYPE_CHECKING:
    from typing_extensions import Unpack


class TrainingFreeGenerator(EngineGenerator):
    """Layout to image by what a method does to the denoising of a base; the engine's settings and two more.

    Args:
        model: as for `EngineGenerator`.
        active_fraction: share of the steps in which the method acts; its own when None.
        prompt: "caption", the sample's own; or "caption+labels", which ends in the phrases that the caption does not
            mention, neither themselves nor by their category.
        base: settings of `EngineGenerator`.

    Raises:
        MissingWeights: the model is not on this machine.
        UsageError: a setting that makes no sense.
    """

    active: float
    """Share of the steps it was published with."""

    def __init__(
        self,
        model: str = "mini",
        device: str | None = None,
        active_fraction: float | str | None = None,
        prompt: str = "caption",
        **base: Unpack[BaseSettings],
    ) -> None:
        if prompt not in PROMPTS:
            raise UsageError(did_you_mean(prompt, PROMPTS, "prompt"))
        active = self.active if active_fraction is None else share("active_fraction", active_fraction)
        super().__init__(model, device, **base)
        self.params |= {"active_fraction": active, "prompt": prompt}

    def _prompt(self, sample: Sample) -> str:
        from radl_model.guidance.words import with_labels

        if self.params["prompt"] == "caption":
            return sample.prompt
        names = [instance.category for instance in sample.instances]
        return with_labels(sample.prompt, self._phrases(sample), names)
