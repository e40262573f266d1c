"""One test for all scores: swap the two methods' images sample by sample and measure again.

Under the null hypothesis, that in every sample either method could have made either set of images, all `2^S` swaps are
equally likely, so the test is exact for any score and any number of samples. Up to 2^13 swaps all are tried, else a
seeded draw of them with the data's own among it (Phipson and Smyth 2010). With fewer than six samples no p under .05 is
possible.

The interval of the difference is the test turned round: all differences that the test would not reject at 5 %. For a
difference d, the swapped difference D* is compared after d times the net share of samples that kept their labels is
taken from it; for means this is the permutation test of `a - d` against `b`. So 0 is outside the interval exactly where
p < .05.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from radl_bench.scoring.statistics import SampleSums

ALPHA = 0.05
PERMUTATIONS = 9_999
_CHUNK = 2_000_000  # numbers held at once
_KEPT = 10_000_000  # signs that are kept for the next pair of methods: 80 MB
_NAN = float("nan")

Swapped = Callable[[np.ndarray], np.ndarray]
"""From signs float64 [R, S] (1: labels kept, -1: swapped) to the difference a - b of each, float64 [R]."""


class SwapTest(NamedTuple):
    """Difference a - b over `n` samples, its 95 % interval and the two-sided p.

    The ends are NaN under six samples, and where the difference is the same in every sample.
    """

    value: float
    ci_low: float
    ci_high: float
    p: float
    n: int


NO_TEST = SwapTest(_NAN, _NAN, _NAN, _NAN, 0)
"""The test of two methods that have no sample in common."""


def signs(n: int, permutations: int = PERMUTATIONS, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield swaps as signs float64 [R, n] in chunks, the data's own (all 1) first.

    A swap and its opposite give the same size of difference, so where there are no more than `permutations + 1` of
    them, every one of the 2^(n-1) that leave the first sample alone is given once; else that many random ones.
    """
    if n * (permutations + 1) <= _KEPT:
        yield from _kept_signs(n, permutations, seed)
    else:
        yield from _drawn_signs(n, permutations, seed)


@lru_cache(maxsize=2)
def _kept_signs(n: int, permutations: int, seed: int) -> tuple[np.ndarray, ...]:
    """Return the signs for one number of samples, which every pair of methods on them shares."""
    kept = tuple(_drawn_signs(n, permutations, seed))
    for chunk in kept:
        chunk.flags.writeable = False
    return kept


