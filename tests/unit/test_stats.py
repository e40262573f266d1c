"""Sums over samples, and Wilson's interval against published values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radl_bench.scoring.statistics import sample_sums, wilson


def test_sample_sums_add_rows_of_a_sample_and_know_missing_values() -> None:
    ids, values = ["a", "a", "b", "b"], [1.0, float("nan"), 0.5, 0.5]
    zero, left_out = sample_sums(ids, values, 0.0), sample_sums(ids, values, None)
    assert (zero.ids, zero.num.tolist(), zero.den.tolist()) == (("a", "b"), [1.0, 1.0], [2.0, 2.0])
    assert left_out.den.tolist() == [1.0, 2.0]
    assert zero.value == 0.5
    assert left_out.value == pytest.approx(2 / 3)
    assert np.isnan(sample_sums([], []).value)


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
