"""Sums over samples, which intervals and tests are made of, and Wilson's interval.

Instances share an image and images share a layout, so the unit is the sample. A score is a ratio of sums over samples,
`sum(num) / sum(den)`; a test swaps per-sample numbers and never scores anything again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class SampleSums:
    """Per-sample sums of a metric: `num` and `den` float64 [S], in the order of `ids`."""

    ids: tuple[str, ...]
    num: np.ndarray
    den: np.ndarray

    @property
    def value(self) -> float:
        """The ratio of sums; NaN without any unit."""
        return _ratio(self.num.sum(), self.den.sum())

    def take(self, ids: Sequence[str]) -> SampleSums:
        """Return the sums of these samples in this order; raises `KeyError` for one that is not here."""
        where = {sample: n for n, sample in enumerate(self.ids)}
        index = np.array([where[sample] for sample in ids], int)
        return SampleSums(tuple(ids), self.num[index], self.den[index])


def sample_sums(sample_ids: Iterable[str], values: Iterable[float], missing: float | None = 0.0) -> SampleSums:
    """Sum rows by sample. A NaN value counts as `missing`; with None the row is left out of the mean."""
    sums: dict[str, list[float]] = {}
    for sample, value in zip(sample_ids, values, strict=True):
        entry = sums.setdefault(sample, [0.0, 0.0])
        if value != value:
            if missing is None:
                continue
            value = missing
        entry[0] += value
        entry[1] += 1.0
    table = np.array(list(sums.values()), float).reshape(-1, 2)
    return SampleSums(tuple(sums), table[:, 0], table[:, 1])


def wilson(successes: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a rate, in 0..1; the honest one when all or none succeed."""
    if n <= 0:
        return float("nan"), float("nan")
    z = NormalDist().inv_cdf((1 + level) / 2)
    rate = successes / n
    centre = rate + z * z / (2 * n)
    half = z * float(np.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)))
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def _ratio(num: float, den: float) -> float:
    return float(num / den) if den else float("nan")
