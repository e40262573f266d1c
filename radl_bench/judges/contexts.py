"""Texts longer than an encoder's context: what is beyond it is not read, which has to be said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from radl_bench.runs.image_checks import few
from radl_bench.runs.images import Picture

Tokenizer = Callable[..., Any]
"""What open_clip's tokenizers are: `(texts, context_length) -> ids [N, context_length]`, padded or cut."""


def notes_of_texts(tokenizer: Tokenizer, length: int, pictures: Sequence[Picture]) -> list[str]:
    """Return sentences with the number of prompts and of phrases that have more than `length` tokens."""
    prompts = dict.fromkeys(p.sample.prompt for p in pictures)
    phrases = dict.fromkeys(i.phrase for p in pictures for i in p.sample.instances)
    out = []
    for what, texts in (("prompt", prompts), ("phrase", phrases)):
        cut = cut_texts(tokenizer, length, texts)
        if cut:
            out.append(
                f"{few(cut, what, most=1)} longer than the {length} tokens that CLIP reads; the rest is cut off."
            )
    return out


def cut_texts(tokenizer: Tokenizer, length: int, texts: Iterable[str]) -> list[str]:
    """Return the texts that do not fit into `length` tokens, start and end included."""
    given = list(texts)
    if not given:
        return []
    wide = tokenizer(["", *given], context_length=length + 1)
    narrow = tokenizer(["", *given], context_length=length)
    padding = wide[0, -1]
    fits = (wide[1:, -1] == padding) & (wide[1:, :-1] == narrow[1:]).all(dim=1)
    return [text for text, fit in zip(given, fits.tolist(), strict=True) if not fit]
