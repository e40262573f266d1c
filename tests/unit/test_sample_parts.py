"""AP and KID over samples against cases that can be worked out by hand or by brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.statistics import worlds
from radl_bench.scoring.intervals import bounded_interval
from radl_bench.scoring.metrics.ap_parts import ApParts, ap_intervals, ap_tests
from radl_bench.scoring.metrics.frechet import moments_of
from radl_bench.scoring.metrics.set_distances import fid_test, kernel_parts, kid_interval, kid_test, kid_value


def one_class_each(right: np.ndarray) -> ApParts:
    """Return samples that have a class of their own, with one box each, found perfectly or not at all."""
    n = np.arange(len(right))
    names = tuple(map(str, n))
    found = np.stack([n, n, n], axis=1)[right]
    return ApParts(names, names, np.stack([n, n], axis=1), found, np.ones(len(found)), np.full(len(found), 1023, "u2"))


def test_the_standard_error_of_ap_is_that_of_a_mean_where_ap_is_one() -> None:
    for n in (50, 400):  # of the larger one a subset leaves out 100 and not four tenths
        right = np.random.default_rng(0).random(n) < 0.3
        found = ap_intervals(one_class_each(right))["ap"]
        want = bounded_interval(right.mean(), right.std(ddof=1) / n**0.5, int(right.sum()))
        assert found.high - found.low == pytest.approx(want.high - want.low, rel=0.1)
        assert found.low < right.mean() < found.high


def test_too_few_right_detections_or_samples_give_no_interval_of_ap() -> None:
    right = np.zeros(40, bool)
    right[:5] = True
    assert math.isnan(ap_intervals(one_class_each(right))["ap"].low)
    assert math.isnan(ap_intervals(one_class_each(~np.zeros(40, bool)))["ap50"].low)
    assert "samples" in ap_intervals(one_class_each(np.ones(3, bool)))["ap"].note


def test_the_same_run_twice_has_a_difference_of_zero_and_p_of_one() -> None:
    rng = np.random.default_rng(0)
    parts = worlds.detections(rng, worlds.layouts(rng, 12), 0.0)
    test = ap_tests(parts, parts)["ap75"]
    assert (test.value, test.p) == (0.0, 1.0)
    assert ap_tests(parts, parts.take(parts.samples[:4]))["ap"].n == 4


def test_kid_of_one_image_a_sample_is_the_unbiased_one_and_pairs_of_a_sample_are_left_out() -> None:
    rng, reference = np.random.default_rng(0), worlds.photographs(50)
    vectors, samples = worlds.features(rng, 12, 3, 0.2)
    x, y = vectors.astype(float), reference.astype(float)
    within, across, other = ((one @ two.T / x.shape[1] + 1.0) ** 3 for one, two in ((x, x), (x, y), (y, y)))
    rest = other[~np.eye(len(y), dtype=bool)].mean() - 2 * across.mean()
    plain = within[~np.eye(36, dtype=bool)].mean() + rest
    assert kid_value(kernel_parts(vectors, np.arange(36), reference)) == pytest.approx(plain, rel=1e-12)
    by_hand = within[samples[:, None] != samples[None, :]].mean() + rest
    order = rng.permutation(36)
    assert kid_value(kernel_parts(vectors[order], samples[order], reference)) == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_kid_is_inside_its_interval_which_mostly_reaches_further_up(shift: float) -> None:
    leans = []
    for seed in range(20):
        vectors, samples = worlds.features(np.random.default_rng(seed), 30, 4, shift)
        parts = kernel_parts(vectors, samples, worlds.photographs())
        found, value = kid_interval(parts), kid_value(parts)
        assert found.low < value < found.high
        leans.append((found.high - value) / (value - found.low))
    assert np.median(leans) > 1.2
    assert math.isnan(kid_interval(kernel_parts(vectors[:8], samples[:8], worlds.photographs())).low)


def test_swapping_the_images_gives_the_difference_that_the_parts_say() -> None:
    rng, reference = np.random.default_rng(1), worlds.photographs(60)
    (a, samples), (b, _) = (worlds.features(rng, 7, 3, shift) for shift in (0.1, 0.3))
    every = [np.array([(code >> s) & 1 for s in range(7)], bool) for code in range(128)]

    def gap(swap: np.ndarray) -> float:
        at = swap[samples][:, None]
        sides = np.where(at, b, a), np.where(at, a, b)
        one, other = (kid_value(kernel_parts(side, samples, reference)) for side in sides)
        return one - other

    gaps = np.array([gap(swap) for swap in every])
    test = kid_test(a, b, samples, reference)
    assert test.value == pytest.approx(gaps[0], rel=1e-10)
    assert test.p == np.mean(np.abs(gaps) >= abs(gaps[0]) - 1e-12)


def test_fid_tells_methods_apart_and_has_no_interval_under_six_samples() -> None:
    rng, reference = np.random.default_rng(1), worlds.photographs()
    moments = moments_of([reference], [reference])
    (a, samples), (b, _) = (worlds.features(rng, 40, 2, shift) for shift in (0.8, 0.2))
    test = fid_test(a, b, samples, moments)
    assert test.p < 0.001
    assert 0 < test.ci_low < test.value < test.ci_high
    assert math.isnan(fid_test(a[:8], b[:8], samples[:8], moments).ci_low)
    assert fid_test(b, a, samples, moments).value == pytest.approx(-test.value)
