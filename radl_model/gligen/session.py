"""GLIGEN on the engine: a batch grounded once, the layers on for the first share of the steps, and off after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from radl_model.engine.layouts import Layout
from radl_model.engine.protocol import Session
from radl_model.engine.run import Run, Step, UNetCall
from radl_model.errors import UsageError
from radl_model.gligen.layers import Grounding, attention_arguments

if TYPE_CHECKING:
    from radl_model.gligen.adapter import GligenAdapter


class GligenSession(Session):
    """Hands the UNet the grounding of a batch while the layers are on.

    The unconditional rows see empty slots, which is not the same as no layers. A row of an image without instances is
    denoised plainly, as it is by itself.

    Args:
        adapter: attached to the UNet; run: the batch.

    Raises:
        UsageError: the batch is to be denoised in parts.
    """

    def __init__(self, adapter: GligenAdapter, run: Run) -> None:
        rows = run.images * (2 if run.guided else 1)
        if run.max_rows is not None and run.max_rows < rows:
            raise UsageError(f"GLIGEN denoises a batch as one; max_rows={run.max_rows} must be at least {rows} here.")
        settings = adapter.settings
        self.strengths = settings.strengths(run.steps, run.active_fraction)
        self.kept = [largest(layout, settings.slots) for layout in run.layouts]
        self.counts = [len(layout.phrases) for layout in run.layouts]
        self.grounding = _ground(adapter, run, self.kept)

    def around_unet(self, step: Step, call: UNetCall, unet: Callable[[UNetCall], Tensor]) -> Tensor:
        # The published sampler counts 50 steps where PNDM lists 51 timesteps: its first step calls the UNet twice.
        strength = self.strengths[step.index * step.run.steps // step.run.total]
        if strength == 0:
            return unet(call)
        own = attention_arguments(self.grounding.last(len(call.sample)).scaled(strength))
        others: dict[str, object] = call.extra.get("cross_attention_kwargs") or {}
        return unet(call.with_extra(cross_attention_kwargs={**others, **own}))

    def notes(self) -> list[str]:
        left_out = (count - len(kept) for count, kept in zip(self.counts, self.kept, strict=True))
        return [
            f"No guidance for {left} of {count} instances: GLIGEN keeps the {count - left} largest boxes."
            if left
            else ""
            for left, count in zip(left_out, self.counts, strict=True)
        ]


def largest(layout: Layout, slots: int) -> list[int]:
    """Return the indices of the `slots` largest boxes in the order of the layout; of equal ones the first."""
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in layout.boxes]
    return sorted(sorted(range(len(areas)), key=lambda i: -areas[i])[:slots])


def _ground(adapter: GligenAdapter, run: Run, kept: Sequence[Sequence[int]]) -> Grounding:
    """Encode each different phrase once and fill the slots; with guidance, first come the rows of empty slots."""
    texts = list(dict.fromkeys(text for layout in run.layouts for text in layout.phrases))
    pooled = run.encoder.encode(texts).pooled
    shape = (run.images, adapter.settings.slots)
    valid, boxes = torch.zeros(shape, dtype=torch.bool), torch.zeros(*shape, 4)
    which = torch.zeros(shape, dtype=torch.long)
    for row, (layout, own) in enumerate(zip(run.layouts, kept, strict=True)):
        for slot, i in enumerate(own):
            valid[row, slot], boxes[row, slot] = True, torch.tensor(layout.boxes[i])
            which[row, slot] = texts.index(layout.phrases[i])
    strength = valid.any(1).float()
    if run.guided:
        none = torch.zeros_like(valid)
        valid, boxes = torch.cat([none, valid]), boxes.repeat(2, 1, 1)
        which, strength = which.repeat(2, 1), strength.repeat(2)
    device = pooled.device
    return adapter.ground(pooled[which.to(device)], boxes.to(device), valid.to(device), strength.to(device))
