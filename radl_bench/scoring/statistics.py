"""Statistics over samples: cluster bootstrap, paired permutation test, Wilson interval, tie groups. Numpy only.

Instances share an image and images share a layout, so the unit of resampling is the sample. A score is a ratio of sums
over samples, `sum(num) / sum(den)`; resampling re-sums per-sample numbers and never scores anything again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 1000
PERMUTATIONS = 10_000
_CHUNK = 2_000_000  # numbers held at once: memory stays flat in the number of samples


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


@dataclass(frozen=True)
class Difference:
    """Paired difference `a - b` on the samples both have: value, 95 % interval, two-sided p, number of samples."""

    value: float
    ci_low: float
    ci_high: float
    p: float
    n: int


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


def resample_counts(n: int, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield how often each of `n` samples is drawn, float64 [r, n], in chunks; the same for equal arguments."""
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(n, 1))
    for start in range(0, resamples, step):
        yield rng.multinomial(n, np.full(n, 1.0 / n), size=min(step, resamples - start)).astype(float)


def cluster_bootstrap(
    sums: SampleSums, *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of the ratio of sums when whole samples are drawn with replacement."""
    if sums.den.sum() == 0:
        return float("nan"), float("nan")
    return percentile_interval(ratio_draws(sums, resamples, seed), level)


def ratio_draws(sums: SampleSums, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Return float64 [resamples]: the ratio of sums when whole samples are drawn with replacement."""
    counts = resample_counts(len(sums.ids), resamples, seed)
    return np.concatenate([_ratios(c @ sums.num, c @ sums.den) for c in counts])


def percentile_interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the central interval of the draws that are numbers; NaN where none is."""
    draws = draws[~np.isnan(draws)]
    if len(draws) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def paired_permutation(a: SampleSums, b: SampleSums, *, permutations: int = PERMUTATIONS, seed: int = 0) -> float:
    """Return the two-sided p of `a.value - b.value` when the methods' labels are swapped sample by sample.

    Both must list the same ids in the same order. The +1 correction keeps p above 0 (Phipson and Smyth 2010).
    """
    if a.ids != b.ids:
        raise ValueError("paired sums must list the same samples in the same order")
    seen = abs(a.value - b.value)
    if len(a.ids) == 0 or seen != seen:
        return float("nan")
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(a.ids))
    extreme = 0
    for start in range(0, permutations, step):
        swap = rng.integers(0, 2, size=(min(step, permutations - start), len(a.ids))).astype(float)
        num_a, den_a = a.num.sum() + swap @ (b.num - a.num), a.den.sum() + swap @ (b.den - a.den)
        num_b, den_b = b.num.sum() - swap @ (b.num - a.num), b.den.sum() - swap @ (b.den - a.den)
        extreme += int((np.abs(_ratios(num_a, den_a) - _ratios(num_b, den_b)) >= seen - 1e-12).sum())
    return (extreme + 1) / (permutations + 1)


def paired_difference(
    a: SampleSums, b: SampleSums, *, resamples: int = RESAMPLES, permutations: int = PERMUTATIONS, seed: int = 0
) -> Difference:
    """Compare two methods on the samples both have: difference, bootstrap interval and permutation p."""
    both = set(b.ids)
    ids = [sample for sample in a.ids if sample in both]
    if not ids:
        nan = float("nan")
        return Difference(nan, nan, nan, nan, 0)
    a, b = a.take(ids), b.take(ids)
    low, high = percentile_interval(ratio_draws(a, resamples, seed) - ratio_draws(b, resamples, seed))
    p = paired_permutation(a, b, permutations=permutations, seed=seed)
    return Difference(a.value - b.value, low, high, p, len(ids))


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


def wilson_clustered(sums: SampleSums, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval, in 0..1, of a rate whose units share samples: `num` successes of `den` units each.

    The number of units is divided by the design effect, the variance between samples over that of independent units
    (Korn and Graubard 1998; Dean and Pagano 2015 measure its coverage). An effect below 1 counts as 1. Where all or
    none succeed, the number of samples stands in: eight images of a prompt that all succeed count as one.
    """
    kept = sums.den > 0
    num, den = sums.num[kept], sums.den[kept]
    samples, units, rate = len(den), float(den.sum()), _ratio(float(num.sum()), float(den.sum()))
    if samples == 0:
        return float("nan"), float("nan")
    size = float(samples)
    if samples > 1 and 0.0 < rate < 1.0:
        between = samples / (samples - 1) * float(((num - rate * den) ** 2).sum()) / units**2
        size = units / max(1.0, between * units / (rate * (1 - rate)))
    return wilson(rate * size, size, level)


def tie_groups(
    values: Mapping[str, float],
    sums: Mapping[str, SampleSums],
    *,
    alpha: float = 0.05,
    higher_is_better: bool = True,
    permutations: int = PERMUTATIONS,
) -> dict[str, int]:
    """Return the tie group of each method: 1 for the best and all it does not beat, 2 for the best of the rest, ...

    A method leaves the leader's group when the paired permutation test gives p < alpha on their common samples. The
    tests are not corrected for their number. Methods whose value is NaN come last, together.
    """
    order = sorted((m for m in values if values[m] == values[m]), key=lambda m: values[m], reverse=higher_is_better)
    groups: dict[str, int] = {}
    group = 0
    while order:
        leader, group = order[0], group + 1
        tied = [leader]
        tied += [m for m in order[1:] if not _beats(sums[leader], sums[m], alpha, permutations)]
        groups.update(dict.fromkeys(tied, group))
        order = [m for m in order if m not in tied]
    return groups | {m: group + 1 for m in values if m not in groups}


def _beats(a: SampleSums, b: SampleSums, alpha: float, permutations: int) -> bool:
    both = set(b.ids)
    ids = [sample for sample in a.ids if sample in both]
    return bool(ids) and paired_permutation(a.take(ids), b.take(ids), permutations=permutations) < alpha


def _ratio(num: float, den: float) -> float:
    return float(num / den) if den else float("nan")


def _ratios(num: np.ndarray, den: np.ndarray) -> np.ndarray:
    return np.divide(num, den, out=np.full(num.shape, np.nan), where=den > 0)
