"""From rows to scores: means by level with their intervals, and the facts that go with every number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from radl_bench.errors import RadlBenchError
from radl_bench.scoring.chosen import Chosen
from radl_bench.scoring.conditions import Conditions
from radl_bench.scoring.kinds import INTERVALS
from radl_bench.scoring.metrics import Comparable, Context, Estimate, Pool, Row, View
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.protocol import Protocol
from radl_bench.scoring.statistics import SampleSums

Entry = dict[str, str | int | float | None]
"""A score in scores.json: metric, level, value, ci_low, ci_high, n, n_missing, signature, and a note or none."""


class MeanPool:
    """Sums of one score by sample: what the mean and its interval need, and no more."""

    def __init__(self, spec: ScoreSpec) -> None:
        self.spec = spec
        self._sums: dict[str, list[float]] = {}  # level, sum, count, asked for, missing

    def add(self, view: View, rows: Iterable[Row]) -> None:
        """Take the rows of this score out of those of an image; a missing value counts as its spec says."""
        values = [row.value for row in rows if row.metric == self.spec.name]
        counted = [c for c in map(self.spec.counted, values) if c is not None]
        entry = self._sums.setdefault(view.sample.id, [view.sample.level, 0.0, 0.0, 0.0, 0.0])
        entry[1] += sum(counted)
        entry[2] += len(counted)
        entry[3] += len(values)
        entry[4] += sum(map(math.isnan, values))

    def estimate(self, level: int | None) -> Estimate:
        """Return the mean over a level, or all, with the interval of its kind; NaN where nothing is known."""
        kept = {sample: e for sample, e in self._sums.items() if level is None or e[0] == level}
        table = np.array(list(kept.values()), float).reshape(-1, 5)
        sums = SampleSums(tuple(kept), table[:, 1], table[:, 2])
        asked, missing = int(table[:, 3].sum()), int(table[:, 4].sum())
        return Estimate.of(sums.value, INTERVALS[self.spec.kind](sums), asked, missing)


def pools_of(
    chosen: Sequence[tuple[Chosen, Protocol]], context: Context, options: Mapping[str, Mapping[str, str]]
) -> dict[str, Pool]:
    """Return the pools of the metrics that are no means of rows, by name; `options` given by hand, by metric."""
    made = {one.name: one.pool(replace(context, protocol=rules), options.get(one.name, {})) for one, rules in chosen}
    return {name: pool for name, pool in made.items() if pool is not None}


def gather(
    view: View,
    members: Sequence[tuple[Chosen, Protocol]],
    means: Mapping[str, MeanPool],
    pools: Mapping[str, Pool],
) -> list[Row]:
    """Add an image to the scores of these metrics, each under its own rules, and return its rows.

    An image that cannot be judged has none under a protocol that leaves it out.
    """
    out: list[Row] = []
    for one, rules in members:
        if view.problem is not None and rules.missing == "left out":
            continue
        if one.name in pools:
            with one.asking(f"on image {view.sample.id}_{view.k}"):
                pools[one.name].add(view)
            continue
        rows = one.rows(view, rules)
        for name in one.specs:
            means[name].add(view, rows)
        out += rows
    return out


def scores_of(
    chosen: Sequence[tuple[Chosen, Protocol]],
    means: Mapping[str, MeanPool],
    pools: Mapping[str, Pool],
    conditions: Conditions,
) -> list[Entry]:
    """Return the entries of scores.json: every score over all levels (level None), then by level."""
    out: list[Entry] = []
    for level in (None, *conditions.levels):
        for one, rules in chosen:
            pool = pools.get(one.name)
            under = replace(conditions, protocol=rules, own=one.own, pool={} if pool is None else pool.settings)
            for spec, estimate in _estimates(one, means, pool, level):
                signature = under.signature(spec, level, estimate.n, estimate.ci)
                out.append({"metric": spec.name, "level": level, **_numbers(estimate), "signature": signature})
    return out


def kept_of(chosen: Sequence[tuple[Chosen, Protocol]], pools: Mapping[str, Pool]) -> dict[str, np.ndarray]:
    """Return what a paired test of the scores without rows needs, by `<metric>/<name>`; see `metrics.Comparable`."""
    kept: dict[str, np.ndarray] = {}
    for one, _ in chosen:
        pool = pools.get(one.name)
        if isinstance(pool, Comparable):
            arrays = {"form": np.array(pool.form), "scores": np.array(list(one.specs)), **pool.kept()}
            kept |= {f"{one.name}/{name}": array for name, array in arrays.items()}
    return kept


def _estimates(
    one: Chosen, means: Mapping[str, MeanPool], pool: Pool | None, level: int | None
) -> list[tuple[ScoreSpec, Estimate]]:
    if pool is None:
        return [(spec, means[name].estimate(level)) for name, spec in one.specs.items()]
    with one.asking("estimating its scores"):
        found = pool.estimates(level)
    unknown = sorted(set(found) - set(one.specs))
    if unknown:
        known = ", ".join(one.specs)
        raise RadlBenchError(f"The pool of '{one.name}' gave the score '{unknown[0]}', but its scores are {known}.")
    return [(spec, found[name]) for name, spec in one.specs.items() if name in found]


def facts_of(chosen: Sequence[tuple[Chosen, Protocol]]) -> dict[str, dict[str, object]]:
    """Return, by score, what a report has to know of it, and the thresholds that it was measured under."""
    facts: dict[str, dict[str, object]] = {}
    for one, rules in chosen:
        thresholds = {key: getattr(rules, key) for key in one.metric.thresholds} | dict(one.own)
        facts |= {name: {**spec.facts(), "thresholds": thresholds} for name, spec in one.specs.items()}
    return facts


def _numbers(estimate: Estimate) -> Entry:
    # JSON has no NaN: a number that nobody knows is null
    numbers = {key: getattr(estimate, key) for key in ("value", "ci_low", "ci_high")}
    known = {key: None if math.isnan(value) else float(value) for key, value in numbers.items()}
    note = {} if estimate.note is None else {"note": estimate.note}
    return {**known, "n": estimate.n, "n_missing": estimate.n_missing, **note}
