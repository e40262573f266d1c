"""A batch of layouts for the training of an adapter, and the texts it speaks of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class AdapterBatch:
    """B layouts padded to N instances, T tokens a text.

    Attributes:
        latents: [B, c, h, w], scaled as the UNet sees them.
        prompt_ids: [B, T]; a prompt dropped for guidance is the ids of the empty text.
        phrase_ids: [B, N, T]; boxes: [B, N, 4] xyxy fractions; valid: [B, N] bool.
        verb_ids: [B, T]; verb_valid: [B] bool.
        weights: [B, 1, h, w] of the loss, see `thing_weights`.
    """

    latents: Tensor
    prompt_ids: Tensor
    phrase_ids: Tensor
    boxes: Tensor
    valid: Tensor
    verb_ids: Tensor
    verb_valid: Tensor
    weights: Tensor

    def to(self, device: torch.device | str) -> AdapterBatch:
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})


class Kept(Protocol):
    """States of texts that were encoded before."""

    def find(self, ids: Tensor) -> tuple[Tensor, Tensor] | None:
        """[M, T] ids -> states [M, T, D] and pooled states [M, D]; None where one is not kept."""
        ...


class TextBank:
    """A frozen text encoder that remembers: phrases repeat all through a training, prompts hardly ever.

    Args:
        text_encoder: CLIPTextModel.
        limit: texts kept; the memory is emptied when it is full.
    """

    kept: Kept | None = None

    def __init__(self, text_encoder: nn.Module, limit: int = 4096) -> None:
        self.text_encoder = text_encoder.requires_grad_(False).eval()
        self.limit = limit
        self.known: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def once(self, ids: Tensor) -> Tensor:
        """[B, T] ids -> [B, T, D] states, not remembered."""
        if self.kept is not None and (found := self.kept.find(ids)) is not None:
            return found[0]
        return self.text_encoder(ids).last_hidden_state

    @torch.no_grad()
    def remembered(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """[M, T] ids -> states [M, T, D] and pooled states [M, D]."""
        if self.kept is not None and (found := self.kept.find(ids)) is not None:
            return found
        keys = [tuple(row) for row in ids.tolist()]
        if len(self.known) > self.limit:
            self.known.clear()
        new = list(dict.fromkeys(key for key in keys if key not in self.known))
        if new:
            out = self.text_encoder(torch.tensor(new, device=ids.device))
            self.known.update(zip(new, zip(out.last_hidden_state, out.pooler_output, strict=True), strict=True))
        rows = [self.known[key] for key in keys]
        return torch.stack([s for s, _ in rows]), torch.stack([p for _, p in rows])
