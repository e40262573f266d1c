"""Validation in a training: the loss of held-out layouts at fixed draws, a sheet of images of them, and a judge's view.

Nothing here touches the random numbers of the training, which goes on as if there had been no validation.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw
from torch import nn

from radl_model.adapters.adapter import FusionAdapter
from radl_model.errors import MissingData, RadlError, UsageError
from radl_model.pipelines.pipeline import RaDLPipeline
from radl_model.train.adapter_loss import adapter_loss
from radl_model.train.config import read_table
from radl_model.train.crop import place_boxes
from radl_model.train.draws import Draws, Part
from radl_model.train.layouts import LayoutBatches

if TYPE_CHECKING:
    from radl_model.train.program import Program

AT_ONCE = 8
"""Held-out images of a batch."""
DROPS = {"phrase_dropout": 0.0, "null_share": 0.0}
"""Options of a way that leave something out at random: held-out layouts are taken whole."""


@dataclass(frozen=True)
class HeldOut:
    """A held-out layout, cropped as in training: prompt, phrases, classes and boxes (xyxy fractions)."""

    prompt: str
    phrases: list[str]
    categories: list[str]
    boxes: list[tuple[float, float, float, float]]
    verbs: str


Judge = Callable[[Sequence[HeldOut], Sequence[Image.Image], str], Mapping[str, float]]
"""Takes layouts, an image of each and the name of a detector; gives figures for the log."""


@dataclass(frozen=True)
class Validation:
    """The table `[validation]`; it runs every `sample_every` steps of the loop and at the end.

    Attributes:
        data: folder of a training set of other images, e.g. of val2014.
        images: held-out images of which the loss is taken, first ones of a fixed order.
        drawn: how many of them are drawn for the sheet; 0 for none.
        steps, guidance: of the sampling.
        judge: "module:function", see `Judge`; `radl_bench.training_set.judging:judge` gives R_inst. "" is none.
        detector: what the judge asks.
    """

    data: str
    images: int = 64
    drawn: int = 8
    steps: int = 25
    guidance: float = 7.5
    judge: str = ""
    detector: str = "grounding-dino"

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> Validation:
        """Read the table; raises `UsageError`, for a judge that cannot be found too."""
        made = read_table(cls, table, "validation")
        if made.images < 1 or not 0 <= made.drawn <= made.images or made.steps < 1:
            raise UsageError("[validation] needs images and steps of 1 or more, and drawn from 0 to images.")
        if made.judge:
            found_judge(made.judge)
        return made


def found_judge(name: str) -> Judge:
    """Import a judge; raises `UsageError`."""
    module, _, function = name.partition(":")
    try:
        return cast(Judge, getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"[validation] names the judge {name!r:.80}, which cannot be found ({error}).") from None


class Validator:
    """Measures the adapter on held-out layouts.

    Args:
        pipe: the base, with the adapter attached to its UNet.
        autocast: context of the training's precision.

    Raises:
        MissingData: there are no held-out layouts.
    """

    def __init__(
        self,
        program: Program,
        pipe: StableDiffusionPipeline,
        adapter: nn.Module,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        assert program.validation is not None
        self.settings, self.program, self.adapter, self.autocast = program.validation, program, adapter, autocast
        rules = replace(program.rules, empty_share=0.0)
        size = min(AT_ONCE, self.settings.images)
        self.batches = LayoutBatches(Path(self.settings.data), pipe, rules, size, seed=0)
        if len(self.batches.order) < self.settings.images:
            raise MissingData(
                f"{self.settings.data} holds {len(self.batches.order)} images; [validation] asks for "
                f"{self.settings.images}."
            )
        own = {"adapter": adapter} if isinstance(adapter, FusionAdapter) else {}
        parts = {name: part for name, part in pipe.components.items() if name != "scheduler"}
        self.pipe = RaDLPipeline(**parts, scheduler=copy.deepcopy(pipe.scheduler), requires_safety_checker=False, **own)
        self.pipe.set_progress_bar_config(disable=True)
        if not own:
            self.pipe.method = cast(Any, adapter)

    def measure(self, out: Path, step: int) -> dict[str, float]:
        """Return the figures of the weights as they are now; the sheet goes to `out`."""
        with torch.no_grad(), self.autocast():
            figures = {"validation_loss": round(self.loss(), 5)}
            if self.settings.drawn:
                held = self.held_out(self.settings.drawn)
                images = self.images(held)
                sheet(images, held).save(out / f"sheet-{step:06d}.png")
        if self.settings.drawn and self.settings.judge:
            figures |= self._judged(held, images)
        return figures

    def loss(self) -> float:
        """Mean loss over the held-out images, noise and timesteps the same each time."""
        options = {**self.program.loss, **{k: v for k, v in DROPS.items() if k in self.program.loss}}
        total, rounds = 0.0, -(-self.settings.images // self.batches.batch_size)
        for number in range(rounds):
            part = Part.whole(self.batches.batch_size)
            batch = self.batches.make_batch(number, part)
            draws = Draws(torch.Generator().manual_seed(number), part)
            total += float(
                adapter_loss(
                    self.pipe.unet, self.adapter, batch, self.pipe.scheduler, draws, texts=self.batches.texts, **options
                )
            )
        return total / rounds

    def held_out(self, count: int) -> list[HeldOut]:
        """The first `count` held-out layouts."""
        return [self._held(number) for number in range(count)]

    def _held(self, number: int) -> HeldOut:
        row = self.batches.row(number)
        placed = place_boxes(row.width, row.height, row.boxes, self.batches.rules.side)
        kept = placed.kept[: self.batches.rules.instances]
        return HeldOut(
            row.caption,
            [row.phrases[n] for n in kept],
            [row.categories[n] for n in kept],
            placed.boxes[: len(kept)],
            row.verbs,
        )

    def images(self, held: Sequence[HeldOut]) -> list[Image.Image]:
        """An image of each layout, from its own fixed seed."""
        made: list[Image.Image] = []
        for number, layout in enumerate(held):
            made += self.pipe(
                [layout.prompt],
                phrases=[layout.phrases],
                boxes=[layout.boxes],
                verbs=[layout.verbs],
                generator=[torch.Generator().manual_seed(number)],
                num_inference_steps=self.settings.steps,
                guidance_scale=self.settings.guidance,
                height=self.batches.rules.side,
                width=self.batches.rules.side,
            ).images
        return made

    def _judged(self, held: Sequence[HeldOut], images: Sequence[Image.Image]) -> Mapping[str, float]:
        """Figures of the judge; a training does not end because its judge cannot speak."""
        try:
            return found_judge(self.settings.judge)(held, images, self.settings.detector)
        except RadlError as error:
            print(f"The judge gives no figures: {error}", flush=True)
            return {}


def sheet(images: Sequence[Image.Image], held: Sequence[HeldOut], columns: int = 4) -> Image.Image:
    """Return images side by side with their boxes outlined."""
    side = images[0].width
    grid = Image.new("RGB", (side * min(columns, len(images)), side * -(-len(images) // columns)))
    for index, (image, layout) in enumerate(zip(images, held, strict=True)):
        cell = image.copy()
        pen = ImageDraw.Draw(cell)
        for box in layout.boxes:
            pen.rectangle([v * (side - 1) for v in box], outline=(255, 0, 255))
        grid.paste(cell, (index % columns * side, index // columns * side))
    return grid
