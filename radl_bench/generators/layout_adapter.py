"""What RaDL and MIGC share: Stable Diffusion with an adapter that reads the layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from radl_bench.errors import UsageError
from radl_bench.generators.stable_diffusion import StableDiffusionGenerator
from radl_bench.types import Sample


class LayoutAdapterGenerator(StableDiffusionGenerator):
    """Layout to image: the same base, noise, scheduler and guidance as the text-only baseline, plus an adapter.

    Args:
        model: as for `StableDiffusionGenerator`.
        adapter: folder of the adapter, the file of a public checkpoint, or the name of another adapter of the model
            ("radl-no-relation"); the one of this method that belongs to the model when None.
        active_fraction: share of the steps with layout control; the adapter's own when None.
        repeat_phrases: encode each phrase as often as the image has instances, up to seven times, joined by ", and ";
            the method's own habit when None.
        release_prompt: replace the global prompt by one made of the phrases, as RaDL's released code does.
        context: which reading of equation (3) a public checkpoint gets where its shapes fit two.
        base: settings of `StableDiffusionGenerator`.

    Raises:
        MissingWeights: base or adapter is not on this machine.
        BadInput: the public checkpoint does not fit.
        UsageError: a setting that makes no sense, or an adapter that was made for another base.
    """

    adapter_name: str
    repeats: tuple[bool, bool] = (False, False)
    """Whether phrases are repeated, on the mini model and on others."""

    def __init__(
        self,
        model: str = "mini",
        device: str | None = None,
        adapter: str | None = None,
        active_fraction: float | str | None = None,
        repeat_phrases: bool | str | None = None,
        release_prompt: bool | str = False,
        context: str | None = None,
        **base: Any,
    ) -> None:
        from radl_model.checkpoints.places import resolve_adapter, resolve_base

        resolve_base(model)  # a model that is not there is named before its adapter is missed
        self.adapter, self.context = resolve_adapter(model, self.adapter_name, adapter), context
        super().__init__(model, device, **base)
        own = self.config = self.pipe.adapter.fusion_config
        self.params["active_fraction"] = own.active_fraction if active_fraction is None else _share(active_fraction)
        self.params["repeat_phrases"] = _flag(repeat_phrases, self.repeats[model != "mini"])
        self.params["release_prompt"] = _flag(release_prompt, False)
        self.params["adapter"] = own.to_dict()
        if self.adapter.name != self.adapter_name:
            self.params["weights"] = self.adapter.name

    def _load(self, model: str) -> Any:
        from radl_model.adapters.adapter import layer_names
        from radl_model.checkpoints.adapters import load_adapter
        from radl_model.checkpoints.public import convert_public
        from radl_model.pipelines.pipeline import RaDLPipeline

        pipe = RaDLPipeline.from_pretrained(self.base)
        if self.adapter.is_file():
            layers = [name.removesuffix(".transformer_blocks.0.attn2") for name in layer_names(pipe.unet)]
            self.adapter = convert_public(self.adapter, context=self.context, layers=layers)
        elif self.context is not None:
            raise UsageError("The setting context is about public checkpoint files; this adapter states its own.")
        pipe.register_modules(adapter=load_adapter(self.adapter, pipe.unet))
        return pipe

    def _weight_places(self) -> list[Path]:
        return [self.base, self.adapter]

    def _prompts(self, samples: Sequence[Sample]) -> list[str]:
        from radl_model.pipelines.wording import release_prompt

        if not self.params["release_prompt"]:
            return super()._prompts(samples)
        return [release_prompt(_phrases(s), _instance_verbs(s)) if s.instances else s.prompt for s in samples]

    def _layouts(self, samples: Sequence[Sample]) -> dict[str, Any]:
        return {
            "phrases": [self._worded(sample) for sample in samples],
            "boxes": [[i.box for i in sample.instances] for sample in samples],
            "verbs": [self._verbs(sample) for sample in samples],
            "related": [sorted({i for r in s.relations for i in (r.subject, r.object)}) for s in samples],
            "active_fraction": self.params["active_fraction"],
        }

    def _worded(self, sample: Sample) -> list[str]:
        """Phrases as they are encoded; the released RaDL ends every copy in the instance's verb."""
        from radl_model.pipelines.wording import repeat_phrases

        if not self.params["repeat_phrases"]:
            return _phrases(sample)
        release = self.config.relation and self.config.verb_mode == "release_ing"
        return repeat_phrases(_phrases(sample), _instance_verbs(sample) if release else None)

    def _verbs(self, sample: Sample) -> str:
        """Relation text: the sample's own, unless the adapter wants another form of it."""
        from radl_model.verbs.extract import extract_verbs

        own = type(self.config)().verb_mode
        return sample.verbs if self.config.verb_mode == own else extract_verbs(sample.prompt, self.config.verb_mode)


def _phrases(sample: Sample) -> list[str]:
    return [instance.phrase for instance in sample.instances]


def _instance_verbs(sample: Sample) -> list[str]:
    """What each instance does, "" for those that are no subject of a relation."""
    does = {relation.subject: relation.predicate for relation in reversed(sample.relations)}
    return [does.get(index, "") for index in range(len(sample.instances))]


def _flag(value: bool | str | None, default: bool) -> bool:
    return default if value is None else str(value).lower() in {"true", "1", "yes"}


def _share(value: float | str) -> float:
    try:
        share = float(value)
    except ValueError:
        raise UsageError(f"active_fraction={value!r} is not a number.") from None
    if not 0 <= share <= 1:
        raise UsageError(f"active_fraction={share} must lie in [0, 1].")
    return share
