"""What a training will take, computed before anything starts: parameters, memory by part, disk, images and hours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from radl_model.errors import MissingData, UsageError, did_you_mean
from radl_model.pipelines.sd14 import TOKENS
from radl_model.train.counting import Cost, cost_of, shapes_only
from radl_model.train.encoding import ENCODED_AT_ONCE
from radl_model.train.layout_rows import count_rows, shard_files
from radl_model.train.program import Program
from radl_model.train.skeleton import Skeleton, read_skeleton
from radl_model.train.turn import Turn
from radl_model.train.ways import way_named

GB = 1e9
SHARE = 0.35
"""Share of a card's peak that a training is taken to reach. An assumption; `--measure` times a turn instead."""
ROOM = 0.92
"""Share of a card's memory that is planned with: the rest is the driver's, and what its allocator rounds up."""
TRAIN2014 = (82_783, 13.5e9)
"""Images of COCO's train2014, and their bytes."""


class Card(NamedTuple):
    """Memory in bytes and dense peak of half precision with sums in float32, in FLOPs a second, as its maker says."""

    memory: float
    peak: float
    halves: tuple[str, ...] = ("bf16", "fp16")


CARDS = {
    "v100-16gb": Card(16 * 2**30, 125e12, ("fp16",)),
    "v100-32gb": Card(32 * 2**30, 125e12, ("fp16",)),
    "rtx-3090": Card(24 * 2**30, 71e12),
    "rtx-4090": Card(24 * 2**30, 165e12),
    "l40s": Card(48 * 2**30, 362e12),
    "a100-40gb": Card(40 * 2**30, 312e12),
    "a100-80gb": Card(80 * 2**30, 312e12),
    "h100-80gb": Card(80 * 2**30, 989e12),
}


def card_named(name: str) -> Card:
    """Return a card; raises `UsageError` for a name that is none."""
    if name not in CARDS:
        raise UsageError(did_you_mean(name, CARDS, "card"))
    return CARDS[name]


