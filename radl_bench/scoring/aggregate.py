"""From rows to scores: means by level with cluster-bootstrap intervals, and the signature under every number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from radl_bench import __version__
from radl_bench.scoring.metrics import MISSING_AS, Estimate, Metric, Row, View
from radl_bench.scoring.protocol import FLOOR, Protocol
from radl_bench.scoring.statistics import RESAMPLES, SampleSums, cluster_bootstrap, wilson, wilson_clustered

RATES = frozenset({"success_inst", "success_img"})
"""Scores whose rows are 0 or 100."""

SMALL_COUNTS = frozenset({"drawbench_attribute", "drawbench_quantity", "drawbench_relation"})
"""Rates over some twenty prompts, too few for a bootstrap: their interval is Wilson's at the effective size."""


class MeanPool:
    """Sums of one score by sample: what the mean and its interval need, and no more."""

    def __init__(self, score: str, resamples: int = RESAMPLES) -> None:
        self.score, self.resamples = score, resamples
        self._sums: dict[str, list[float]] = {}  # level, sum, count, asked for, missing

    def add(self, view: View, rows: Iterable[Row]) -> None:
        """Take the rows of this score out of those of an image; a missing value counts as `MISSING_AS` says."""
        values = [row.value for row in rows if row.metric == self.score]
        known = [v for v in values if not math.isnan(v)]
        stand_in = MISSING_AS.get(self.score)
        counted = len(known) if stand_in is None else len(values)
        entry = self._sums.setdefault(view.sample.id, [view.sample.level, 0.0, 0.0, 0.0, 0.0])
        entry[1] += sum(known) + (stand_in or 0.0) * (counted - len(known))
        entry[2] += counted
        entry[3] += len(values)
        entry[4] += len(values) - len(known)

    def estimate(self, level: int | None) -> Estimate:
        """Return the mean over a level, or all; NaN where nothing is known.

        When all samples of a rate agree, the bootstrap would claim certainty: Wilson's interval over samples stands in.
        """
        kept = {sample: e for sample, e in self._sums.items() if level is None or e[0] == level}
        table = np.array(list(kept.values()), float).reshape(-1, 5)
        sums = SampleSums(tuple(kept), table[:, 1], table[:, 2])
        asked, missing = int(table[:, 3].sum()), int(table[:, 4].sum())
        if self.score in SMALL_COUNTS:
            low, high = (100.0 * v for v in wilson_clustered(SampleSums(sums.ids, sums.num / 100.0, sums.den)))
            return Estimate(sums.value, low, high, asked, missing, "wilson-clustered")
        low, high = cluster_bootstrap(sums, resamples=self.resamples)
        ci = f"cluster-bootstrap-{self.resamples}"
        if self.score in RATES:
            ci += "/wilson"
            if sums.value in (0.0, 100.0):
                low, high = (100.0 * v for v in wilson(len(kept) * sums.value / 100.0, len(kept)))
        return Estimate(sums.value, low, high, asked, missing, ci)


