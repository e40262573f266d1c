"""The swap test and what is built on it: exact small cases, other ways to compute them, and its rules."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radl_bench.scoring.permutation import ALPHA, additive_test, mean_test, separated, signs, tie_groups
from radl_bench.scoring.statistics import SampleSums


def sums(num, den=None) -> SampleSums:
    num = np.asarray(num, float)
    den = np.ones(len(num)) if den is None else np.asarray(den, float)
    return SampleSums(tuple(map(str, range(len(num)))), num, den)


def test_p_is_the_share_of_all_swaps_that_are_as_extreme() -> None:
    a, b = np.array([5.0, 3.0, 4.0, 6.0, 2.0, 4.0, 1.0]), np.array([3.0, 3.0, 1.0, 2.0, 2.5, 1.0, 2.0])
    every = np.array(list(product([1, -1], repeat=7)))
    exact = np.mean(np.abs(every @ (a - b)) >= abs((a - b).sum()) - 1e-9)
    assert mean_test(sums(a), sums(b)).p == exact


def test_the_interval_is_that_of_the_shifts_the_test_does_not_reject() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1.0, 11), rng.normal(0.0, 1.0, 11)
    test = mean_test(sums(a), sums(b))
    for end, inside in ((test.ci_low, 1.0), (test.ci_high, -1.0)):
        assert mean_test(sums(a - end - 1e-6 * inside), sums(b)).p >= ALPHA
        assert mean_test(sums(a - end + 1e-6 * inside), sums(b)).p < ALPHA


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=6, max_size=16), st.floats(0.5, 2.0))
def test_zero_is_outside_the_interval_exactly_where_p_is_small(parts: list[int], scale: float) -> None:
    test = additive_test(np.array(parts) * scale, np.ones(len(parts)), permutations=999)
    if len(set(parts)) == 1:
        assert np.isnan([test.ci_low, test.ci_high]).all()  # no interval of width 0
        return
    assert (test.ci_low <= 0 <= test.ci_high) == (test.p >= ALPHA)
    assert test.ci_low <= test.value <= test.ci_high
    assert test.ci_low < test.ci_high


@pytest.mark.parametrize(("n", "p"), [(1, 1.0), (4, 0.125), (5, 0.0625), (6, 0.03125)])
def test_the_smallest_p_of_few_samples_and_no_interval_under_six(n: int, p: float) -> None:
    test = mean_test(sums(np.arange(n) + 2.0), sums(np.zeros(n)))
    assert test.p == p
    assert (test.ci_low == test.ci_low) == (n >= 6)


def test_all_swaps_come_once_where_they_are_few_and_the_data_come_first() -> None:
    few, many = (np.concatenate(list(signs(n, 999))) for n in (8, 30))
    assert len({tuple(row) for row in few}) == len(few) == 128
    assert (few[0] == 1).all()
    assert (many[0] == 1).all()
    assert len(many) == 1000
    assert np.array_equal(many, np.concatenate(list(signs(30, 999))))


def test_only_common_samples_count_and_unequal_numbers_of_rows_are_re_summed() -> None:
    a = SampleSums(("x", "y", "z"), np.array([1.0, 4.0, 9.0]), np.array([1.0, 2.0, 3.0]))
    b = SampleSums(("z", "w", "y"), np.array([2.0, 7.0, 1.0]), np.array([1.0, 1.0, 2.0]))
    test = mean_test(a, b)
    assert (test.n, test.value) == (2, pytest.approx(13 / 5 - 3 / 3))
    swapped = (4 + 2) / (2 + 1) - (1 + 9) / (2 + 3)
    assert test.p == np.mean([True, abs(swapped) >= test.value])
    assert mean_test(a, sums([1.0])).n == 0


def test_holm_over_all_pairs_of_a_table() -> None:
    # three methods have three pairs: .016 * 3 < .05, then .02 * 2 < .05
    assert separated({"b": 0.016, "c": 0.02}, 3) == {"b", "c"}
    assert separated({"b": 0.02, "c": 0.001}, 3) == {"b", "c"}
    assert separated({"b": 0.017, "c": 0.02}, 3) == set()
    assert separated({"b": 0.03}, 2) == {"b"}
    assert separated({"b": float("nan"), "c": 0.001}, 3) == {"c"}


def test_tie_groups_by_given_ps() -> None:
    ps = {frozenset("ab"): 0.5, frozenset("ac"): 0.001, frozenset("ad"): 0.001, frozenset("cd"): 0.2}
    values = {"c": 2.0, "a": 5.0, "b": 4.9, "d": 1.0, "broken": float("nan")}
    groups = tie_groups(values, lambda x, y: ps[frozenset((x, y))])
    assert groups == {"a": 1, "b": 1, "c": 2, "d": 2, "broken": 3}
    ps = dict.fromkeys(ps, 0.001) | {frozenset("bd"): 0.001, frozenset("bc"): 0.001}
    lower = tie_groups(values, lambda x, y: ps[frozenset((x, y))], higher_is_better=False)
    assert [lower[m] for m in "dcba"] == [1, 2, 3, 4]
