"""Sums over samples, which intervals and tests are made of, and Wilson's interval.

Instances share an image and images share a layout, so the unit is the sample. A score is a ratio of sums over samples,
`sum(num) / sum(den)`; a test swaps per-sample numbers and never scores anything again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
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

    def only(self, samples: Collection[str] | None) -> SampleSums:
        """Return the sums of those of these samples that are here, in the order here; all for None."""
        return self if samples is None else self.take([sample for sample in self.ids if sample in samples])


EMPTY = SampleSums((), np.zeros(0), np.zeros(0))
"""The sums of a score without any row."""


def sample_sums(sample_ids: Iterable[str], values: Iterable[float], missing: float | None = 0.0) -> SampleSums:
    """Sum rows by sample. A NaN value counts as `missing`; with None the row is left out of the mean."""
    ids = list(sample_ids)
    places = {sample: n for n, sample in enumerate(dict.fromkeys(ids))}
    codes = np.array([places[sample] for sample in ids], np.intp)
    return coded_sums(tuple(places), codes, np.array(list(values), float), missing)


def coded_sums(names: Sequence[str], codes: np.ndarray, values: np.ndarray, missing: float | None) -> SampleSums:
    """As `sample_sums`, of rows whose samples are numbers: `names[codes[n]]` is that of row n.

    Args:
        codes: int [N]; values: float64 [N]. Samples stand in the order in which their first rows do.
    """
    if len(codes) != len(values):
        raise ValueError(f"{len(codes)} samples for {len(values)} values")
    found, first, places = np.unique(codes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(found), np.intp)
    place[order] = np.arange(len(found))
    counts = np.ones(len(values)) if missing is not None else (values == values).astype(float)
    added = np.where(values == values, values, 0.0 if missing is None else missing)
    # bincount adds row by row, as a loop would: the same bits
    num, den = (np.bincount(place[places], weights, minlength=len(found)) for weights in (added, counts))
    return SampleSums(tuple(names[n] for n in found[order].tolist()), num, den)


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
