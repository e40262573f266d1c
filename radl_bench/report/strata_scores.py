"""One score over one stratum: a mean from its rows, AP from the boxes that a run keeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def measured_of(
    run: ScoredRun, rows: pd.DataFrame | None, specs: Sequence[ScoreSpec], stratum: Stratum
) -> dict[str, Measured]:
    """Return by name the scores of a run over a stratum, those that its rows and kept boxes tell."""
    found: dict[str, Measured] = {}
    for spec in specs:
        if (spec.name, None) not in run.cells or spec.name in found:
            continue
        if run.kept(spec.name) is None:
            mean = _mean_of(rows, spec, stratum)
            found |= {} if mean is None else {spec.name: mean}
        elif spec.name in NAMES:  # AP, AP50 and AP75 come of the same boxes and the same subsets
            found |= _ap_of(run, rows, spec.name, stratum)
    return found


def _mean_of(rows: pd.DataFrame | None, spec: ScoreSpec, stratum: Stratum) -> Measured | None:
    """Return the mean of the rows of a score; None where there are none."""
    rows = _rows(rows, spec, stratum)
    if rows is None or not len(rows):
        return None
    values = rows["value"].astype(float)
    sums = sample_sums(rows["sample_id"], values, spec.missing)
    return Measured(sums.value, INTERVALS[spec.kind](sums), len(rows), int(values.isna().sum()), sums)


def _rows(rows: pd.DataFrame | None, spec: ScoreSpec, stratum: Stratum) -> pd.DataFrame | None:
    """Return the rows of a score in a stratum; None where the run has none at all."""
    if rows is None:
        return None
    rows = rows[(rows["metric"] == spec.name) & rows["sample_id"].isin(stratum.samples)]
    if stratum.instances is None:
        return rows
    return rows[[pair in stratum.instances for pair in zip(rows["sample_id"], rows["instance"], strict=True)]]


def _ap_of(run: ScoredRun, rows: pd.DataFrame | None, name: str, stratum: Stratum) -> dict[str, Measured]:
    """Return AP, AP50 and AP75 of the boxes kept for one of them; none where they cannot be told."""
    kept = run.kept(name)
    if kept is None or str(kept.get("form")) != "boxes":
        return {}
    if stratum.instances is not None and stratum.category is None:
        return {}  # a detection has a class, and nothing else that would part those that hit no box
    parts = box_parts(run, kept, None, stratum.samples, stratum.category)
    if not len(parts.wanted):
        return {}
    n, gone = len(parts.wanted), _gone(run, rows, stratum)
    values, ends = 100.0 * ap_values(parts), ap_intervals(parts)
    return {
        name: Measured(float(value), scaled(ends[name], 100.0), n, gone)
        for name, value in zip(NAMES, values, strict=True)
    }


def _gone(run: ScoredRun, rows: pd.DataFrame | None, stratum: Stratum) -> int:
    """Return the boxes of a stratum that no image was there for, from the rows of another score of instances."""
    specs = (s for s in run.specs.values() if s.unit == "instance" and s.missing is not None and not run.kept(s.name))
    spec = next(specs, None)
    rows = None if spec is None else _rows(rows, spec, stratum)
    return 0 if rows is None else int(rows["value"].isna().sum())
