"""The permutation test of every pair out of many methods that were measured on the same samples.

A method's sums under a swap are the same in every pair it stands in, so they are made once a method, by one product
with the signs; a pair costs a subtraction. The first draws are those of `permutation.mean_test`.

The smallest p of R swaps is 1 / R, and Holm's rule over all pairs of M methods asks for less than alpha divided by
M (M - 1) / 2: with 10,000 swaps nothing could be told apart among more than 32 methods. So a table of more than 22 has
more draws, `swaps_for`, which are taken for pairs whose first p is under alpha (with more, the others are ties anyway).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from radl_bench.scoring.permutation import ALPHA, PERMUTATIONS, share_as_extreme, signs
from radl_bench.scoring.statistics import SampleSums

_ROWS = 2_500  # draws at a time


def swaps_for(methods: int, alpha: float = ALPHA) -> int:
    """Return how many swaps a table of so many methods needs: the smallest p is half of what Holm's rule asks for."""
    return max(PERMUTATIONS + 1, math.ceil(methods * (methods - 1) / alpha))


def most_methods(swaps: int, alpha: float = ALPHA) -> int:
    """Return among how many methods so many swaps can tell any two apart."""
    return next(m for m in range(2, swaps + 2) if not (m + 1) * m / 2 < alpha * swaps)


class SharedSwaps:
    """Ratios of sums of K methods over the same S samples, all swapped by the same draws.

    Args:
        sums: of each method; all have the same `ids`, at least one.
        swaps: how many, the data's own among them; all there are where they are no more than `PERMUTATIONS`.
    """

    def __init__(self, sums: Sequence[SampleSums], *, swaps: int = PERMUTATIONS + 1, seed: int = 0) -> None:
        if not sums[0].ids or any(of.ids != sums[0].ids for of in sums):
            raise ValueError("shared swaps need sums over the same samples")
        self._num, self._den = (np.stack([getattr(of, part) for of in sums]) for part in ("num", "den"))
        self._same_den = bool((self._den == self._den[0]).all())
        self._totals = self._num.sum(axis=1), self._den.sum(axis=1)
        self._seed = seed
        self._first = self._under(signs(self._num.shape[1], seed=seed))
        drawn = self._first[0].shape[1] == PERMUTATIONS + 1
        self._count = swaps - PERMUTATIONS - 1 if drawn else 0

    def differences(self, a: int, b: int) -> np.ndarray:
        """Return float64 [R]: method a less method b under each of the first draws, the data's own first."""
        return self._differences(self._first, a, b)

    def test(self, a: int, b: int) -> tuple[float, float]:
        """Return the difference a - b and its two-sided p; NaN where there is nothing to compare."""
        stars = self.differences(a, b)
        value = float(stars[0])
        share = share_as_extreme(stars, stars)
        if self._count <= 0 or not share < ALPHA:
            return value, share
        more = share_as_extreme(stars, self._differences(self._more, a, b))
        return value, (share * len(stars) + more * self._count) / (len(stars) + self._count)

    @cached_property
    def _more(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self._under(_random_signs(self._num.shape[1], self._count, self._seed))

    def _under(self, draws: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        """Return num and den [K, R] of each method under each swap; None for a den that all share."""
        up, down = [], []
        for chunk in draws:
            up.append(self._num @ chunk.T)
            if not self._same_den:
                down.append(self._den @ chunk.T)
        return np.concatenate(up, axis=1), np.concatenate(down, axis=1) if down else None

    def _differences(self, under: tuple[np.ndarray, np.ndarray | None], a: int, b: int) -> np.ndarray:
        up, num, den = (under[0][a] - under[0][b]) / 2.0, *((of[a] + of[b]) / 2.0 for of in self._totals)
        down = 0.0 if under[1] is None else (under[1][a] - under[1][b]) / 2.0
        with np.errstate(divide="ignore", invalid="ignore"):
            return (num + up) / (den + down) - (num - up) / (den - down)


def _random_signs(n: int, count: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng([seed, 1])
    for start in range(0, count, _ROWS):
        drawn = np.frombuffer(rng.bytes(min(_ROWS, count - start) * (-(-n // 8))), np.uint8)
        yield 1.0 - 2.0 * np.unpackbits(drawn.reshape(-1, -(-n // 8)), axis=1, count=n)
