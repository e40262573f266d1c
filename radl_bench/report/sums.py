"""Sums over samples of all scores of a run: read once, in one go, and small enough to keep for a hundred runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radl_bench.scoring.metrics.known import known_spec
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.statistics import SampleSums, coded_sums

if TYPE_CHECKING:
    import pyarrow as pa

Sums = dict[tuple[str, "int | None"], SampleSums]
"""Sums by metric and level; the level None is all levels together."""


def read_sums(file: Path, specs: Mapping[str, ScoreSpec]) -> Sums:
    """Return the sums of every metric in a file of rows, over all levels and by level.

    Seeds of a sample and instances of an image are summed together: the sample is the unit. Raises `OSError`,
    `ValueError` or `KeyError` for a file that is no such table.
    """
    import pyarrow.parquet as pq

    texts = ["metric", "sample_id"]
    table = pq.read_table(file, columns=[*texts, "level", "value"], read_dictionary=texts)
    (metric, metrics), (sample, samples) = (_coded(table.column(name)) for name in texts)
    level = table.column("level").to_numpy()
    value = table.column("value").cast("float64").to_numpy()
    found: Sums = {}
    for n, name in enumerate(metrics):
        missing = (specs.get(name) or known_spec(name)).missing
        of = np.flatnonzero(metric == n)
        found[name, None] = coded_sums(samples, sample[of], value[of], missing)
        for one in np.unique(level[of]).tolist():
            at = of[level[of] == one]
            found[name, one] = coded_sums(samples, sample[at], value[at], missing)
    return found


def _coded(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Return the number of each row's text, and the texts."""
    whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    whole = whole if hasattr(whole, "indices") else whole.dictionary_encode()
    # runs of one benchmark share their ids: held once, and equal ones are seen at a glance
    return whole.indices.to_numpy(), [sys.intern(str(text)) for text in whole.dictionary.to_pylist()]
