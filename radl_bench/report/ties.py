"""Tie groups of a column: which methods cannot be told from the best one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from radl_bench.report.paired import SWAPS, difference_of, samples_of, sums_of
from radl_bench.report.scored_run import ScoredRun
from radl_bench.scoring.permutation import PERMUTATIONS, tie_groups
from radl_bench.scoring.shared_swaps import SharedSwaps, most_methods, swaps_for


def column_groups(runs: Sequence[ScoredRun], metric: str, level: int | None) -> dict[int, int]:
    """Return the tie group (1 is the best) of each contestant by its index in `runs`.

    A method leaves the group of the best when the paired permutation test over samples tells the two apart on the
    samples that all contestants have, corrected by Holm's rule for all pairs of the column. A pair that cannot be
    tested is a tie; where no pair can be, or the contestants are `too_many`, nothing is marked. References and scores
    that are not numbers take no part; a single contestant has nobody to beat: it gets no group.
    """
    contest = [n for n, run in enumerate(runs) if _contests(run, metric, level)]
    if len(contest) < 2 or too_many(runs, metric):
        return {}
    only = _shared([samples_of(runs[n], metric, level) for n in contest])
    values = {str(n): _value(runs[n], metric, level, only) for n in contest}
    spec = runs[contest[0]].specs[metric]
    test = _test_of(runs, contest, metric, level, only)
    known: list[bool] = []

    def p_of(best: str, rival: str) -> float:
        gap, p = test(int(best), int(rival))
        known.append(not math.isnan(p))
        # over the samples both have, the one that is better in its own table may be the worse one
        return p if spec.sign * gap > 0 else math.nan

    groups = tie_groups(values, p_of, higher_is_better=not spec.lower_is_better)
    return {int(name): group for name, group in groups.items()} if any(known) else {}


def too_many(runs: Sequence[ScoredRun], metric: str) -> int | None:
    """Return among how many methods the test of a score can tell two apart, where there are more of them; else None.

    Scores without rows are tested pair by pair with a fixed number of swaps; those with rows take as many as they need.
    """
    kept = [run.kept(metric) for run in runs if not run.reference and (metric, None) in run.cells]
    swaps = min((SWAPS.get(str(of.get("form")), PERMUTATIONS + 1) for of in kept if of is not None), default=None)
    most = None if swaps is None else most_methods(swaps)
    return most if most is not None and len(kept) > most else None


def _test_of(
    runs: Sequence[ScoredRun], contest: Sequence[int], metric: str, level: int | None, only: frozenset[str] | None
) -> Callable[[int, int], tuple[float, float]]:
    """Return what gives the difference of two runs, by index, and its p."""

    def pair(a: int, b: int) -> tuple[float, float]:
        found, _ = difference_of(runs[a], runs[b], metric, level, only)
        return found.value, found.p

    if any(runs[n].kept(metric) is not None for n in contest):
        return pair
    sums, swaps = [sums_of(runs[n], metric, level).only(only) for n in contest], swaps_for(len(contest))
    if swaps > PERMUTATIONS + 1:  # a pair alone has too few; and who is swapped by which draw is free
        sums = [of.take(sums[0].ids) for of in sums]
    if not sums[0].ids or any(of.ids != sums[0].ids for of in sums):
        return pair  # samples in another order are swapped by other draws
    shared, place = SharedSwaps(sums, swaps=swaps), {n: k for k, n in enumerate(contest)}
    return lambda a, b: shared.test(place[a], place[b])


def is_number(value: object) -> bool:
    """Say whether a score is there: neither null nor NaN."""
    return isinstance(value, (int, float)) and value == value


def _contests(run: ScoredRun, metric: str, level: int | None) -> bool:
    return not run.reference and is_number(run.cells.get((metric, level), {}).get("value"))


def _shared(samples: Sequence[frozenset[str]]) -> frozenset[str] | None:
    """Return the samples that all have; None where they all have the same."""
    return None if len(set(samples)) == 1 else frozenset.intersection(*samples)


def _value(run: ScoredRun, metric: str, level: int | None, only: frozenset[str] | None) -> float:
    if only is not None and run.kept(metric) is None:
        sums = sums_of(run, metric, level)
        if sums.ids and only:
            return sums.take([sample for sample in sums.ids if sample in only]).value
    return float(run.cells[metric, level]["value"])
