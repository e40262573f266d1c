"""What is done with a score by its kind: the one place that says which interval and which test it gets.

A score with rows is a ratio of sums over samples, so its interval and its tests come out of `SampleSums`. A score whose
metric keeps a pool (AP, FID) makes its interval itself and leaves bootstrap draws, which its tests read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from radl_bench.scoring.metrics.spec import Kind
from radl_bench.scoring.statistics import (
    Difference,
    SampleSums,
    cluster_bootstrap,
    paired_difference,
    percentile_interval,
    tie_groups,
    wilson,
    wilson_clustered,
)

ALPHA = 0.05


class Interval(NamedTuple):
    """Ends of a 95 % interval in the unit of the score, and how it was made, as in a signature."""

    low: float
    high: float
    how: str


def mean_interval(sums: SampleSums, resamples: int) -> Interval:
    """Return the percentile interval of a cluster bootstrap over samples."""
    return Interval(*cluster_bootstrap(sums, resamples=resamples), f"cluster-bootstrap-{resamples}")


def rate_interval(sums: SampleSums, resamples: int) -> Interval:
    """Return that of the mean; where all samples agree, Wilson's over samples: a bootstrap would claim certainty."""
    low, high, how = mean_interval(sums, resamples)
    if sums.value in (0.0, 100.0):
        samples = len(sums.ids)
        low, high = (100.0 * v for v in wilson(samples * sums.value / 100.0, samples))
    return Interval(low, high, f"{how}/wilson")


def few_interval(sums: SampleSums, resamples: int) -> Interval:
    """Return Wilson's interval at the effective size: some twenty prompts are too few for a bootstrap."""
    low, high = (100.0 * v for v in wilson_clustered(SampleSums(sums.ids, sums.num / 100.0, sums.den)))
    return Interval(low, high, "wilson-clustered")


def difference_of_draws(gap: float, draws: np.ndarray) -> Difference:
    """Return the difference `gap` of two values with the interval and p of its draws, float64 [resamples]."""
    return Difference(gap, *percentile_interval(draws), bootstrap_p(draws), 0)


def bootstrap_p(draws: np.ndarray) -> float:
    """Return the two-sided p of a difference of 0 by its draws: twice the smaller tail, with the +1 correction."""
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2.0 * (tail + 1) / (len(draws) + 1))


NO_DIFFERENCE = Difference(math.nan, math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Treatment:
    """What is done with a score of one kind.

    Attributes:
        interval: 95 % interval of its sums, for so many resamples; in per cent as the score is.
        difference: of two methods' sums, with interval and p; `test` is its name.
        ties: tie groups of several methods' values and sums.
        of_draws: as `difference`, for the draws of a score without rows; `test_of_draws` is its name.
    """

    interval: Callable[[SampleSums, int], Interval] = mean_interval
    difference: Callable[[SampleSums, SampleSums], Difference] = paired_difference
    test: str = "paired permutation over samples"
    ties: Callable[..., dict[str, int]] = tie_groups
    of_draws: Callable[[float, np.ndarray], Difference] = difference_of_draws
    test_of_draws: str = "paired bootstrap over samples"


TREATMENTS: Mapping[Kind, Treatment] = {
    "rate": Treatment(interval=rate_interval),
    "rate_of_few": Treatment(interval=few_interval),
    "mean": Treatment(),
    "cosine": Treatment(),
    "precision": Treatment(),
    "distance": Treatment(),
}
