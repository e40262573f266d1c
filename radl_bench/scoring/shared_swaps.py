"""The permutation test of every pair out of many methods that were measured on the same samples.

A method's sums under a swap are the same in every pair it stands in, so they are made once a method, by one product
with the signs; a pair costs a subtraction. Draws, and so p, are those of `permutation.mean_test`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radl_bench.scoring.permutation import PERMUTATIONS, signs, two_sided
from radl_bench.scoring.statistics import SampleSums


class SharedSwaps:
    """Ratios of sums of K methods over the same S samples, all swapped by the same draws.

    Args:
        sums: of each method; all have the same `ids`, at least one.
    """

    def __init__(self, sums: Sequence[SampleSums], *, permutations: int = PERMUTATIONS, seed: int = 0) -> None:
        if not sums[0].ids or any(of.ids != sums[0].ids for of in sums):
            raise ValueError("shared swaps need sums over the same samples")
        num, den = (np.stack([getattr(of, part) for of in sums]) for part in ("num", "den"))
        self._num, self._den = num.sum(axis=1), den.sum(axis=1)
        chunks = list(signs(len(sums[0].ids), permutations, seed))
        self._up = np.concatenate([num @ chunk.T for chunk in chunks], axis=1)
        alike = bool((den == den[0]).all())
        self._down = None if alike else np.concatenate([den @ chunk.T for chunk in chunks], axis=1)

    def differences(self, a: int, b: int) -> np.ndarray:
        """Return float64 [R]: method a less method b under each swap, the data's own first."""
        up, num = (self._up[a] - self._up[b]) / 2.0, (self._num[a] + self._num[b]) / 2.0
        down, den = 0.0, (self._den[a] + self._den[b]) / 2.0
        if self._down is not None:
            down = (self._down[a] - self._down[b]) / 2.0
        with np.errstate(divide="ignore", invalid="ignore"):
            return (num + up) / (den + down) - (num - up) / (den - down)

    def test(self, a: int, b: int) -> tuple[float, float]:
        """Return the difference a - b and its two-sided p; NaN where there is nothing to compare."""
        stars = self.differences(a, b)
        return float(stars[0]), two_sided(stars)
