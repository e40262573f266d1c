"""Crowded layouts for training in the mini world, as the annotations of COCO often are.

Piled up, of few classes, in natural colours, with captions that tell relations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from radl_bench.benchmarks.builders import captions
from radl_bench.benchmarks.builders.geometry import arranged
from radl_bench.mini.layouts import MIN_SIDE, LayoutSampler, LayoutSettings, with_article
from radl_bench.mini.wrong import lookalikes
from radl_bench.types import Box, Instance, Sample
from radl_model.verbs.extract import extract_verbs

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Habits(TypedDict, total=False):
    """What a `CrowdedSampler` may be given beside its settings."""

    crowded: float
    alike: float
    repeat: float
    natural: float
    told: float


class CrowdedSampler(LayoutSampler):
    """A `LayoutSampler` with habits of real annotations.

    Args:
        crowded: share of the layouts that are piled up without any rule, in boxes of all sizes and shapes, as a part of
            COCO's.
        alike: share of the things that are of a class that looks like the one before.
        repeat: share of the things that are of a class which their layout has already.
        natural: share of the layouts in which no thing has a colour told.
        told: share of the layouts whose caption tells the relations that hold between the boxes.
        settings: as of `LayoutSampler`.
    """

    def __init__(
        self,
        seed: int,
        crowded: float = 0.0,
        alike: float = 0.0,
        repeat: float = 0.0,
        natural: float = 0.0,
        told: float = 0.0,
        **settings: Unpack[LayoutSettings],
    ) -> None:
        super().__init__(seed, **settings)
        self.crowded, self.alike, self.repeat, self.natural, self.told = crowded, alike, repeat, natural, told
        self._before: str | None = None
        self._present: list[str] = []
        self._plain = False

    def _happens(self, share: float) -> bool:
        """Nothing is drawn where a share is 0, so that the sequence of a seed stays as it was."""
        return share > 0 and self.rng.random() < share

    def sample(self) -> Sample:
        """Return a new sample, as `LayoutSampler` does."""
        self._present, self._plain = [], self._happens(self.natural)
        drawn = super().sample()
        return tell(drawn) if not drawn.relations and self._happens(self.told) else drawn

    def _instance(self, box: Box, category: str | None = None) -> Instance:
        if category is None and self._before and self._happens(self.alike):
            category = str(self.rng.choice(lookalikes(self._before)))
        if category is None and self._present and self._happens(self.repeat):
            category = str(self.rng.choice(self._present))
        made = super()._instance(box, category)
        self._before = made.category
        self._present.append(made.category)
        return replace(made, color=None, phrase=with_article(made.category)) if self._plain else made

    def _boxes(self, level: int) -> list[Box]:
        if self._happens(self.crowded):
            return [self._any_box() for _ in range(level)]
        return super()._boxes(level)

    def _any_box(self) -> Box:
        """Long side log-uniform, the other shorter by up to six times."""
        rng = self.rng
        long = float(np.exp(rng.uniform(np.log(0.14), 0)))
        short = max(long * float(np.exp(-np.abs(rng.normal(0, 0.7)))), MIN_SIDE, long / 6)
        width, height = (long, short) if rng.random() < 0.45 else (short, long)
        x, y = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
        return (float(x), float(y), float(x + width), float(y + height))


def tell(sample: Sample) -> Sample:
    """The same things as `arranged` puts them, under a caption that tells their relations."""
    order, relations = arranged([(i.category, i.box) for i in sample.instances])
    instances = tuple(sample.instances[i] for i in order)
    prompt = "a photo of " + captions.told(instances, relations)
    return replace(sample, prompt=prompt, instances=instances, relations=relations, verbs=extract_verbs(prompt))
