"""Tokenizer and text tower of the mini model: CLIP's BPE, cut down, and a small `CLIPTextModel`."""

from __future__ import annotations

import gzip
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import open_clip
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from radl_bench.mini.atlas import CATEGORIES
from radl_bench.types import COLORS

MAX_LENGTH = 48
MERGES = 4000
_WORDS = (
    "a an the photo picture of there is and on top resting sitting leaning against facing looking at chasing left "
    "right above below under next to between behind front with one two three four five six"
)


@lru_cache(maxsize=1)
def _all_merges() -> list[str]:
    """CLIP's 48,894 merges, out of the vocabulary file that open_clip ships (MIT)."""
    file = Path(open_clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz"
    return gzip.decompress(file.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]


def _merges_of(word: str, ranks: dict[tuple[str, ...], int]) -> set[int]:
    """The ranks of the merges that byte-pair encoding applies to a word."""
    pieces, used = [*word[:-1], word[-1] + "</w>"], set()
    while len(pieces) > 1:
        pairs = [(ranks.get((a, b), len(ranks)), i) for i, (a, b) in enumerate(pairwise(pieces))]
        rank, i = min(pairs)
        if rank == len(ranks):
            break
        used.add(rank)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
    return used


def cut_merges(count: int = MERGES) -> list[str]:
    """Return the first `count` merges and those that the words of the mini world need, in CLIP's order.

    A word of the world is therefore split exactly as CLIP splits it, and any other text still has a spelling.
    """
    merges = _all_merges()
    ranks = {tuple(merge.split()): i for i, merge in enumerate(merges)}
    words = set(" ".join([*CATEGORIES, *COLORS, _WORDS]).split())
    kept = set(range(count)).union(*(_merges_of(word, ranks) for word in words))
    return [merges[i] for i in sorted(kept)]


def build_tokenizer() -> CLIPTokenizer:
    """Return CLIP's tokenizer over `cut_merges()`, padded and truncated to 48 tokens."""
    from open_clip.tokenizer import bytes_to_unicode

    merges = cut_merges()
    single = list(bytes_to_unicode().values())
    tokens = [*single, *(c + "</w>" for c in single), *("".join(m.split()) for m in merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    pairs = [tuple(merge.split()) for merge in merges]
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=MAX_LENGTH)
    assert len(tokenizer) == len(vocabulary), "transformers built a tokenizer of another size"
    return tokenizer


def build_text_encoder(tokenizer: CLIPTokenizer, width: int = 192, layers: int = 3, heads: int = 4) -> CLIPTextModel:
    """Return an untrained text tower; tokens start far apart, so that words differ from the first step."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=MAX_LENGTH,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPTextModel(config)
    embeddings = (model.text_model if hasattr(model, "text_model") else model).embeddings
    torch.nn.init.normal_(embeddings.token_embedding.weight, std=0.5)
    torch.nn.init.normal_(embeddings.position_embedding.weight, std=0.1)
    return model


def token_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """int64 [N, 48]."""
    return tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
