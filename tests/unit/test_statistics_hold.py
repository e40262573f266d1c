"""Short form of benchmarks/statistics/coverage.py: the intervals hold the truth, the tests see no winner in noise.

The bounds are 95 % give or take what that many trials leave to chance (three standard errors), and the draws are
seeded, so the outcome is the same at each run.
"""

from __future__ import annotations

import pytest

from benchmarks.statistics.coverage import (
    Tally,
    ap_coverage,
    difference_coverage,
    false_ties,
    kid_coverage,
    mean_coverage,
    rate_coverage,
    winners,
)


def check(tally: Tally, spare: float = 0.015) -> None:
    """Hold a share against 95 %, `spare` and three standard errors."""
    assert tally.printed > 0
    assert abs(tally.share - 0.95) <= 3.0 * (0.95 * 0.05 / tally.printed) ** 0.5 + spare, tally


@pytest.mark.parametrize(("n", "images", "strength"), [(40, 1, -3.0), (40, 4, 1.0), (160, 1, -2.0), (160, 1, 2.0)])
def test_intervals_of_ap_hold_its_mean(n: int, images: int, strength: float) -> None:
    for tally in ap_coverage(n, images, strength, 80, 300):
        check(tally)


def test_intervals_of_ap_hold_its_mean_over_800_layouts() -> None:
    for tally in ap_coverage(800, 1, -1.0, 40, 100):
        assert tally.held >= 34, tally  # 36 of 40 is 90 %; a bootstrap's percentiles hold the mean in 23


@pytest.mark.parametrize("score", ["R_inst", "mIoU", "CLIP"])
@pytest.mark.parametrize(("n", "images"), [(20, 8), (160, 1)])
def test_intervals_of_means_hold_the_truth(score: str, n: int, images: int) -> None:
    for strength in (-2.0, 2.0):
        check(mean_coverage(score, n, images, strength, 600))


@pytest.mark.parametrize(("n", "images", "alike"), [(20, 1, 0.0), (20, 8, 0.7), (32, 8, 0.3), (32, 8, 1.0)])
def test_intervals_of_rates_near_95_hold_the_truth(n: int, images: int, alike: float) -> None:
    check(rate_coverage(n, images, 0.95, alike, 1000))


@pytest.mark.parametrize(("n", "images", "shift"), [(40, 1, 0.0), (40, 4, 0.3)])
def test_intervals_of_kid_hold_the_truth(n: int, images: int, shift: float) -> None:
    check(kid_coverage(n, images, shift, 300, 600), spare=0.0)


@pytest.mark.parametrize(("score", "n"), [("mIoU", 40), ("R_inst", 20)])
def test_intervals_of_differences_hold_the_truth(score: str, n: int) -> None:
    check(difference_coverage(score, n, 300, 2000))


@pytest.mark.parametrize("scores", ["R_inst", "CLIP", "AP, AP50, AP75", "FID, KID"])
def test_equal_methods_are_not_told_apart_by_chance(scores: str) -> None:
    assert set(winners(scores, 4, 20)) == {0.0}  # no p under .125
    for n in (13, 20):
        assert max(winners(scores, n, 150)) <= 0.05 + 3.0 * (0.05 * 0.95 / 150) ** 0.5


def test_a_table_of_six_equal_methods_rarely_tells_any_apart() -> None:
    apart, bold = false_ties(6, 20, 60)
    assert apart <= 0.05 + 3.0 * (0.05 * 0.95 / 60) ** 0.5
    assert bold <= apart
