"""The compare page as data: paired differences of any two methods of a section, and each sample's means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from radl_bench.metrics import MISSING_AS
from radl_bench.progress import stage
from radl_bench.report.gallery import Gallery
from radl_bench.report.gallery_run import GalleryRun
from radl_bench.stats import SampleSums, paired_difference, sample_sums

_BY_LEVEL = 6
"""Up to this many methods every pair is also compared level by level; the number of pairs grows with the square."""


def comparison(gallery: Gallery) -> dict[str, Any]:
    """Return `pairs` (differences first - second with 95 % interval, p and n) and `means` (by run, metric, sample).

    Differences are paired by sample: bootstrap interval and permutation test of `stats.paired_difference`, over all
    samples and by number of instances. Scores that are no means of rows (AP, FID) cannot be paired this way.
    """
    ids = [sample.id for sample in gallery.samples]
    levels = {sample.id: sample.level for sample in gallery.samples} if len(gallery.runs) <= _BY_LEVEL else {}
    sums = [{metric: _sums(run, metric) for metric in gallery.metrics} for run in gallery.runs]
    pairs = [(b, a) for a, b in combinations(range(len(gallery.runs)), 2)]
    content = []
    with stage("compare", len(pairs), unit="pairs") as bar:
        for a, b in pairs:
            scores = {metric: _differences(sums[a][metric], sums[b][metric], levels) for metric in gallery.metrics}
            content.append({"a": a, "b": b, "scores": scores})
            bar.advance(1)
    means = [[_means(by_metric[metric], ids) for metric in gallery.metrics] for by_metric in sums]
    return {"metrics": list(gallery.metrics), "means": means, "pairs": content}


def _differences(a: SampleSums, b: SampleSums, levels: dict[str, int]) -> list[list[Any]]:
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