@dataclass(frozen=True)
class Plan:
    """A training on `gpus` cards of a kind; bytes and FLOPs are those of one card.

    Raises:
        UsageError: the batch cannot be shared by these cards.
    """

    program: Program
    card: str = "a100-80gb"
    gpus: int = 1

    def __post_init__(self) -> None:
        card, loop = card_named(self.card), self.program.loop
        if self.gpus < 1:
            raise UsageError(f"A plan is for 1 GPU or more, not {self.gpus}.")
        if loop.batch_size % (self.gpus * loop.accumulate):
            raise UsageError(
                f"batch_size {loop.batch_size} cannot be shared by {self.gpus} GPUs in {loop.accumulate} turns each."
            )
        if loop.precision in ("bf16", "fp16") and loop.precision not in card.halves:
            raise UsageError(f"A {self.card} does not compute in {loop.precision}; set precision to {card.halves[0]}.")

    @property
    def turn_size(self) -> int:
        """Samples that a card holds at a time."""
        return self.program.loop.batch_size // (self.gpus * self.program.loop.accumulate)

    @cached_property
    def skeleton(self) -> Skeleton:
        """What the base is built of."""
        return read_skeleton(self.program.base)

    @cached_property
    def turn(self) -> Turn:
        """A turn of this training, of fake tensors."""
        precision = {"auto": "bf16"}.get(self.program.loop.precision, self.program.loop.precision)
        with shapes_only():
            unet = self.skeleton.make_unet()
            adapter = way_named(self.program.method).make(unet, self.program.settings)
            adapter.attach(unet)
        return Turn(unet, adapter, self.program.loss, self.program.rules, precision)

    @cached_property
    def parameters(self) -> dict[str, int]:
        """Number of weights of each part; those of the adapter are trained."""
        with shapes_only():
            vae = self.skeleton.make_vae()
        return {
            "UNet": _weights(self.turn.unet),
            "autoencoder": _weights(vae),
            "text encoder": self.skeleton.text_parameters(),
            "adapter": _weights(self.turn.adapter),
        }

    @cached_property
    def _turns(self) -> tuple[Cost, Cost]:
        """Costs of turns of one sample and of two: both grow in equal steps from there on."""
        made = []
        for samples in (1, 2):
            self.turn.adapter.zero_grad(set_to_none=True)
            made.append(cost_of(lambda n=samples: self.turn.forward(n), backward=True))  # type: ignore[misc]
        return made[0], made[1]

    @cached_property
    def _encoding(self) -> Cost:
        """Cost of one image's way through the autoencoder."""
        side = self.program.rules.side
        with shapes_only():
            vae = self.skeleton.make_vae()
        with torch.no_grad():
            return cost_of(lambda: vae.encode(torch.zeros(1, 3, side, side)))  # type: ignore[operator]

    def states(self) -> dict[str, int]:
        """Bytes that are held all the time, by part."""
        counts, loop = self.parameters, self.program.loop
        frozen = {f"weights of the {name}": 4 * count for name, count in counts.items()}
        averaged = {"averaged weights": 4 * counts["adapter"]} if loop.ema else {}
        return {**frozen, "gradients": 4 * counts["adapter"], "optimizer": 8 * counts["adapter"], **averaged}

    def turn_bytes(self, samples: int) -> int:
        """Most bytes that a turn holds beside the states: activations and copies of weights, or the encoding."""
        one, two = self._turns
        return max(one.peak + (samples - 1) * (two.peak - one.peak), self._encoding_bytes(samples))

    def _encoding_bytes(self, samples: int) -> int:
        return min(samples, ENCODED_AT_ONCE) * self._encoding.peak

    def largest_turn(self) -> int:
        """Samples that fit the card at a time; 0 when not even one does."""
        room = ROOM * card_named(self.card).memory - sum(self.states().values())
        one, two = self._turns
        fits = int((room - one.peak) // (two.peak - one.peak)) + 1
        return max(0, fits) if room > self._encoding_bytes(1) else 0

    def fitting_turns(self) -> int | None:
        """Least `accumulate` with which a turn fits; None when none does."""
        each, most = self.program.loop.batch_size // self.gpus, self.largest_turn()
        return next((n for n in range(1, each + 1) if each % n == 0 and each // n <= most), None)

    def flops_an_image(self) -> int:
        """FLOPs of one sample: the turn, and the encoding of the image."""
        one, two = self._turns
        return two.flops - one.flops + self._encoding.flops

    def step_seconds(self) -> float:
        """Seconds of a step at `SHARE` of the card's peak."""
        each = self.program.loop.batch_size / self.gpus
        return each * self.flops_an_image() / (SHARE * card_named(self.card).peak)

    def data(self) -> tuple[int, float, str]:
        """Images and bytes of the training set, and what it is."""
        try:
            files = shard_files(self.program.data)
        except MissingData:
            return (*TRAIN2014, "COCO's train2014 (the training set is not there yet)")
        return sum(map(count_rows, files)), float(sum(f.stat().st_size for f in files)), str(self.program.data)

    def checkpoint_bytes(self) -> int:
        """Weights, both moments of the optimizer, and the average."""
        return (16 if self.program.loop.ema else 12) * self.parameters["adapter"]

    def cache_bytes(self, images: int) -> int:
        """Latents, and states of as many captions as images; phrases, which repeat, come on top."""
        side, vae = self.program.rules.side // 8, self.skeleton.vae
        latents = (1 if self.skeleton.vae_class == "AutoencoderTiny" else 2) * int(vae["latent_channels"]) * side * side
        return 2 * images * (latents + (TOKENS + 1) * int(self.skeleton.text.hidden_size))

    def lines(self) -> Iterator[str]:
        """The plan as text."""
        loop, counts = self.program.loop, self.parameters
        images, size, source = self.data()
        seen = loop.steps * loop.batch_size
        yield f"{self.program.method} on {self.skeleton.name}, {self.gpus} x {self.card}, {loop.precision}"
        yield "Computed from shapes; nothing was loaded or run."
        yield ""
        yield f"Parameters trained   {counts['adapter']:>14,}"
        frozen = sum(counts.values()) - counts["adapter"]
        yield f"Parameters frozen    {frozen:>14,}"
        yield f"Steps                {loop.steps:>14,}  of {loop.batch_size} images"
        yield f"Images seen          {seen:>14,}  {seen / images:.1f} times the {images:,} of {source}"
        yield ""
        yield from self._memory_lines()
        yield ""
        yield "Disk, GB"
        yield f"  {'training set':<36}{size / GB:>8.2f}"
        yield f"  {'checkpoint, old and new':<36}{2 * self.checkpoint_bytes() / GB:>8.2f}"
        yield f"  {'adapter (float16)':<36}{2 * counts['adapter'] / GB:>8.2f}"
        yield f"  {'cache, if one is asked for':<36}{self.cache_bytes(images) / GB:>8.2f}"
        yield ""
        yield from self._time_lines(seen)

    def _memory_lines(self) -> Iterator[str]:
        size, card = self.turn_size, card_named(self.card)
        parts = {**self.states(), f"a turn of {size} (activations)": self.turn_bytes(size)}
        yield "Memory of a card, GB"
        for name, number in parts.items():
            yield f"  {name:<36}{number / GB:>8.2f}"
        total = sum(parts.values())
        yield f"  {'sum':<36}{total / GB:>8.2f}  of {card.memory / GB:.1f}"
        if size <= (most := self.largest_turn()):
            yield f"It fits; a turn could hold {most}."
        elif (turns := self.fitting_turns()) is not None:
            yield f"It does not fit: a turn can hold {most}. Set accumulate = {turns}."
        else:
            yield "It does not fit, whatever `accumulate` is. Take a larger card."

    def _time_lines(self, seen: int) -> Iterator[str]:
        step, loop = self.step_seconds(), self.program.loop
        hours = step * loop.steps / 3600
        yield f"TFLOPs an image      {self.flops_an_image() / 1e12:>14.2f}  forward, backward and encoding"
        yield f"Seconds a step       {step:>14.2f}  at {SHARE:.0%} of the card's peak, which is assumed"
        yield f"Images a second      {loop.batch_size / step:>14.1f}"
        yield f"Hours                {hours:>14.1f}  {hours / 24:.1f} days, {hours * self.gpus:,.0f} hours of a card"


def _weights(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
