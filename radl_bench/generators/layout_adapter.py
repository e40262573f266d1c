"""What RaDL and MIGC share: Stable Diffusion with fusion layers that read the layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.errors import UsageError
from radl_bench.generators.engine import BaseSettings, EngineGenerator, flag
from radl_bench.generators.numbers import share
from radl_bench.types import Sample

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from radl_model.adapters.adapter import FusionAdapter


class LayoutAdapterGenerator(EngineGenerator):
    """Layout to image: the same base, noise, scheduler and guidance as the text-only baseline, plus an adapter.

    Args:
        model: as for `EngineGenerator`.
        adapter: folder of the adapter, the file of a public checkpoint, or the name of another adapter of the model
            ("radl-no-relation"); the one of this method that belongs to the model when None.
        active_fraction: share of the steps with layout control; the adapter's own when None.
        repeat_phrases: encode each phrase as often as the image has instances, up to seven times, joined by ", and ";
            the method's own habit when None.
        release_prompt: replace the global prompt by one made of the phrases, as RaDL's released code does.
        context: which reading of equation (3) a public checkpoint gets where its shapes fit two.
        base: settings of `EngineGenerator`.

    Raises:
        MissingWeights: base or adapter is not on this machine.
        BadInput: the public checkpoint does not fit.
        UsageError: a setting that makes no sense, or an adapter that was made for another base.
    """

    adapter: FusionAdapter
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
        **base: Unpack[BaseSettings],
    ) -> None:
        from radl_model.checkpoints.places import resolve_adapter, resolve_base

        resolve_base(model)  # a model that is not there is named before its adapter is missed
        self.weights, self.context = resolve_adapter(model, self.adapter_name, adapter), context
        super().__init__(model, device, **base)
        own = self.config = self.adapter.fusion_config
        self.params["active_fraction"] = (
            own.active_fraction if active_fraction is None else share("active_fraction", active_fraction)
        )
        self.params["repeat_phrases"] = (
            self.repeats[model != "mini"] if repeat_phrases is None else flag(repeat_phrases)
        )
        self.params["release_prompt"] = flag(release_prompt)
        self.params["adapter"] = own.to_dict()
        if self.weights.name != self.adapter_name:
            self.params["weights"] = self.weights.name

    @classmethod
    def check_weights(cls, model: str) -> None:
        """Raise `MissingWeights` where the base or its adapter is not on this machine."""
        from radl_model.checkpoints.places import resolve_adapter

        super().check_weights(model)
        resolve_adapter(model, cls.adapter_name)

    def _adapter(self) -> FusionAdapter:
        from radl_model.adapters.adapter import layer_names
        from radl_model.checkpoints.adapters import load_adapter
        from radl_model.checkpoints.public import convert_public

        unet = self.pipe.unet
        if self.weights.is_file():
            layers = [name.removesuffix(".transformer_blocks.0.attn2") for name in layer_names(unet)]
            self.weights = convert_public(self.weights, context=self.context, layers=layers)
        elif self.context is not None:
            raise UsageError("The setting context is about public checkpoint files; this adapter states its own.")
        return load_adapter(self.weights, unet)

    def _weight_places(self) -> list[Path]:
        return [self.base, self.weights]

    def _prompt(self, sample: Sample) -> str:
        """Global prompt; the released RaDL puts one made of the phrases in its place."""
        from radl_model.adapters.wording import release_prompt

        if not self.params["release_prompt"] or not sample.instances:
            return sample.prompt
        return release_prompt(super()._phrases(sample), _instance_verbs(sample))

    def _phrases(self, sample: Sample) -> list[str]:
        """Phrases as they are encoded; the released RaDL ends every copy in the instance's verb."""
        from radl_model.adapters.wording import repeat_phrases

        plain = super()._phrases(sample)
        if not self.params["repeat_phrases"]:
            return plain
        release = self.config.relation and self.config.verb_mode == "release_ing"
        return repeat_phrases(plain, _instance_verbs(sample) if release else None)

    def _verbs(self, sample: Sample) -> str:
        """Relation text: the sample's own, unless the adapter wants another form of it."""
        from radl_model.verbs.extract import extract_verbs

        own = type(self.config)().verb_mode
        return sample.verbs if self.config.verb_mode == own else extract_verbs(sample.prompt, self.config.verb_mode)


def _instance_verbs(sample: Sample) -> list[str]:
    """What each instance does, "" for those that are no subject of a relation."""
    does = {relation.subject: relation.predicate for relation in reversed(sample.relations)}
    return [does.get(index, "") for index in range(len(sample.instances))]
