"""The paired test of two scored runs in any score: swap their images sample by sample and measure again.

A score with rows is tested by its sums over samples. One without (AP, FID, KID) is tested by what its pool kept beside
scores.json (`metrics.Comparable`), and, for FID and KID, by the feature vectors in the evidence of both runs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radl_bench.errors import BadInput, RadlBenchError
from radl_bench.report.scored_run import ScoredRun
from radl_bench.scoring.fid_reference import read_reference
from radl_bench.scoring.metrics.ap_parts import AP_PERMUTATIONS, ApParts, ap_tests
from radl_bench.scoring.metrics.set_distances import fid_test, kid_test, spread_evenly
from radl_bench.scoring.permutation import NO_TEST, PERMUTATIONS, SwapTest, mean_test, reversed_test, scaled_test
from radl_bench.scoring.statistics import EMPTY, SampleSums

if TYPE_CHECKING:
    Kept = Mapping[str, np.ndarray]
    Only = Collection[str] | None

TEST = "paired permutation over samples"
NOT_TESTED = "none"


def sums_of(run: ScoredRun, metric: str, level: int | None) -> SampleSums:
    """Return the per-sample sums of a metric at a level, or all; empty where the run has no such rows."""
    return run.sums.get((metric, level), EMPTY)


def samples_of(run: ScoredRun, metric: str, level: int | None) -> frozenset[str]:
    """Return the samples that a score of a run can be tested on; none where it keeps nothing to test it with."""
    kept = run.kept(metric)
    if kept is None:
        return frozenset(sums_of(run, metric, level).ids)
    return SAMPLES[str(kept["form"])](run, kept, level) if str(kept.get("form")) in SAMPLES else frozenset()


def difference_of(
    a: ScoredRun, b: ScoredRun, metric: str, level: int | None, only: Only = None, category: str | None = None
) -> tuple[SwapTest, str]:
    """Return the paired difference a - b of a score, with interval and p, and the name of the test.

    Args:
        only: samples to compare them on; all that both have when not given.
        category: compare them on the boxes of this class alone; for AP.

    "none", with NaN for interval and p, where nothing is kept to test it with.
    """
    first, second = sorted((a, b), key=lambda run: str(run.file))
    key = (str(second.file), metric, level, None if only is None else frozenset(only), category)
    if key not in first.tests:
        first.tests.update({(key[0], name, *key[2:]): test for name, test in _tests(first, second, *key[1:]).items()})
    found = first.tests[key]
    if found is None:
        values = [run.cells[metric, level]["value"] for run in (a, b)]
        gap = math.nan if any(value is None for value in values) else float(values[0] - values[1])
        return NO_TEST._replace(value=gap), NOT_TESTED
    return (found if first is a else reversed_test(found)), TEST


def _tests(
    a: ScoredRun, b: ScoredRun, metric: str, level: int | None, only: Only, category: str | None
) -> dict[str, SwapTest | None]:
    """Return the tests of a score and of all that are measured with it; None where there is none."""
    one, other = a.kept(metric), b.kept(metric)
    if one is not None and other is not None:
        form = str(one.get("form"))
        alike = form in FORMS and form == str(other.get("form"))
        found = FORMS[form](a, b, level, one, other, only, category) if alike else {}
        return {metric: None, **found}
    left, right = (sums_of(run, metric, level).only(only) for run in (a, b))
    return {metric: mean_test(left, right) if left.ids and right.ids else None}


def box_parts(run: ScoredRun, kept: Kept, level: int | None, only: Only = None, category: str | None = None) -> ApParts:
    """Return what a run kept of AP, of a level, these samples and a class; raises `BadInput` where it is broken."""
    try:
        parts, levels = ApParts.from_arrays(kept), np.asarray(kept["levels"])
        at = dict(zip(parts.samples, levels.tolist(), strict=True))
        parts = parts if category is None else parts.of_category(category)
        return parts.take([s for s in at if level in (None, at[s]) and (only is None or s in only)])
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise BadInput(f"What {run.file} keeps to compare AP is broken ({error}). {run.again}") from None


def _box_tests(
    a: ScoredRun, b: ScoredRun, level: int | None, one: Kept, other: Kept, only: Only, category: str | None
) -> dict[str, SwapTest | None]:
    tests = ap_tests(box_parts(a, one, level, only, category), box_parts(b, other, level, only, category))
    return {name: scaled_test(test, 100.0) for name, test in tests.items()}


def _box_samples(run: ScoredRun, kept: Kept, level: int | None) -> frozenset[str]:
    return frozenset(box_parts(run, kept, level).samples)


def feature_vectors(run: ScoredRun) -> dict[tuple[str, int], np.ndarray]:
    """Return the float32 [D] of every image of a run, by sample and number, out of its evidence.

    Raises:
        RadlBenchError: the evidence, or the benchmark, is not there any more.
    """
    views = run.views.of(run.plan.planned(files=False), ("features",))
    return {(view.sample.id, view.k): view.features for view in views if view.features is not None}


def _feature_tests(
    a: ScoredRun, b: ScoredRun, level: int | None, one: Kept, other: Kept, only: Only, _: str | None
) -> dict[str, SwapTest | None]:
    """Return the tests of FID and KID over the images both have; {} where vectors or reference are gone."""
    try:
        reference = read_reference(Path(str(one["reference"]) or str(other["reference"])))
        left, right = feature_vectors(a), feature_vectors(b)
    except (RadlBenchError, KeyError):
        return {}
    if reference.setting != str(one["setting"]):  # another file has its name by now
        return {}
    images = [image for image in left if image in right and (only is None or image[0] in only)]
    if len(images) < 2:
        return {"fid": NO_TEST, "kid": NO_TEST}
    x, y = (np.stack([of[image] for image in images]) for of in (left, right))
    samples = np.unique([sample for sample, _ in images], return_inverse=True)[1]
    tests: dict[str, SwapTest | None] = {"fid": fid_test(x, y, samples, reference.moments), "kid": None}
    if reference.vectors is not None:
        at = spread_evenly(len(images))
        numbers = np.unique(samples[at], return_inverse=True)[1]
        tests["kid"] = scaled_test(kid_test(x[at], y[at], numbers, reference.vectors), 1000.0)
    return tests


def _feature_samples(run: ScoredRun, kept: Kept, level: int | None) -> frozenset[str]:
    try:
        return frozenset(sample.id for sample in run.plan.benchmark.samples)
    except RadlBenchError:
        return frozenset()


FORMS: Mapping[str, Callable[..., dict[str, SwapTest | None]]] = {"boxes": _box_tests, "features": _feature_tests}
"""How scores are tested by what their pool keeps, by its `form`; each gives all scores that are measured together."""

SWAPS: Mapping[str, int] = {"boxes": AP_PERMUTATIONS + 1, "features": PERMUTATIONS + 1}
"""How many swaps the test of a pair has, by form."""

SAMPLES: Mapping[str, Callable[[ScoredRun, Kept, int | None], frozenset[str]]] = {
    "boxes": _box_samples,
    "features": _feature_samples,
}
