"""The compare page as data: what `radl-bench compare` says of every pair of a section, and each sample's means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from radl_bench.errors import RadlBenchError
from radl_bench.progress import stage
from radl_bench.report.foremost import MOST, foremost
from radl_bench.report.gallery import Gallery
from radl_bench.report.gallery_run import GalleryRun
from radl_bench.report.layouts import in_order
from radl_bench.report.paired import sums_of
from radl_bench.scoring.compare import Comparison, compare_scored
from radl_bench.scoring.permutation import ALPHA
from radl_bench.scoring.statistics import SampleSums

UNPAIRED = (
    f"Of more than {MOST} methods, this page compares the best with each other. "
    "`radl-bench compare A B` compares any two."
)


def comparison(gallery: Gallery) -> dict[str, Any]:
    """Return the content of `data/<number>-compare.js`.

    `pairs` hold, for the runs with indices a > b, lines `[level or null, a, b, a - b, low, high, p, n]` by metric, or
    the `problem` why they do not compare. `metrics` are `[name, head, decimals, sign, place in means or null]`,
    with sign -1 where lower is better. `means` are by run, metric and sample of the gallery, null where nothing is
    known.
    """
    pairs = _wanted(gallery)
    content = []
    with stage("compare", len(pairs), unit="pairs") as bar:
        for a, b in pairs:
            content.append({"a": a, "b": b, **_pair(gallery.runs[a], gallery.runs[b])})
            bar.advance(1)
    wanted = {*gallery.metrics, *(metric for pair in content for metric in pair["scores"])}
    specs = in_order(gallery.specs[name] for name in wanted)
    ids = [sample.id for sample in gallery.samples]
    return {
        "alpha": ALPHA,
        "unpaired": UNPAIRED,
        "metrics": [
            [spec.name, spec.column, spec.decimals, spec.sign, gallery.metrics.get(spec.name)] for spec in specs
        ],
        "means": [
            [_means(sums_of(run.scored, metric, None), ids) for metric in gallery.metrics] for run in gallery.runs
        ],
        "pairs": content,
    }


def _wanted(gallery: Gallery) -> list[tuple[int, int]]:
    """Return the pairs to compare: all, or in a large section those among the references and the foremost methods."""
    kept, what = foremost(gallery.section, None)
    paths = {run.path for run, _ in kept.runs}
    shown = [n for n, run in enumerate(gallery.runs) if what is None or run.scored.path in paths]
    return [(b, a) for a, b in combinations(shown, 2)]


def _pair(a: GalleryRun, b: GalleryRun) -> dict[str, Any]:
    try:
        found = compare_scored(a.scored, b.scored)
    except RadlBenchError as error:
        return {"scores": {}, "notes": [], "problem": str(error)}
    return {"scores": _by_metric(found), "notes": list(found.notes), "problem": None}


def _by_metric(found: Comparison) -> dict[str, list[list[Any]]]:
    scores: dict[str, list[list[Any]]] = {}
    for line in found.lines:
        numbers = (line.a, line.b, line.difference, line.ci_low, line.ci_high, line.p)
        scores.setdefault(line.metric, []).append([line.level, *numbers, line.n])
    return scores


def _means(sums: SampleSums, ids: Sequence[str]) -> list[float | None]:
    known = zip(sums.ids, sums.num, sums.den, strict=True)
    means = {sample: round(float(num / den), 4) for sample, num, den in known if den and not math.isnan(num)}
    return [means.get(sample) for sample in ids]
