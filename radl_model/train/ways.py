"""How each kind of adapter is made and meets a training batch; the rest of the stage is the same for all."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from radl_model.adapters.adapter import FusionAdapter
from radl_model.errors import UsageError, did_you_mean
from radl_model.gligen.adapter import GligenAdapter
from radl_model.gligen.config import GligenConfig
from radl_model.gligen.layers import attention_arguments
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import LayoutContext, build_context
from radl_model.layers.inhibition import Inhibition
from radl_model.train.batch import AdapterBatch, TextBank
from radl_model.train.draws import Draws

Call = Callable[..., tuple[Tensor]]
"""The UNet on the noisy latents of a batch; takes further arguments of the UNet."""


class Way(Protocol):
    """A kind of adapter in training."""

    kind: type[nn.Module]

    @staticmethod
    def make(unet: nn.Module, table: Mapping[str, Any]) -> Any:
        """Return a fresh adapter; `table` is the config's, of the way's name."""
        ...

    @staticmethod
    def predict(
        call: Call, adapter: Any, batch: AdapterBatch, texts: TextBank, draws: Draws
    ) -> tuple[Tensor, Tensor | float]:
        """Return the UNet's prediction with the adapter on, and a term of the loss beside its error.

        A way takes options of its own by name: the config's `[loss]`.
        """
        ...


class Fusion:
    """RaDL and MIGC."""

    kind = FusionAdapter

    @staticmethod
    def make(unet: nn.Module, table: Mapping[str, Any]) -> FusionAdapter:
        return FusionAdapter.from_unet(unet, FusionConfig.from_dict(dict(table)))

    @staticmethod
    def predict(
        call: Call,
        adapter: FusionAdapter,
        batch: AdapterBatch,
        texts: TextBank,
        draws: Draws,
        phrase_dropout: float = 0.0,
        shuffle_slots: bool = True,
        inhibition: float = 0.0,
    ) -> tuple[Tensor, Tensor | float]:
        """See `Way`.

        Args:
            phrase_dropout: share of the instances that are left out of the layout, so that no phase is relied on.
            shuffle_slots: give the instances random slots of the phase gate, so that none is tied to an order.
            inhibition: weight of MIGC's inhibition term (`inhibition.py`); 0 leaves it out, MIGC has 0.1.
        """
        context = _context(adapter, batch, draws, texts, phrase_dropout, shuffle_slots)
        watch = None
        if inhibition and context is not None:
            watch = Inhibition(context)
            context.watch = watch.observe
        adapter.holder.context = context
        try:
            predicted = call()[0]
        finally:
            adapter.holder.context = None
        return predicted, 0.0 if watch is None else inhibition * watch.value().to(predicted.device)


class Gligen:
    """GLIGEN."""

    kind = GligenAdapter

    @staticmethod
    def make(unet: nn.Module, table: Mapping[str, Any]) -> GligenAdapter:
        return GligenAdapter.from_unet(unet, GligenConfig.from_dict(table))

    @staticmethod
    def predict(
        call: Call,
        adapter: GligenAdapter,
        batch: AdapterBatch,
        texts: TextBank,
        draws: Draws,
        phrase_dropout: float = 0.0,
        null_share: float = 0.1,
    ) -> tuple[Tensor, Tensor | float]:
        """See `Way`.

        Args:
            phrase_dropout: share of the instances that are left out of the layout.
            null_share: share of the images with empty slots alone, which is what the unconditional rows see in
                sampling. The published training empties a tenth of its batches.
        """
        valid = _kept(batch.valid.bool(), phrase_dropout, draws)
        valid = valid & (draws.rand(1) >= null_share).to(valid.device)
        spare = adapter.settings.slots - valid.shape[1]
        if spare < 0:
            raise UsageError(f"A training batch holds {valid.shape[1]} instances an image; slots must be as many.")
        pooled = texts.remembered(batch.phrase_ids.flatten(0, 1))[1].unflatten(0, valid.shape)
        grounding = adapter.ground(
            F.pad(pooled, (0, 0, 0, spare)), F.pad(batch.boxes, (0, 0, 0, spare)), F.pad(valid, (0, spare))
        )
        return call(cross_attention_kwargs=attention_arguments(grounding))[0], 0.0


_GIVEN = 5
"""Parameters of `Way.predict` that the loss gives; those after it are options."""

WAYS: dict[str, type[Way]] = {"fusion": Fusion, "gligen": Gligen}


def way_named(name: str) -> type[Way]:
    """Return a way by the name that a config gives as `method`; raises `UsageError`."""
    if name not in WAYS:
        raise UsageError(did_you_mean(name, WAYS, "kind of adapter"))
    return WAYS[name]


def check_options(way: type[Way], options: Iterable[str]) -> None:
    """Refuse options of the loss that this way does not take; raises `UsageError`."""
    taken = [*inspect.signature(way.predict).parameters][_GIVEN:]
    for name in options:
        if name not in (known := ("first_timestep", "min_snr", *taken)):
            raise UsageError(did_you_mean(name, known, "option of [loss]"))


def way_of(adapter: nn.Module) -> type[Way]:
    """Return the way that trains an adapter."""
    return next(way for way in WAYS.values() if isinstance(adapter, way.kind))


def _kept(valid: Tensor, dropout: float, draws: Draws) -> Tensor:
    if not dropout:
        return valid
    return valid & (draws.rand(*valid.shape[1:]) >= dropout).to(valid.device)


def _context(
    adapter: FusionAdapter,
    batch: AdapterBatch,
    draws: Draws,
    texts: TextBank,
    phrase_dropout: float,
    shuffle_slots: bool,
) -> LayoutContext | None:
    config, valid = adapter.fusion_config, _kept(batch.valid.bool(), phrase_dropout, draws)
    order = None
    if shuffle_slots:
        order = draws.rand(config.permuted_slots).argsort(1).to(valid.device)
    if config.verb_texts != "joined" or config.relation_scope != "union":
        raise UsageError(
            "A training batch holds one relation text an image, about all its instances; set others later."
        )
    states, pooled = texts.remembered(batch.phrase_ids.flatten(0, 1))
    verb_ids, spoken = batch.verb_ids, batch.verb_valid.bool()
    if config.no_verb != "drop":
        if config.no_verb == "prompt":
            verb_ids = torch.where(spoken[:, None], verb_ids, batch.prompt_ids)
        spoken = torch.ones_like(spoken)  # the ids of a missing text are those of the empty one
    return build_context(
        states.unflatten(0, valid.shape),
        pooled.unflatten(0, valid.shape),
        batch.boxes,
        valid,
        (batch.latents.shape[-2], batch.latents.shape[-1]),
        verbs=texts.remembered(verb_ids)[0] if config.relation else None,
        verb_valid=spoken if config.relation else None,
        mask_mode=config.mask_mode,
        order=order,
    )
