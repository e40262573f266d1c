"""GLIGEN: gated layers that read boxes and phrases, on any Stable Diffusion v1 shaped base."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.errors import MissingWeights
from radl_bench.generators.engine import BaseSettings, EngineGenerator
from radl_bench.generators.numbers import share

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from radl_model.gligen.adapter import GligenAdapter

PUBLISHED_SHARE = 0.3


class GligenGenerator(EngineGenerator):
    """Layout to image with GLIGEN's layers on the base of all other methods.

    The unconditional rows see empty slots while the layers are on. Of more instances than slots (30), the largest boxes
    are kept; the image's row says so.

    Args:
        model: as for `EngineGenerator`.
        adapter: folder of the layers, of a diffusers pipeline with gated attention, or a public checkpoint's file; the
            one that belongs to the model when None: its own folder, what `radl-bench fetch gligen` brought, or the base
            itself where that is a GLIGEN pipeline.
        active_fraction: share of the steps with the layers on (the paper's beta); the adapter's own when None, 0.3 with
            the public weights. 1 follows the boxes most closely.
        ramp: share of the steps after those, in which the layers fade out; 0 as published when None.
        base: settings of `EngineGenerator`.

    Raises:
        MissingWeights: base or layers are not on this machine.
        BadInput: the checkpoint does not fit.
        UsageError: a setting that makes no sense, or layers that were made for another base.
    """

    name = "gligen"
    adapter: GligenAdapter
    official = {  # noqa: RUF012
        "num_inference_steps": 50,
        "guidance_scale": 7.5,
        "scheduler": "pndm",
        "negative_prompt": "longbody, lowres, bad anatomy, bad hands, missing fingers, extra digit, fewer digits, "
        "cropped, worst quality, low quality",
    }

    def __init__(
        self,
        model: str = "mini",
        device: str | None = None,
        adapter: str | None = None,
        active_fraction: float | str | None = None,
        ramp: float | str | None = None,
        **base: Unpack[BaseSettings],
    ) -> None:
        from radl_model.checkpoints.places import resolve_base

        resolve_base(model)  # a model that is not there is named before its layers are missed
        self.weights = find(model, adapter)
        super().__init__(model, device, **base)
        own = self.adapter.settings
        fraction = PUBLISHED_SHARE if self.params["recipe"] == "official" else own.active_fraction
        self.params["active_fraction"] = (
            fraction if active_fraction is None else share("active_fraction", active_fraction)
        )
        own = self.adapter.settings = replace(own, ramp=own.ramp if ramp is None else share("ramp", ramp))
        self.params["adapter"] = own.to_dict()

    @classmethod
    def check_weights(cls, model: str) -> None:
        """Raise `MissingWeights` where the base or its layers are not on this machine."""
        super().check_weights(model)
        find(model, None)

    def _adapter(self) -> GligenAdapter:
        from radl_model.gligen.public import load_gligen

        return load_gligen(self.weights, self.pipe.unet)

    def _weight_places(self) -> list[Path]:
        from radl_model.checkpoints.kinds import kind_of
        from radl_model.gligen.public import weight_file

        layers = self.weights if kind_of(self.weights) == "GligenAdapter" else weight_file(self.weights)
        return [self.base, layers]


def find(model: str, adapter: str | None) -> Path:
    """Return where GLIGEN's layers for a model are; raises `MissingWeights`."""
    from radl_model.checkpoints.places import resolve_adapter

    try:
        return resolve_adapter(model, "gligen", adapter)
    except MissingWeights as error:
        unet = Path(model).expanduser() / "unet"
        if adapter is None and _gated(unet):
            return unet
        if adapter is not None and (Path(adapter).expanduser() / "unet").is_dir():
            return Path(adapter).expanduser() / "unet"
        if model == "mini":
            raise
        raise MissingWeights(f"{error} The public weights come with `radl-bench fetch gligen`.") from None


def _gated(unet: Path) -> bool:
    try:
        config = json.loads((unet / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and str(config.get("attention_type", "")).startswith("gated")