def _drawn_signs(n: int, permutations: int, seed: int) -> Iterator[np.ndarray]:
    total = permutations + 1
    step = max(1, _CHUNK // max(n, 1))
    if n - 1 < 60 and 2 ** max(n - 1, 0) <= total:
        codes = np.arange(2 ** max(n - 1, 0))
        for start in range(0, len(codes), step):
            bits = (codes[start : start + step, None] >> np.arange(n)[::-1][None, :]) & 1
            yield 1.0 - 2.0 * bits
        return
    rng = np.random.default_rng(seed)
    for start in range(0, total, step):
        drawn = 1.0 - 2.0 * rng.integers(0, 2, size=(min(step, total - start), n))
        if start == 0:
            drawn[0] = 1.0
        yield drawn


def swap_test(
    swapped: Swapped, weights: np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = 0, alpha: float = ALPHA
) -> SwapTest:
    """Test a difference of 0 and return the interval of differences that are not rejected.

    Args:
        swapped: gives the difference under swaps.
        weights: float64 [S], each sample's part in the score; they need not sum to 1.
    """
    (test,) = swap_tests(lambda s: swapped(s)[:, None], weights, permutations=permutations, seed=seed, alpha=alpha)
    return test


def swap_tests(
    swapped: Swapped, weights: np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = 0, alpha: float = ALPHA
) -> list[SwapTest]:
    """As `swap_test` for K scores that are measured together: `swapped` returns float64 [R, K]."""
    n = len(weights)
    share = weights / weights.sum() if n else weights
    chunks = [(swapped(s), s @ share) for s in signs(n, permutations, seed)] if n else []
    if not chunks:
        return []
    stars, kept = np.concatenate([c[0] for c in chunks]), np.concatenate([c[1] for c in chunks])
    return [_turned_round(column, kept, n, alpha) for column in stars.T]


def _turned_round(stars: np.ndarray, kept: np.ndarray, n: int, alpha: float) -> SwapTest:
    """Return the test from the differences of all swaps, the data's own first.

    A swap is at least as extreme as the data at a hypothesis d where |D* - d m| >= |D - d|, with m its net share of
    kept labels. That holds between the two roots (D - D*) / (1 - m) and (D + D*) / (1 + m), which enclose D; so p falls
    with the distance from D, and the ends of the interval are order statistics of the roots.
    """
    value = float(stars[0])
    if value != value:
        return SwapTest(_NAN, _NAN, _NAN, _NAN, n)
    slack = _slack(stars)
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = np.stack([(value - stars) / (1.0 - kept), (value + stars) / (1.0 + kept)])
    endless = (np.abs(kept) > 1.0 - 1e-12) | np.isnan(stars)  # as the data's own: extreme at every hypothesis
    low = np.where(endless, -np.inf, roots.min(axis=0))
    high = np.where(endless, np.inf, roots.max(axis=0))
    p = share_as_extreme(stars, stars)
    rank = int(np.ceil(alpha * len(stars) - 1e-9)) - 1
    ends = float(np.partition(low, rank)[rank]), float(-np.partition(-high, rank)[rank])
    if not np.isfinite(ends).all():
        return SwapTest(value, _NAN, _NAN, p, n)
    if ends[1] - ends[0] <= slack:  # nothing is known of how it would vary
        return SwapTest(value, _NAN, _NAN, p, n)
    if p >= alpha:  # equal differences may fall a rounding error apart: 0 belongs inside
        ends = min(ends[0], 0.0), max(ends[1], 0.0)
    return SwapTest(value, *ends, p, n)


def share_as_extreme(stars: np.ndarray, others: np.ndarray) -> float:
    """Return the share of `others` that are as far from 0 as `stars[0]`, the data's own; NaN where that is NaN.

    Of `stars` [R] themselves, the differences of all swaps, it is the two-sided p.
    """
    if stars[0] != stars[0]:
        return _NAN
    return float(np.mean(np.isnan(others) | (np.abs(others) >= abs(float(stars[0])) - _slack(stars))))


def _slack(stars: np.ndarray) -> float:
    # differences that are equal may fall a rounding error apart
    return 1e-9 * max(1.0, float(np.nanmax(np.abs(stars))))


def mean_test(a: SampleSums, b: SampleSums, *, permutations: int = PERMUTATIONS, seed: int = 0) -> SwapTest:
    """Compare two ratios of sums over the samples both have; p and ends are NaN where they share none."""
    ids = common(a.ids, b.ids)
    if not ids:
        return NO_TEST
    a, b = a.take(ids), b.take(ids)
    num, den = (a.num - b.num) / 2.0, (a.den - b.den) / 2.0
    num_sum, den_sum = (a.num + b.num).sum() / 2.0, (a.den + b.den).sum() / 2.0

    def swapped(s: np.ndarray) -> np.ndarray:
        up = s @ num
        down = s @ den if den.any() else np.zeros(len(s))
        with np.errstate(divide="ignore", invalid="ignore"):
            return (num_sum + up) / (den_sum + down) - (num_sum - up) / (den_sum - down)

    return swap_test(swapped, a.den + b.den, permutations=permutations, seed=seed)


def additive_test(
    parts: np.ndarray, weights: np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> SwapTest:
    """Compare two methods by each sample's part float64 [S] in the difference, whose sum is the difference."""
    return swap_test(lambda s: s @ parts, weights, permutations=permutations, seed=seed)


def reversed_test(test: SwapTest) -> SwapTest:
    """Return the test of b - a."""
    return test._replace(value=-test.value, ci_low=-test.ci_high, ci_high=-test.ci_low)


def scaled_test(test: SwapTest, factor: float) -> SwapTest:
    """Return the test of a score in another unit, e.g. per cent for a factor of 100."""
    return test._replace(value=test.value * factor, ci_low=test.ci_low * factor, ci_high=test.ci_high * factor)


def separated(ps: Mapping[str, float], methods: int, alpha: float = ALPHA) -> set[str]:
    """Return which of one method's rivals it is told apart from, by Holm's rule over all pairs of a table.

    Args:
        ps: p against each rival.
        methods: how many methods the table compares; there are `methods (methods - 1) / 2` pairs, and the best of them
            was chosen after looking, so all pairs count and not only those of the best.

    The i-th smallest p is held against `alpha / (pairs - i + 1)`, and the first that fails ends it. All that this
    separates, Holm's rule over all pairs would separate too: the chance of any false separation is at most alpha.
    """
    pairs = methods * (methods - 1) // 2
    apart: set[str] = set()
    for i, name in enumerate(sorted(ps, key=lambda name: (ps[name] != ps[name], ps[name]))):
        if not ps[name] * (pairs - i) < alpha:
            break
        apart.add(name)
    return apart


def tie_groups(
    values: Mapping[str, float],
    p_of: Callable[[str, str], float],
    *,
    higher_is_better: bool = True,
    alpha: float = ALPHA,
) -> dict[str, int]:
    """Return the tie group of each method: 1 for the best and all not told apart from it, 2 for the best of the rest.

    `p_of(best, rival)` is the p of a pair, NaN where it cannot be tested (then it is a tie). Corrected by `separated`
    for all pairs of the table. Methods whose value is NaN come last, together.
    """
    order = sorted((m for m in values if values[m] == values[m]), key=lambda m: values[m], reverse=higher_is_better)
    methods, groups, group = len(order), {}, 0
    while order:
        leader, group = order[0], group + 1
        apart = separated({rival: p_of(leader, rival) for rival in order[1:]}, methods, alpha)
        groups.update(dict.fromkeys([m for m in order if m not in apart], group))
        order = [m for m in order if m in apart]
    return groups | {m: group + 1 for m in values if m not in groups}


def common(a: Sequence[str], b: Sequence[str]) -> list[str]:
    """Return the samples that both have, in the order of the first."""
    both = set(b)
    return [sample for sample in a if sample in both]
