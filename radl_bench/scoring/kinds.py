"""Which interval a score with rows gets by its kind: the one place that says so.

A score with rows is a ratio of sums over samples, so its interval comes out of `SampleSums`. A score whose metric keeps
a pool (AP, FID, KID) makes its interval itself. The test is one for all, see `scoring.permutation`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from radl_bench.scoring import intervals
from radl_bench.scoring.intervals import Interval, scaled
from radl_bench.scoring.metrics.spec import Kind
from radl_bench.scoring.statistics import SampleSums


def rate_interval(sums: SampleSums) -> Interval:
    """Return the interval, in per cent, of a rate whose rows are 0 or 100."""
    return scaled(intervals.rate_interval(_fractions(sums)), 100.0)


def share_interval(sums: SampleSums) -> Interval:
    """Return the interval, in per cent, of a mean of values in 0..100; of one that leaves this range, Student's t."""
    if ((sums.num < 0) | (sums.num > 100.0 * sums.den)).any():
        return intervals.mean_interval(sums)
    return scaled(intervals.share_interval(_fractions(sums)), 100.0)


def _fractions(sums: SampleSums) -> SampleSums:
    return SampleSums(sums.ids, sums.num / 100.0, sums.den)


INTERVALS: Mapping[Kind, Callable[[SampleSums], Interval]] = {
    "rate": rate_interval,
    "rate_of_few": rate_interval,
    "mean": share_interval,
    "precision": share_interval,
    "cosine": intervals.mean_interval,
    "distance": intervals.mean_interval,
}
