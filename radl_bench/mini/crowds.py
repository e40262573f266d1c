"""Crowded layouts for training in the mini world: piled up, of few classes, as the annotations of COCO often are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from radl_bench.mini.layouts import MIN_SIDE, LayoutSampler, LayoutSettings
from radl_bench.mini.wrong import lookalikes
from radl_bench.types import Box, Instance, Sample

if TYPE_CHECKING:
    from typing_extensions import Unpack


class CrowdedSampler(LayoutSampler):
    """A `LayoutSampler` with three habits of real annotations.

    Args:
        crowded: share of the layouts that are piled up without any rule, in boxes of all sizes and shapes, as a part of
            COCO's.
        alike: share of the things that are of a class that looks like the one before.
        repeat: share of the things that are of a class which their layout has already.
        settings: as of `LayoutSampler`.
    """

    def __init__(
        self,
        seed: int,
        crowded: float = 0.5,
        alike: float = 0.0,
        repeat: float = 0.0,
        **settings: Unpack[LayoutSettings],
    ) -> None:
        super().__init__(seed, **settings)
        self.crowded, self.alike, self.repeat = crowded, alike, repeat
        self._before: str | None = None
        self._present: list[str] = []

    def sample(self) -> Sample:
        """Return a new sample, as `LayoutSampler` does."""
        self._present = []
        return super().sample()

    # In all that follows, `and` keeps the sequence of a seed as it was: nothing is drawn where a share is 0.

    def _instance(self, box: Box, category: str | None = None) -> Instance:
        rng = self.rng
        if category is None and self._before and self.alike and rng.random() < self.alike:
            category = str(rng.choice(lookalikes(self._before)))
        if category is None and self._present and self.repeat and rng.random() < self.repeat:
            category = str(rng.choice(self._present))
        made = super()._instance(box, category)
        self._before = made.category
        self._present.append(made.category)
        return made

    def _boxes(self, level: int) -> list[Box]:
        if self.crowded and self.rng.random() < self.crowded:
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
