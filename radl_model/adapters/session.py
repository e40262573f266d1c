"""The fusion layers on the engine: layouts into a context, and the layers on for the first share of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from radl_model.adapters.wording import relation_texts, slot_generators
from radl_model.engine.layouts import Layout
from radl_model.engine.protocol import Session
from radl_model.engine.run import Run, Step
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import ContextHolder, LayoutContext, build_context
from radl_model.verbs.extract import extract_verbs


class FusionSession(Session):
    """Binds a context to the processors, and switches it by step.

    Args:
        holder: where the processors look; context: of the batch; config: settings of the layers.
        run: the batch.
    """

    def __init__(self, holder: ContextHolder, context: LayoutContext, config: FusionConfig, run: Run) -> None:
        self.holder, self.context, self.config = holder, context, config
        self.held = context.rows - (run.images if run.guided else 0)
        self._before(run, 0)
        holder.context = context

    def after_step(self, step: Step, latents: Tensor) -> Tensor:
        """Switch the layers for the next step, so that the caller's callback already sees them so."""
        self._before(step.run, step.index + 1)
        return latents

    def before_unet(self, step: Step, latents: Tensor) -> Tensor:
        """Find the conditional rows: a callback may have ended the guidance half-way."""
        self.context.rows = self.held + (step.run.images if step.run.guided else 0)
        return latents

    def close(self) -> None:
        self.holder.context = None

    def _before(self, run: Run, index: int) -> None:
        self.context.active = index < self.config.active_steps(run.total, run.active_fraction)
        self.context.refining = index < self.config.refine_steps(run.total)


@dataclass(frozen=True)
class _Padded:
    """B layouts padded to N instances and V relation texts; indices are into the list of all different texts."""

    texts: list[str]
    phrases: Tensor
    boxes: Tensor
    valid: Tensor
    related: Tensor
    verbs: Tensor
    spoken: Tensor


def layout_context(run: Run, config: FusionConfig) -> LayoutContext | None:
    """Encode each different text of a batch once and build its context; None when no image has an instance."""
    if not any(layout.phrases for layout in run.layouts):
        return None
    padded = _pad(run.layouts, [_relations(layout, config) for layout in run.layouts])
    encoded = run.encoder.encode(padded.texts)
    device = encoded.states.device
    return build_context(
        encoded.states[padded.phrases.to(device)],
        encoded.pooled[padded.phrases.to(device)],
        padded.boxes.to(device),
        padded.valid.to(device),
        run.grid,
        verbs=encoded.states[padded.verbs.to(device)],
        verb_valid=padded.spoken.to(device),
        guidance=run.guided,
        mask_mode=config.mask_mode,
        related=padded.related.to(device) if config.relation_scope == "pair" else None,
        rngs=slot_generators(config, run.generators, run.images),
    )


def _relations(layout: Layout, config: FusionConfig) -> list[str]:
    verbs = extract_verbs(layout.prompt, config.verb_mode) if layout.verbs is None else layout.verbs
    return relation_texts(layout.prompt, verbs, config)


def _pad(layouts: Sequence[Layout], verbs: list[list[str]]) -> _Padded:
    texts = list(dict.fromkeys([p for entry in layouts for p in entry.phrases] + [v for row in verbs for v in row]))
    at = {text: i for i, text in enumerate(texts)}
    width = max(len(entry.phrases) for entry in layouts)
    valid = torch.zeros(len(layouts), width, dtype=torch.bool)
    boxes, related, phrases = torch.zeros(len(layouts), width, 4), valid.clone(), valid.long()
    said = torch.zeros(len(layouts), max(1, *map(len, verbs)), dtype=torch.long)
    spoken = said.bool()
    for row, entry in enumerate(layouts):
        count = len(entry.phrases)
        phrases[row, :count] = torch.tensor([at[p] for p in entry.phrases], dtype=torch.long)
        boxes[row, :count] = torch.tensor(entry.boxes).reshape(count, 4)
        valid[row, :count] = True
        related[row, list(entry.related)] = True
        said[row, : len(verbs[row])] = torch.tensor([at[v] for v in verbs[row]], dtype=torch.long)
        spoken[row, : len(verbs[row])] = True
    return _Padded(texts, phrases, boxes, valid, related, said, spoken)
