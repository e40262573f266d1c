"""Statistics: exact small cases, and simulations whose truth is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radl_bench.scoring.statistics import (
    SampleSums,
    cluster_bootstrap,
    paired_difference,
    paired_permutation,
    resample_counts,
    sample_sums,
    tie_groups,
    wilson,
)


def sums(num, den=None) -> SampleSums:
    num = np.asarray(num, float)
    den = np.ones(len(num)) if den is None else np.asarray(den, float)
    return SampleSums(tuple(map(str, range(len(num)))), num, den)


def test_sample_sums_add_rows_of_a_sample_and_know_missing_values() -> None:
    ids, values = ["a", "a", "b", "b"], [1.0, float("nan"), 0.5, 0.5]
    zero, left_out = sample_sums(ids, values, 0.0), sample_sums(ids, values, None)
    assert (zero.ids, zero.num.tolist(), zero.den.tolist()) == (("a", "b"), [1.0, 1.0], [2.0, 2.0])
    assert left_out.den.tolist() == [1.0, 2.0]
    assert zero.value == 0.5
    assert left_out.value == pytest.approx(2 / 3)
    assert np.isnan(sample_sums([], []).value)


def test_resamples_draw_n_samples_each_and_are_the_same_for_a_seed() -> None:
    counts = np.concatenate(list(resample_counts(50, 200, seed=1)))
    assert counts.shape == (200, 50)
    assert (counts.sum(axis=1) == 50).all()
    assert np.array_equal(counts, np.concatenate(list(resample_counts(50, 200, seed=1))))


def test_bootstrap_equals_drawing_the_rows_themselves() -> None:
    rng = np.random.default_rng(0)
    clusters = [rng.random(rng.integers(2, 7)) for _ in range(30)]
    s = sums([c.sum() for c in clusters], [len(c) for c in clusters])
    counts = np.concatenate(list(resample_counts(30, 300)))
    draws = [np.concatenate([clusters[i] for i in np.repeat(np.arange(30), row.astype(int))]).mean() for row in counts]
    assert cluster_bootstrap(s, resamples=300) == pytest.approx(np.quantile(draws, [0.025, 0.975]))


def test_interval_covers_the_truth_about_95_times_in_100_with_correlated_instances() -> None:
    """600 benchmarks of 160 samples, as many as a level of COCO-MIG has; the binomial error is .9 points."""
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(600):
        rate = rng.beta(6, 4, size=160)  # instances of a sample share their rate; the mean is .6
        good = rng.binomial(4, rate)
        low, high = cluster_bootstrap(sums(good, np.full(160, 4)), resamples=400, seed=trial)
        hits += low <= 0.6 <= high
    assert 0.93 <= hits / 600 <= 0.97


def test_paired_difference_covers_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(6)
    hits = 0
    for trial in range(400):
        hardness = rng.normal(0, 1, 80)  # shared by both methods; the true difference is .2
        a, b = hardness + rng.normal(0.2, 0.5, 80), hardness + rng.normal(0, 0.5, 80)
        difference = paired_difference(sums(a), sums(b), resamples=300, permutations=1, seed=trial)
        hits += difference.ci_low <= 0.2 <= difference.ci_high
    assert 0.93 <= hits / 400 <= 0.97


def test_ignoring_the_clusters_would_be_too_sure() -> None:
    good = np.repeat([0.0, 6.0], 40)  # all six instances of a sample share their fate
    low, high = cluster_bootstrap(sums(good, np.full(80, 6)))
    flat = sums(np.repeat([0.0, 1.0], 240))
    naive = cluster_bootstrap(flat)
    assert high - low > 2 * (naive[1] - naive[0])


def test_permutation_p_equals_the_exact_one() -> None:
    a, b = np.array([5.0, 3.0, 4.0, 6.0, 2.0, 4.0]), np.array([3.0, 3.0, 1.0, 2.0, 2.5, 1.0])
    seen = abs((a - b).sum())
    signs = np.array(list(product([1, -1], repeat=6)))
    exact = np.mean(np.abs(signs @ (a - b)) >= seen - 1e-9)
    assert paired_permutation(sums(a), sums(b), permutations=20_000) == pytest.approx(exact, abs=0.01)


def test_permutation_p_is_flat_under_the_null_and_never_zero() -> None:
    rng = np.random.default_rng(2)
    ps = [paired_permutation(sums(rng.random(25)), sums(rng.random(25)), permutations=200, seed=n) for n in range(300)]
    assert np.mean(np.array(ps) < 0.05) < 0.09
    assert 0.4 < np.mean(ps) < 0.6
    assert paired_permutation(sums(np.ones(40)), sums(np.zeros(40)), permutations=100) == pytest.approx(1 / 101)


def test_permutation_refuses_other_samples() -> None:
    with pytest.raises(ValueError, match="same samples"):
        paired_permutation(sums([1.0, 2.0]), sums([1.0, 2.0, 3.0]))


def test_paired_difference_uses_common_samples_and_feels_the_pairing() -> None:
    rng = np.random.default_rng(1)
    easy = rng.random(60)  # hardness that both methods share
    a, b = sums(easy + 0.1 + rng.normal(0, 0.01, 60)), sums(easy[:50])
    result = paired_difference(a, b, permutations=500)
    assert result.n == 50
    assert result.value == pytest.approx(0.1, abs=0.02)
    assert 0.08 < result.ci_low < result.value < result.ci_high < 0.12
    assert result.p < 0.01
    assert paired_difference(a, SampleSums(("x",), np.ones(1), np.ones(1))).n == 0


@pytest.mark.parametrize(
    ("good", "n", "low", "high"),
    [(5, 10, 0.2366, 0.7634), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_against_published_values(good: int, n: int, low: float, high: float) -> None:
    assert wilson(good, n) == pytest.approx((low, high), abs=1e-4)  # Newcombe 1998, table I, for 81/263


@given(st.integers(1, 200), st.data())
def test_wilson_holds_the_rate(n: int, data) -> None:
    good = data.draw(st.integers(0, n))
    low, high = wilson(good, n)
    assert 0.0 <= low <= good / n <= high <= 1.0


def test_tie_groups_split_what_can_be_told_apart() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(100)
    table = {"best": sums(base + 0.3), "twin": sums(base + 0.3 + rng.normal(0, 0.05, 100)), "worse": sums(base)}
    values = {name: s.value for name, s in table.items()} | {"broken": float("nan")}
    assert tie_groups(values, table, permutations=500) == {"best": 1, "twin": 1, "worse": 2, "broken": 3}
    flipped = tie_groups(values, table, permutations=500, higher_is_better=False)
    assert (flipped["worse"], flipped["best"], flipped["twin"]) == (1, 2, 2)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30), st.integers(0, 5))
def test_interval_holds_between_the_smallest_and_largest_sample(values: list[float], seed: int) -> None:
    low, high = cluster_bootstrap(sums(values), resamples=50, seed=seed)
    assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12
