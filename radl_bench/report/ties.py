"""Tie groups of a column: which methods cannot be told from the best one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from radl_bench.report.collect import ScoredRun
from radl_bench.scoring.kinds import NO_DIFFERENCE, TREATMENTS
from radl_bench.scoring.statistics import Difference, SampleSums, percentile_interval, sample_sums

if TYPE_CHECKING:
    import numpy as np


def column_groups(runs: Sequence[ScoredRun], metric: str, level: int | None) -> dict[int, int]:
    """Return the tie group (1 is the best) of each contestant by its index in `runs`.

    A method leaves the group of the best when a paired permutation test over samples gives p < .05, on the samples that
    all contestants have. A metric without rows of its own (AP, FID) is judged by the 95 % interval of the paired
    bootstrap difference, or, where the draws are not at hand, by whether the two intervals overlap; where an interval
    is not known nothing is marked. References and scores that are not numbers take no part; a single contestant has
    nobody to beat: it gets no group.
    """
    values = {n: run.cells[metric, level]["value"] for n, run in enumerate(runs) if _contests(run, metric, level)}
    if len(values) < 2:
        return {}
    sums = {n: sums_of(runs[n], metric, level) for n in values}
    common = set.intersection(*(set(s.ids) for s in sums.values()))
    if not common:
        return _by_interval(runs, metric, level, values)
    paired = {str(n): s.take([sample for sample in s.ids if sample in common]) for n, s in sums.items()}
    means = {name: s.value for name, s in paired.items()}
    spec = runs[next(iter(values))].specs[metric]
    groups = TREATMENTS[spec.kind].ties(means, paired, higher_is_better=not spec.lower_is_better)
    return {int(name): group for name, group in groups.items()}


def is_number(value: object) -> bool:
    """Say whether a score is there: neither null nor NaN."""
    return isinstance(value, (int, float)) and value == value


def _contests(run: ScoredRun, metric: str, level: int | None) -> bool:
    return not run.reference and is_number(run.cells.get((metric, level), {}).get("value"))


def sums_of(run: ScoredRun, metric: str, level: int | None) -> SampleSums:
    """Return the per-sample sums of a metric at a level, or all; empty where the run has no such rows."""
    rows = run.rows
    if rows is None:
        return sample_sums([], [])
    rows = rows[rows["metric"] == metric]
    if level is not None:
        rows = rows[rows["level"] == level]
    # Seeds of a sample and instances of an image are summed together: the sample is the unit.
    return sample_sums(rows["sample_id"], rows["value"].astype(float), run.specs[metric].missing)


def difference_of(a: ScoredRun, b: ScoredRun, metric: str, level: int | None) -> tuple[Difference, str]:
    """Return the paired difference a - b of a score, with interval and p, and the name of the test.

    Scores with rows are compared over the samples both have, others by their draws; "none", with NaN for interval and
    p, where neither can be paired.
    """
    treatment = TREATMENTS[a.specs[metric].kind]
    one, other = sums_of(a, metric, level), sums_of(b, metric, level)
    if one.ids and other.ids:
        return treatment.difference(one, other), treatment.test
    values = [run.cells[metric, level]["value"] for run in (a, b)]
    if not all(map(is_number, values)):
        return NO_DIFFERENCE, "none"
    gap = float(values[0] - values[1])
    draws = paired_draws(a, b, metric, level)
    return (
        (replace(NO_DIFFERENCE, value=gap), "none")
        if draws is None
        else (treatment.of_draws(gap, draws), treatment.test_of_draws)
    )


def paired_draws(a: ScoredRun, b: ScoredRun, metric: str, level: int | None) -> np.ndarray | None:
    """Return the bootstrap draws of `a - b` of a score without rows, float64 [resamples].

    None where the two were not drawn over the same samples, or where some images are missing.
    """
    name = f"{metric}@{'all' if level is None else level}"
    one, other = a.draws.get(name), b.draws.get(name)
    if one is None or other is None or one.shape != other.shape:
        return None
    whole = all(run.cells[metric, level]["n_missing"] == 0 for run in (a, b))
    same = a.data["benchmark"].get("filter") == b.data["benchmark"].get("filter")
    return one - other if whole and same else None


def _by_interval(runs: Sequence[ScoredRun], metric: str, level: int | None, values: dict[int, float]) -> dict[int, int]:
    order = sorted(values, key=lambda n: runs[n].specs[metric].sign * values[n], reverse=True)
    ends = {n: [runs[n].cells[metric, level][end] for end in ("ci_low", "ci_high")] for n in order}
    if not all(is_number(end) for pair in ends.values() for end in pair):
        return {}
    groups: dict[int, int] = {}
    group = 0
    while order:
        leader, group = order[0], group + 1
        tied = [leader] + [n for n in order[1:] if not _apart(runs[leader], runs[n], metric, level)]
        groups.update(dict.fromkeys(tied, group))
        order = [n for n in order if n not in tied]
    return groups


def _apart(one: ScoredRun, other: ScoredRun, metric: str, level: int | None) -> bool:
    draws = paired_draws(one, other, metric, level)
    if draws is not None:
        low, high = percentile_interval(draws)
        return low > 0 or high < 0
    a, b = one.cells[metric, level], other.cells[metric, level]
    return bool(a["ci_high"] < b["ci_low"] or b["ci_high"] < a["ci_low"])