@dataclass(frozen=True)
class Conditions:
    """What a number was measured under; the parts of a signature."""

    benchmark: Mapping[str, Any]
    levels: tuple[int, ...]
    images_per_sample: int
    seeds: Mapping[str, Any]
    protocol: Protocol
    detector: str
    segmenter: str
    encoder: str
    features: str = "none"
    phrase: str = "plain"
    more: Mapping[str, str] = field(default_factory=dict)
    """Parts of the kinds of measurement that are not built in, by key."""

    def signature(
        self,
        metric: Metric,
        score: str,
        level: int | None,
        estimate: Estimate,
        own: Mapping[str, str] | None = None,
    ) -> str:
        """Return e.g. `success_inst|bench:coco-mig@1:<sha8>|level:6|n:960|img:1|protocol:strict|det:...|v:0.1.0`.

        `own` are the settings that a pool adds to those of every metric.
        """
        bench = f"{self.benchmark['name']}@{self.benchmark['version']}:{self.benchmark['sha256'][:8]}"
        parts = [score, f"bench:{bench}", f"level:{level if level is not None else _span(self.levels)}"]
        parts += [f"n:{estimate.n}", f"img:{self.images_per_sample}", f"protocol:{self.protocol.name}"]
        settings = self._settings(score) | dict(self.more) | dict(own or {})
        parts += [settings[key] for key in metric.settings if settings.get(key)]
        return "|".join([*parts, f"seed:{_seed(self.seeds)}", f"ci:{estimate.ci}", f"v:{__version__}"])

    def _settings(self, score: str) -> dict[str, str]:
        from radl_bench.judges.color import color_table

        p = self.protocol
        color = f"color:{color_table()[0]}@{short(p.coverage)}"
        mask = f"mask:{self.segmenter}@{p.mask_prompt}"
        return {
            "det": f"det:{self.detector}",
            "score": f"score:{short(p.score)}",
            "floor": f"score:{short(FLOOR)}",
            "nms": f"nms:{short(p.nms)}",
            "iou": f"iou:{short(p.iou)}",
            "match": "match:one-to-one" if p.one_to_one else "match:best",
            "color": color,
            "mask": mask,
            "gate": f"gate:{color}:{mask}" if p.color_gates_iou else "",
            "queries": "queries:layout",
            "enc": f"enc:{self.encoder}:{'bgr' if p.clip_bgr else 'rgb'}",
            "object_mask": f"mask:{self.segmenter}@det|pick:strongest",
            "count": f"count:{short(p.count)}",
            "margin": f"margin:{short(p.margin)}",
            "gap": f"gap:{short(p.gap)}|pick:strongest",
            "crop": "crop:box-square" if score == "local_clip" else "",
            "phrase": f"phrase:{self.phrase}" if score == "local_clip" else "",
            "features": f"features:{self.features}",
        }


def scores_of(
    metrics: Sequence[Metric], means: Mapping[str, MeanPool], pools: Mapping[str, Any], conditions: Conditions
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Return the entries of scores.json, every score over all levels (level None), then by level; and the draws.

    The draws are those of the scores that have no rows, by `metric@level`, with `metric@all` for all levels.
    """
    out, draws = [], {}
    for level in (None, *conditions.levels):
        for metric in metrics:
            pool = pools.get(metric.name)
            pooled = pool.estimates(level) if pool is not None else {}
            for score in metric.scores:
                if pool is not None and score not in pooled:
                    continue
                estimate = pooled[score] if score in pooled else means[score].estimate(level)
                own = getattr(pool, "settings", None)
                signature = conditions.signature(metric, score, level, estimate, own)
                out.append({"metric": score, "level": level, **_numbers(estimate), "signature": signature})
                if estimate.draws is not None:
                    draws[draws_name(score, level)] = estimate.draws
    return out, draws


def draws_name(metric: str, level: int | None) -> str:
    """Return the name under which the draws of a score are kept in draws.npz."""
    return f"{metric}@{'all' if level is None else level}"


def short(value: float) -> str:
    """Return a fraction as in a signature: `.5`, `.05`, `1`."""
    return f"{value:g}".removeprefix("0") or "0"


def _numbers(estimate: Estimate) -> dict[str, Any]:
    # JSON has no NaN: a number that nobody knows is null
    numbers = {key: getattr(estimate, key) for key in ("value", "ci_low", "ci_high")}
    known = {key: None if math.isnan(value) else float(value) for key, value in numbers.items()}
    note = {} if estimate.note is None else {"note": estimate.note}
    return known | {"n": estimate.n, "n_missing": estimate.n_missing} | note


def _span(levels: Sequence[int]) -> str:
    if len(levels) > 1 and list(levels) == list(range(levels[0], levels[-1] + 1)):
        return f"{levels[0]}-{levels[-1]}"
    return ",".join(map(str, levels))


def _seed(seeds: Mapping[str, Any]) -> str:
    base = seeds.get("base", 0)
    return f"{seeds.get('policy', 'unknown')}" + (f"+{base}" if base else "")
