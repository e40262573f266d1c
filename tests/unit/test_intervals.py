"""Intervals: known values, bounds, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from radl_bench.scoring.intervals import (
    LEAST,
    bounded_interval,
    mean_interval,
    rate_interval,
    share_interval,
    t_quantile,
)
from radl_bench.scoring.statistics import SampleSums, wilson


def sums(num, den=None) -> SampleSums:
    num = np.asarray(num, float)
    den = np.ones(len(num)) if den is None else np.asarray(den, float)
    return SampleSums(tuple(map(str, range(len(num)))), num, den)


def test_the_mean_of_equal_samples_has_students_interval() -> None:
    values = np.random.default_rng(0).normal(20, 3, 12)
    found = mean_interval(sums(3 * values, np.full(12, 3)))
    theirs = stats.t.interval(0.95, 11, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(theirs, rel=1e-12)
    assert t_quantile(9) == pytest.approx(2.262157, abs=1e-6)


def test_one_image_a_prompt_or_prompts_that_agree_have_wilsons_interval() -> None:
    good = [1] * 17 + [0] * 3
    assert rate_interval(sums(good))[:2] == pytest.approx(wilson(17, 20))
    whole = rate_interval(sums(np.array(good) * 8, np.full(20, 8)))
    assert whole[:2] == pytest.approx(wilson(17, 20))


def test_images_that_differ_tell_more_than_their_prompts_and_less_than_images_of_as_many_prompts() -> None:
    rng = np.random.default_rng(1)
    good = rng.binomial(8, rng.beta(8, 2, 30))
    low, high = rate_interval(sums(good, np.full(30, 8)))[:2]
    rate = good.sum() / 240
    (most, most_high), (least, least_high) = wilson(30 * rate, 30), wilson(240 * rate, 240)
    assert most < low < least < least_high < high < most_high


@pytest.mark.parametrize("interval", [mean_interval, share_interval, rate_interval])
def test_too_few_samples_have_no_interval_and_it_is_said(interval) -> None:
    for n in range(LEAST):
        found = interval(sums(np.ones(n)))
        assert math.isnan(found.low)
        assert str(n) in found.note


def test_there_is_never_an_interval_of_no_width() -> None:
    for interval in (mean_interval, share_interval):
        for value in (0.0, 1.0):
            assert math.isnan(interval(sums(np.full(30, value))).low)
    assert rate_interval(sums(np.ones(30)))[:2] == pytest.approx(wilson(30, 30))
    assert math.isnan(bounded_interval(0.01, 0.01, 2).low)


def test_an_error_of_over_twice_the_distance_from_a_bound_gives_no_interval() -> None:
    assert bounded_interval(0.002, 0.0039, 20).high < 0.2
    for value, bound in ((0.002, "0"), (0.998, "the maximum")):
        found = bounded_interval(value, 0.0041, 20)
        assert math.isnan(found.low)
        assert found.note == f"The standard error is over twice the distance from {bound}: no interval."


@given(st.lists(st.floats(0, 1), min_size=6, max_size=40))
def test_the_value_is_inside_and_shares_stay_within_their_bounds(values: list[float]) -> None:
    for interval in (share_interval, mean_interval):
        found = interval(sums(values))
        if not math.isnan(found.low):
            assert found.low < sums(values).value < found.high
            assert interval is mean_interval or (found.low >= 0 and found.high <= 1)
    found = rate_interval(sums(np.round(values)))
    assert 0 <= found.low <= np.round(values).mean() <= found.high <= 1
