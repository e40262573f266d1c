"""Stage "text": the text tower learns to say what a caption names before any image is drawn.

Read off linearly: at the last token of each phrase its class and colour; at every token after the last word, and so
all through the padding, class and colour of each thing in the caption's order. The base then trains with this tower
frozen: no step of a UNet has to teach it what the words are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import CLIPTextModel, CLIPTokenizer

from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.layouts import LayoutSampler
from radl_bench.mini.train.config import LEARNS, takes
from radl_bench.mini.train.text import build_text_encoder, build_tokenizer, token_ids
from radl_bench.types import COLORS, Sample
from radl_model.train.loop import Loop, LoopConfig

UNCOLOURED = len(COLORS)
MOST = 6
ANSWERS = len(CATEGORIES) + UNCOLOURED + 1
NOTHING = -100
HELD_OUT = 965_000
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def phrase_ends(tokenizer: CLIPTokenizer, sample: Sample) -> list[int]:
    """Index of the last token of each instance's phrase; byte-pair tokens never cross a word."""
    ends, at = [], 0
    for thing in sample.instances:
        at = sample.prompt.index(thing.phrase, at) + len(thing.phrase)
        ends.append(len(tokenizer.tokenize(sample.prompt[:at])))
    return ends


def answers(tokenizer: CLIPTokenizer, samples: Sequence[Sample]) -> Batch:
    """Token ids [B, T], class and colour [B, 6] in the caption's order (-100: no such thing), phrase ends [B, 6]."""
    kind = torch.full((len(samples), MOST), NOTHING)
    color = torch.full((len(samples), MOST), NOTHING)
    ends = torch.zeros(len(samples), MOST, dtype=torch.long)
    for row, sample in enumerate(samples):
        count = len(sample.instances)
        kind[row, :count] = torch.tensor([CATEGORIES.index(t.category) for t in sample.instances])
        color[row, :count] = torch.tensor([COLORS.index(t.color) if t.color else UNCOLOURED for t in sample.instances])
        ends[row, :count] = torch.tensor(phrase_ends(tokenizer, sample))
    return token_ids(tokenizer, [s.prompt for s in samples]), kind, color, ends


class Reading(nn.Module):
    """The tower with linear readers: one for phrases, one for each place in a caption."""

    def __init__(self, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        width = text_encoder.config.hidden_size
        self.text_encoder = text_encoder
        self.phrase, self.caption = nn.Linear(width, ANSWERS), nn.Linear(width, MOST * ANSWERS)

    def forward(self, ids: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, 6, answers] at the phrase ends, and [B, T, 6, answers] at all tokens."""
        states = self.text_encoder(ids).last_hidden_state
        at = torch.gather(states, 1, ends[..., None].expand(-1, -1, states.shape[-1]))
        return self.phrase(at).float(), self.caption(states).unflatten(-1, (MOST, ANSWERS)).float()


def _entropy(logits: Tensor, kind: Tensor, color: Tensor) -> Tensor:
    """Mean cross-entropy of class plus colour; logits [..., answers], targets [...]."""
    first, second = logits.split((len(CATEGORIES), UNCOLOURED + 1), dim=-1)
    return cross_entropy(first.flatten(0, -2), kind.flatten()) + cross_entropy(second.flatten(0, -2), color.flatten())


def loss_fn(module: nn.Module, batch: Batch, rng: torch.Generator, end_token: int) -> Tensor:
    """Cross-entropy at the phrase ends and at the tokens after the last word."""
    ids, kind, color, ends = batch
    phrase, caption = module(ids, ends)
    row, column = (ids == end_token).nonzero(as_tuple=True)
    return _entropy(phrase, kind, color) + _entropy(caption[row, column], kind[row], color[row])


def make_batch(step: int, batch_size: int, seed: int, tokenizer: CLIPTokenizer) -> Batch:
    """Fresh captions of one to six things, and as many bare phrases as there are captions of one thing."""
    layouts = LayoutSampler(int(np.random.default_rng((seed, step)).integers(1 << 31)), (2, 1, 1, 1, 1, 1))
    return answers(tokenizer, [layouts.sample() for _ in range(batch_size)])


@torch.no_grad()
def told(module: nn.Module, tokenizer: CLIPTokenizer, count: int = 512) -> dict[str, float]:
    """Share of the things named right, class and colour both, off the last token of the padding, by level."""
    ids, kind, color, ends = make_batch(0, count, HELD_OUT, tokenizer)
    first, second = module(ids, ends)[1][:, -1].split((len(CATEGORIES), UNCOLOURED + 1), dim=-1)
    right = (first.argmax(-1) == kind) & (second.argmax(-1) == color)
    level = (kind != NOTHING).sum(1)
    return {f"told {n}": round(float(right[level == n][:, :n].float().mean()), 4) for n in (1, 2, 4, 6)}


def on_sample(out: Path, tokenizer: CLIPTokenizer, module: nn.Module, step: int) -> dict[str, float]:
    """Write `out/text_encoder` and return what is told."""
    module.eval()
    module.text_encoder.save_pretrained(out / "text_encoder")  # type: ignore[operator, union-attr]
    measured = told(module, tokenizer)
    module.train()
    return measured


@takes("text", needs={"loop"}, may=LEARNS)
def train(settings: dict[str, Any], out: Path, minutes: float | None) -> None:
    """Train the text tower alone; leaves `text_encoder/`."""
    torch.manual_seed(settings.get("init_seed", 0))
    config = LoopConfig.from_dict(settings["loop"])
    tokenizer = build_tokenizer()
    text_encoder = build_text_encoder(tokenizer)
    text_encoder.set_attn_implementation("eager")
    batch = partial(make_batch, batch_size=config.batch_size, seed=settings.get("data_seed", 21), tokenizer=tokenizer)
    loss = partial(loss_fn, end_token=tokenizer.eos_token_id)
    loop = Loop(Reading(text_encoder), batch, loss, config, out, partial(on_sample, out, tokenizer))
    loop.resume()
    loop.run(minutes)
