"""One score over one stratum: a mean from its rows, AP from the boxes that a run keeps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from radl_bench.report.paired import box_parts
from radl_bench.report.scored_run import ScoredRun
from radl_bench.report.tables import Cell
from radl_bench.scoring.intervals import Interval, scaled
from radl_bench.scoring.kinds import INTERVALS
from radl_bench.scoring.metrics.ap_parts import NAMES, ap_intervals, ap_values
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.statistics import SampleSums, sample_sums

if TYPE_CHECKING:
    import pandas as pd

    from radl_bench.report.strata import Stratum


@dataclass(frozen=True)
class Measured:
    """A score over a stratum."""

    value: float
    interval: Interval
    n: int
    missing: int
    sums: SampleSums | None = None
    """What ties are tested with; None for AP."""

    def cell(self, spec: ScoreSpec, stratum: str, signature: str, group: int | None, best: bool) -> Cell:
        ends = (self.interval.low, self.interval.high)
        low, high = (None if math.isnan(end) else end for end in ends)
        changed = {"n": str(self.n), "ci": self.interval.how}
        pairs = (part.partition(":") for part in signature.split("|"))
        parts = [f"{key}:{changed[key]}" if key in changed else f"{key}{colon}{rest}" for key, colon, rest in pairs]
        value = None if math.isnan(self.value) else self.value
        text = "|".join([parts[0], f"stratum:{stratum}", *parts[1:]])
        note = self.interval.note
        return Cell(spec, None, value, low, high, self.n, self.missing, text, group, best, note, stratum)


def mean_of(run: ScoredRun, spec: ScoreSpec, stratum: Stratum) -> Measured | None:
    """Return the mean of the rows of a score; None where there are none."""
    rows = _rows(run, spec, stratum)
    if rows is None or not len(rows):
        return None
    values = rows["value"].astype(float)
    sums = sample_sums(rows["sample_id"], values, spec.missing)
    return Measured(sums.value, INTERVALS[spec.kind](sums), len(rows), int(values.isna().sum()), sums)


def _rows(run: ScoredRun, spec: ScoreSpec, stratum: Stratum) -> pd.DataFrame | None:
    """Return the rows of a score in a stratum; None where the run has none at all."""
    rows = run.rows
    if rows is None:
        return None
    rows = rows[(rows["metric"] == spec.name) & rows["sample_id"].isin(stratum.samples)]
    if stratum.instances is None:
        return rows
    return rows[[pair in stratum.instances for pair in zip(rows["sample_id"], rows["instance"], strict=True)]]


def ap_of(run: ScoredRun, name: str, stratum: Stratum) -> dict[str, Measured]:
    """Return AP, AP50 and AP75 of the boxes kept for one of them; none where they cannot be told."""
    kept = run.kept(name)
    if kept is None or str(kept.get("form")) != "boxes":
        return {}
    if stratum.instances is not None and stratum.category is None:
        return {}  # a detection has a class, and nothing else that would part those that hit no box
    parts = box_parts(run, kept, None, stratum.samples, stratum.category)
    if not len(parts.wanted):
        return {}
    n, gone = len(parts.wanted), _gone(run, stratum)
    values, ends = 100.0 * ap_values(parts), ap_intervals(parts)
    return {
        name: Measured(float(value), scaled(ends[name], 100.0), n, gone)
        for name, value in zip(NAMES, values, strict=True)
    }


def _gone(run: ScoredRun, stratum: Stratum) -> int:
    """Return the boxes of a stratum that no image was there for, from the rows of another score of instances."""
    specs = (s for s in run.specs.values() if s.unit == "instance" and s.missing is not None and not run.kept(s.name))
    spec = next(specs, None)
    rows = None if spec is None else _rows(run, spec, stratum)
    return 0 if rows is None else int(rows["value"].isna().sum())
