"""AP, AP50, AP75 of the detections against the layout's boxes, COCO style, in per cent.

The numbers are COCOeval's (all scores down to 0.05, at most 100 detections a class and image, IoU .50:.05:.95, 101
recalls), which tests hold against pycocotools and torchmetrics. Which detection is right in its image does not depend
on the other images, so what is kept of an image is a score and ten bits a detection, and a bootstrap draw only changes
how often they count. Only categories of an image's own layout are asked for in it.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from radl_bench.scoring.conditions import Conditions, short
from radl_bench.scoring.metrics import Estimate, Metric, View
from radl_bench.scoring.metrics.matching import THRESHOLDS, right_bits
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.statistics import percentile_interval, resample_counts

_RECALLS = np.linspace(0.0, 1.0, 101)
_NAMES = ("ap", "ap50", "ap75")
_CHUNK = 120_000  # numbers held at once: what a core's cache takes
_MOST = 100


@dataclass(frozen=True)
class ClassTable:
    """Detections of a category by falling score: `sample` int [D], `right` bool [10, D]; `wanted` float [S] boxes."""

    sample: np.ndarray
    right: np.ndarray
    wanted: np.ndarray


class _Category:
    """Growing columns of a category: samples of the wanted boxes; sample, score and bits of the detections."""

    def __init__(self) -> None:
        self.wanted, self.sample, self.score, self.bits = array("l"), array("l"), array("d"), array("H")


class PrecisionPool:
    """Gathers the boxes of all images; a missing image adds its layout and no detection."""

    settings: Mapping[str, str] = MappingProxyType({})

    def __init__(self, resamples: int = 1000, seed: int = 0) -> None:
        self.resamples, self.seed = resamples, seed
        self._samples: dict[str, int] = {}
        self._levels = array("l")
        self._asked: Counter[tuple[int, bool]] = Counter()
        self._categories: dict[str, _Category] = {}

    def add(self, view: View) -> None:
        """Take the boxes out of a view."""
        sample = view.sample
        if sample.id not in self._samples:
            self._samples[sample.id] = len(self._samples)
            self._levels.append(sample.level)
        self._asked[sample.level, view.problem is not None] += sample.level
        number, wanted = self._samples[sample.id], _by_category(view)
        for category, boxes in wanted.items():
            self._category(category).wanted.extend([number] * len(boxes))
        for category, found in view.found.items() if view.problem is None else ():
            order = np.argsort(-found.scores, kind="mergesort")[:_MOST]
            table = self._category(category)
            table.score.extend(found.scores[order].tolist())
            table.bits.extend(right_bits(found.boxes[order].tolist(), wanted.get(category, [])))
            table.sample.extend([number] * len(order))

    def estimates(self, level: int | None) -> dict[str, Estimate]:
        """Return ap, ap50 and ap75 over a level, or all, with cluster-bootstrap intervals; NaN without any box."""
        tables = list(self.tables(level))
        size = len(tables[0].wanted) if tables else 0
        values = 100.0 * weighted_ap(tables, np.ones((1, size)))[0]
        parts = (
            [weighted_ap(tables, counts) for counts in resample_counts(size, self.resamples, self.seed)] if size else []
        )
        draws = 100.0 * np.concatenate([np.zeros((0, 3)), *parts])
        n, n_missing = (
            sum(boxes for (at, gone), boxes in self._asked.items() if level in (None, at) and gone >= least)
            for least in (False, True)
        )
        ci = f"cluster-bootstrap-{self.resamples}"
        return {
            name: Estimate(value, *percentile_interval(column), n, n_missing, ci, draws=column)
            for name, value, column in zip(_NAMES, values.tolist(), draws.T, strict=True)
        }

    def tables(self, level: int | None = None) -> Iterator[ClassTable]:
        """Yield the table of each category that is wanted anywhere, over the samples of a level, or all."""
        kept = np.ones(len(self._levels), bool) if level is None else np.array(self._levels) == level
        place = np.cumsum(kept) - 1
        for name in sorted(self._categories):
            category = self._categories[name]
            boxes = np.array(category.wanted, np.intp)
            wanted = np.bincount(place[boxes[kept[boxes]]], minlength=int(kept.sum())).astype(float)
            if not wanted.any():
                continue
            samples, bits = np.array(category.sample, np.intp), np.array(category.bits, np.uint16)
            order = np.argsort(-np.array(category.score), kind="mergesort")
            order = order[kept[samples[order]]]
            right = (bits[order] >> np.arange(len(THRESHOLDS), dtype=np.uint16)[:, None]) & 1
            yield ClassTable(place[samples[order]], right.astype(bool), wanted)

    def _category(self, name: str) -> _Category:
        return self._categories.setdefault(name, _Category())


def _by_category(view: View) -> dict[str, list[tuple[float, ...]]]:
    wanted: dict[str, list[tuple[float, ...]]] = {}
    for instance in view.sample.instances:
        wanted.setdefault(instance.category, []).append(instance.box)
    return wanted


def weighted_ap(tables: list[ClassTable], counts: np.ndarray) -> np.ndarray:
    """Return float [R, 3] in 0..1: AP, AP50, AP75 when sample s counts `counts[r, s]` times; NaN without boxes."""
    total = np.zeros((len(counts), len(THRESHOLDS)))
    classes = np.zeros(len(counts))
    by_sample = np.ascontiguousarray(counts.T, np.int32)
    for table in tables:
        wanted = counts @ table.wanted
        present = wanted > 0
        classes += present
        step = max(1, _CHUNK // max(1, len(table.sample)))
        for start in range(0, len(counts), step):
            rows = slice(start, start + step)
            weight = by_sample[table.sample, rows]
            total[rows] += present[rows, None] * _interpolated(weight, table.right, np.maximum(wanted[rows], 1.0))
    mean = np.divide(total, classes[:, None], out=np.full_like(total, np.nan), where=classes[:, None] > 0)
    return np.stack([mean.mean(axis=1), mean[:, 0], mean[:, 5]], axis=1)


def _interpolated(weight: np.ndarray, right: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return float [R, 10]: precision interpolated at 101 recalls, for weights int32 [D, R] and `right` [10, D]."""
    out = np.zeros((weight.shape[1], len(right)))
    seen = np.maximum(np.cumsum(weight, axis=0, dtype=np.int32), 1)
    for column, row in enumerate(right):
        if column and np.array_equal(row, right[column - 1]):
            out[:, column] = out[:, column - 1]
            continue
        at = np.flatnonzero(row)  # recall grows and the envelope turns at right detections only
        if len(at) == 0:
            continue
        hits = np.cumsum(weight[at], axis=0, dtype=np.int32)
        envelope = np.maximum.accumulate((hits / seen[at])[::-1], axis=0)[::-1]
        reached = _reached(hits / wanted)
        envelope[1:] *= reached[1:] - reached[:-1]
        envelope[0] *= reached[0]
        out[:, column] = envelope.sum(axis=0) / len(_RECALLS)
    return out


def _reached(recall: np.ndarray) -> np.ndarray:
    """Return how many of the 101 recalls are at most `recall`, comparing the floats as COCOeval does."""
    below = (recall * 100.0 + 1e-9).astype(np.intp)
    return below + (_RECALLS[below] <= recall)


def floor(_: Conditions) -> str:
    """The least score of a detection that is kept at all: AP takes them all."""
    from radl_bench.scoring.evidence import FLOOR

    return f"score:{short(FLOOR)}"


def queries(_: Conditions) -> str:
    """What a detector is asked for: the classes of an image's own layout."""
    return "queries:layout"


def _score(name: str, heading: str, place: int) -> ScoreSpec:
    settings = ("det", floor, "nms", queries)
    return ScoreSpec(name, heading, "precision", "instance", missing=0.0, place=place, settings=settings)


METRIC = Metric(
    name="average_precision",
    scores=(_score("ap", "AP", 30), _score("ap50", "AP50", 31), _score("ap75", "AP75", 32)),
    requires=frozenset({"detections"}),
    pool=lambda context: PrecisionPool(context.resamples),
    thresholds=("nms",),
)
