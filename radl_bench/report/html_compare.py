"""The compare page as data: paired differences of any two methods of a section, and each sample's means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from radl_bench.metrics import MISSING_AS
from radl_bench.report.gallery import Gallery
from radl_bench.report.gallery_run import GalleryRun
from radl_bench.stats import SampleSums, paired_difference, sample_sums

_ALL_PAIRS = 6
"""Up to this many methods every pair is compared; beyond it each method with the last one, and neighbours."""


def comparison(gallery: Gallery) -> dict[str, Any]:
    """Return `pairs` (differences first - second with 95 % interval, p and n) and `means` (by run, metric, sample).

    Differences are paired by sample: bootstrap interval and permutation test of `stats.paired_difference`, over all
    samples and by number of instances. Scores that are no means of rows (AP, FID) cannot be paired this way.
    """
    ids = [sample.id for sample in gallery.samples]
    levels = {sample.id: sample.level for sample in gallery.samples}
    sums = [{metric: _sums(run, metric) for metric in gallery.metrics} for run in gallery.runs]
    return {
        "metrics": list(gallery.metrics),
        "means": [[_means(by_metric[m], ids) for m in gallery.metrics] for by_metric in sums],
        "pairs": [
            {"a": a, "b": b, "scores": {m: _by_level(sums[a][m], sums[b][m], levels) for m in gallery.metrics}}
            for a, b in _pairs(len(gallery.runs))
        ],
    }


def _pairs(n: int) -> list[tuple[int, int]]:
    pairs = combinations(range(n), 2)
    return [(b, a) for a, b in pairs if n <= _ALL_PAIRS or b == n - 1 or b == a + 1]


def _by_level(a: SampleSums, b: SampleSums, levels: dict[str, int]) -> list[list[Any]]:
    known = sorted({levels[sample] for sample in a.ids if sample in levels})
    out = [_difference(None, a, b)]
    if len(known) > 1:
        out += [_difference(level, _of_level(a, levels, level), _of_level(b, levels, level)) for level in known]
    return out


def _difference(level: int | None, a: SampleSums, b: SampleSums) -> list[Any]:
    d = paired_difference(a, b)
    return [level, *(_json(v) for v in (d.value, d.ci_low, d.ci_high, d.p)), d.n]


def _of_level(sums: SampleSums, levels: dict[str, int], level: int) -> SampleSums:
    return sums.take([sample for sample in sums.ids if levels.get(sample) == level])


def _sums(run: GalleryRun, metric: str) -> SampleSums:
    rows = [(sample, v) for (sample, _), found in run.scores.items() for _, m, v, _ in found if m == metric]
    return sample_sums((s for s, _ in rows), (v for _, v in rows), MISSING_AS.get(metric))


def _means(sums: SampleSums, ids: Sequence[str]) -> list[float | None]:
    means = {s: num / den if den else math.nan for s, num, den in zip(sums.ids, sums.num, sums.den, strict=True)}
    return [_json(means.get(sample, math.nan)) for sample in ids]


def _json(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 4)
