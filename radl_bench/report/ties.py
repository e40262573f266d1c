"""Tie groups of a column: which methods cannot be told from the best one."""

from __future__ import annotations

from collections.abc import Sequence

from radl_bench.report.collect import REFERENCE, ScoredRun
from radl_bench.report.layouts import LOWER_IS_BETTER
from radl_bench.stats import SampleSums, sample_sums, tie_groups

COSINES = frozenset({"clip", "local_clip"})
"""Means over what was measured: a picture that is not there has no cosine, while it does have a success of 0."""


def column_groups(runs: Sequence[ScoredRun], metric: str, level: int | None) -> dict[int, int]:
    """Return the tie group (1 is the best) of each contestant by its index in `runs`.

    A method leaves the group of the best when a paired permutation test over samples gives p < .05, on the samples that
    all contestants have. A metric without rows of its own (AP) is judged by its intervals: methods whose intervals
    overlap that of the best are tied with it, and where an interval is not known nothing is marked. The rendered reference and scores that are not numbers take no part; a
    single contestant has nobody to beat, so it gets no group.
    """
    values = {n: run.cells[metric, level]["value"] for n, run in enumerate(runs) if _contests(run, metric, level)}
    if len(values) < 2:
        return {}
    sums = {n: _sums(runs[n], metric, level) for n in values}
    common = set.intersection(*(set(s.ids) for s in sums.values()))
    if not common:
        return _by_interval(runs, metric, level, values)
    paired = {str(n): s.take([sample for sample in s.ids if sample in common]) for n, s in sums.items()}
    means = {name: s.value for name, s in paired.items()}
    groups = tie_groups(means, paired, higher_is_better=metric not in LOWER_IS_BETTER)
    return {int(name): group for name, group in groups.items()}


def is_number(value: object) -> bool:
    """Say whether a score is there: neither null nor NaN."""
    return isinstance(value, (int, float)) and value == value


def _contests(run: ScoredRun, metric: str, level: int | None) -> bool:
    return run.method != REFERENCE and is_number(run.cells.get((metric, level), {}).get("value"))


def _sums(run: ScoredRun, metric: str, level: int | None) -> SampleSums:
    rows = run.rows
    if rows is None:
        return sample_sums([], [])
    rows = rows[rows["metric"] == metric]
    if level is not None:
        rows = rows[rows["level"] == level]
    # Seeds of a sample and instances of an image are summed together: the sample is the unit.
    return sample_sums(rows["sample_id"], rows["value"].astype(float), None if metric in COSINES else 0.0)


def _by_interval(runs: Sequence[ScoredRun], metric: str, level: int | None, values: dict[int, float]) -> dict[int, int]:
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    order = sorted(values, key=lambda n: sign * values[n], reverse=True)
    cells = {n: runs[n].cells[metric, level] for n in order}
    if not all(is_number(cell[end]) for cell in cells.values() for end in ("ci_low", "ci_high")):
        return {}
    groups: dict[int, int] = {}
    group = 0
    while order:
        leader, group = order[0], group + 1
        tied = [leader] + [n for n in order[1:] if not _apart(cells[leader], cells[n])]
        groups.update(dict.fromkeys(tied, group))
        order = [n for n in order if n not in tied]
    return groups


def _apart(one: dict, other: dict) -> bool:
    return bool(one["ci_high"] < other["ci_low"] or other["ci_high"] < one["ci_low"])
