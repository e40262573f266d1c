"""Texts into states: the prompts of a batch, single phrases, and what of them is cut off."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from radl_model.engine.layouts import Layout
from radl_model.engine.spans import Span, token_spans

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoded:
    """States of M texts: `states` [M, T, D] of their tokens, `pooled` [M, D]."""

    states: Tensor
    pooled: Tensor


class Texts:
    """The text side of a base.

    Args:
        pipe: holds tokenizer and text encoder; they are read at each call, so that they may be replaced.
    """

    def __init__(self, pipe: StableDiffusionPipeline) -> None:
        self.pipe = pipe
        self.truncated: list[str] = []

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Encode M texts by themselves, as a prompt is; one that is cut is logged and kept in `truncated`."""
        pipe, texts = self.pipe, list(texts)
        length = pipe.tokenizer.model_max_length
        self.truncated = self.too_long(texts)
        for text in self.truncated:
            logger.warning("The phrase %r is longer than %d tokens; its end is cut off.", text, length)
        ids = pipe.tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        with torch.no_grad():
            out = pipe.text_encoder(ids.input_ids.to(pipe._execution_device))
        dtype = pipe.unet.dtype
        return Encoded(out.last_hidden_state.to(dtype), out.pooler_output.to(dtype))

    def spans(self, layout: Layout, plurals: bool = False) -> list[Span | None]:
        """Return the tokens of the prompt that name each instance, see `token_spans`."""
        return token_spans(self.pipe.tokenizer, layout.prompt, layout.phrases, layout.categories, plurals)

    def note_of_cuts(self, texts: Sequence[str]) -> str:
        """Return a sentence that names the texts whose end is cut off, "" when all fit (77 tokens with v1 bases)."""
        cut = list(dict.fromkeys(self.too_long(texts)))
        length = self.pipe.tokenizer.model_max_length
        return f"Cut off after {length} tokens: " + "; ".join(f"'{text}'" for text in cut) + "." if cut else ""

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """Return the texts that do not fit."""
        # A token is at least one byte, and two mark start and end: most texts need no tokenizer.
        length = self.pipe.tokenizer.model_max_length
        long = [text for text in texts if len(text.encode()) + 2 > length]
        return [text for text in long if len(self.pipe.tokenizer(text).input_ids) > length]
