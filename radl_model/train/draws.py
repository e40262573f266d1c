"""Random numbers of a training step that do not depend on how its batch is cut into parts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Part:
    """Rows `start` to `stop` of the `total` samples of a step: the share of a process, or one of several turns.

    A part of all is the whole step.
    """

    start: int
    stop: int
    total: int

    @classmethod
    def whole(cls, total: int) -> Part:
        """The part that is all."""
        return cls(0, total, total)

    @property
    def size(self) -> int:
        return self.stop - self.start


class Draws:
    """Draws for the samples of a part: those that the whole step would give them.

    Every method takes the shape of one sample and returns one row a sample, on the CPU. The numbers for all samples of
    the step are drawn and the part's rows kept, so that one process with a large batch, two with halves of it and one
    that takes the halves in turn see the same.

    Args:
        generator: on the CPU, seeded by the step.
    """

    def __init__(self, generator: torch.Generator, part: Part) -> None:
        self.generator, self.part = generator, part

    def randn(self, *shape: int) -> Tensor:
        """Normal, [n, *shape]."""
        return self._own(torch.randn(self.part.total, *shape, generator=self.generator))

    def rand(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), [n, *shape]."""
        return self._own(torch.rand(self.part.total, *shape, generator=self.generator))

    def randint(self, low: int, high: int) -> Tensor:
        """Whole numbers in [low, high), [n]."""
        return self._own(torch.randint(low, high, (self.part.total,), generator=self.generator))

    def _own(self, values: Tensor) -> Tensor:
        return values[self.part.start : self.part.stop]
