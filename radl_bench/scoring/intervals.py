"""95 % intervals of scores over samples, each made so that a seeded simulation finds 93 to 97 % of them to cover.

What an interval speaks of: the number that the method would have on average over benchmarks of this size, made by the
same rules. The sample (one layout with all its images) is the unit. Three forms, by what a score is:

* `rate_interval`: shares of things that are right or wrong. Wilson's interval at the number of units over the design
  effect, whose between-sample correlation is steadied by one sample's worth of prior.
* `bounded_interval`: other scores between 0 and 1 (IoU, AP), Student's t on the logit scale.
* `mean_interval`: scores without bounds (cosines), Student's t.

Fewer than `LEAST` samples give no interval, and the reason is told. Nothing here has a width of zero.
`benchmarks/statistics/coverage.py` measures the coverage and writes `docs/statistics.md`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from radl_bench.scoring.statistics import SampleSums, wilson

LEAST = 6
"""Samples below which there is no interval: as few as a permutation test needs to give p under .05."""

_PRIOR = 0.5  # correlation between the units of a sample that nothing is known of; counts as one sample
_NAN = float("nan")


class Interval(NamedTuple):
    """Both ends in the score's own unit, NaN where there is none; `how` it was made; `note` says why there is none."""

    low: float
    high: float
    how: str
    note: str | None = None


def no_interval(note: str) -> Interval:
    """Return an interval that is not there, with the sentence that says why."""
    return Interval(_NAN, _NAN, "none", note)


def t_quantile(df: float, level: float = 0.95) -> float:
    """Return the two-sided quantile of Student's t, e.g. 2.26 for 9 degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + level) / 2))


def standard_error(sums: SampleSums) -> float:
    """Return the standard error of the ratio of sums between samples, linearised; NaN under two samples."""
    num, den = _counted(sums)
    n = len(den)
    if n < 2:
        return _NAN
    rest = num - num.sum() / den.sum() * den
    return math.sqrt(n / (n - 1) * float(rest @ rest)) / float(den.sum())


def mean_interval(sums: SampleSums, level: float = 0.95) -> Interval:
    """Return Student's t interval of a ratio of sums without bounds."""
    n = len(_counted(sums)[1])
    if n < LEAST:
        return too_few(n)
    half = t_quantile(n - 1, level) * standard_error(sums)
    if half == 0.0:
        return no_interval("All samples have the same value: no interval.")
    return Interval(sums.value - half, sums.value + half, "t")


def share_interval(sums: SampleSums, level: float = 0.95) -> Interval:
    """Return the interval of a mean of values in 0..1 that are not all 0 or 1, such as IoU.

    The degrees of freedom are those of the samples that tell it from 0 and from 1: a mean near 0 rests on few.
    """
    num, den = _counted(sums)
    if len(den) < LEAST:
        return too_few(len(den))
    telling = min(int((num > 0).sum()), int((num < den).sum()))
    return bounded_interval(sums.value, standard_error(sums), telling, level)


def bounded_interval(value: float, error: float, telling: int, level: float = 0.95) -> Interval:
    """Return Student's t interval on the logit scale, in 0..1, of a value with its standard error.

    `telling` is the number of samples that the value's distance from the nearer bound rests on; below `LEAST` there is
    no interval, since then the standard error is not known. Nor is there where the error is over twice that distance:
    the interval would reach over most of the scale, and say nothing.
    """
    if telling < LEAST or not 0.0 < value < 1.0 or not error > 0.0:
        side = "above 0" if value < 0.5 else "below the maximum"
        return no_interval(f"Fewer than {LEAST} samples are {side}: no interval.")
    if error > 2.0 * value * (1.0 - value):
        bound = "0" if value < 0.5 else "the maximum"
        return no_interval(f"The standard error is over twice the distance from {bound}: no interval.")
    centre = math.log(value / (1.0 - value))
    half = t_quantile(telling - 1, level) * error / (value * (1.0 - value))
    return Interval(_logistic(centre - half), _logistic(centre + half), "logit-t")


def rate_interval(sums: SampleSums, level: float = 0.95) -> Interval:
    """Return Wilson's interval, in 0..1, of a rate whose units share samples: `num` successes of `den` units each.

    Where every sample succeeds or fails as a whole, the samples are the units. Elsewhere the units are divided by the
    design effect (Korn and Graubard 1998), `1 + (m - 1) rho` with m the mean size that a unit meets, and Student's
    quantile stands for the normal one. The estimate of rho is steadied as if one more sample had a correlation of .5:
    near 0 and 1 only few samples tell anything of it (Dean and Pagano 2015 measure what happens without).
    """
    num, den = _counted(sums)
    n = len(den)
    if n < LEAST:
        return too_few(n)
    units, rate = float(den.sum()), float(num.sum() / den.sum())
    size = float(den @ den) / units
    if ((num == 0) | (num == den)).all():
        effective = units / size
        return Interval(*wilson(rate * effective, effective, level), "wilson-clustered")
    seen = n / (n - 1) * float(((num - rate * den) ** 2).sum()) / (units * rate * (1 - rate))
    telling = min(int((num > 0).sum()), int((num < den).sum()))
    rho = min(max((seen - 1) / (size - 1), 0.0), 1.0)
    effective = units / (1 + (size - 1) * (rho * telling + _PRIOR) / (telling + 1))
    return Interval(*_wilson_t(rate, effective, t_quantile(n - 1, level)), "wilson-clustered")


def _wilson_t(rate: float, n: float, q: float) -> tuple[float, float]:
    half = q * math.sqrt(rate * (1 - rate) / n + q * q / (4 * n * n))
    centre = rate + q * q / (2 * n)
    return (centre - half) / (1 + q * q / n), (centre + half) / (1 + q * q / n)


def scaled(interval: Interval, factor: float) -> Interval:
    """Return an interval in another unit, e.g. per cent for a factor of 100."""
    return interval._replace(low=interval.low * factor, high=interval.high * factor)


def jackknife_error(left_out: np.ndarray) -> float:
    """Return the standard error of a statistic from its values float64 [S] with each sample left out once."""
    n = len(left_out)
    return math.sqrt((n - 1) * float(np.var(left_out)))


def _counted(sums: SampleSums) -> tuple[np.ndarray, np.ndarray]:
    kept = sums.den > 0
    return sums.num[kept], sums.den[kept]


def too_few(n: int) -> Interval:
    """Return the interval of a score over fewer than `LEAST` samples: none, and why."""
    return no_interval(f"An interval needs {LEAST} samples, here {'is' if n == 1 else 'are'} {n}.")


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x > -700 else 0.0
