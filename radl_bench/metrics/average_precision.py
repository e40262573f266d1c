"""AP, AP50, AP75 of the detections against the layout's boxes, COCO style, in per cent.

The numbers come from torchmetrics' `MeanAveragePrecision` (faster-coco-eval). Their intervals come from an exact
re-weighting: which detection is right in its image does not depend on the other images, so a bootstrap draw only
changes how often an image's detections and boxes count. Only categories of an image's own layout are asked for in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from radl_bench.metrics import Estimate, Metric, View
from radl_bench.protocol import Boxes, box_iou
from radl_bench.stats import percentile_interval, resample_counts

THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
_NAMES = ("ap", "ap50", "ap75")
_CHUNK = 1_000_000  # numbers held at once


@dataclass(frozen=True)
class PooledImage:
    """Boxes of one image by category: the layout's float [G, 4] and the detections."""

    sample: str
    level: int
    missing: bool
    wanted: dict[str, np.ndarray]
    found: dict[str, Boxes]

    @property
    def boxes(self) -> int:
        """Number of boxes the layout wants."""
        return sum(len(boxes) for boxes in self.wanted.values())


class PrecisionPool:
    """Gathers the boxes of all images; a missing image adds its layout and no detection."""

    def __init__(self, resamples: int = 1000, seed: int = 0) -> None:
        self.images: list[PooledImage] = []
        self.resamples, self.seed = resamples, seed

    def add(self, view: View) -> None:
        """Take the boxes out of a view."""
        wanted: dict[str, list[tuple[float, ...]]] = {}
        for instance in view.sample.instances:
            wanted.setdefault(instance.category, []).append(instance.box)
        boxes = {category: np.array(b, float) for category, b in wanted.items()}
        found = {c: b for c, b in view.found.items() if len(b.scores)} if view.problem is None else {}
        self.images.append(PooledImage(view.sample.id, view.sample.level, view.problem is not None, boxes, found))

    def estimates(self, level: int | None) -> dict[str, Estimate]:
        """Return ap, ap50 and ap75 over a level, or all, with cluster-bootstrap intervals; NaN without any box."""
        images = [image for image in self.images if level is None or image.level == level]
        values = average_precision(images)
        draws = bootstrap_draws(images, self.resamples, self.seed)
        ci = f"cluster-bootstrap-{self.resamples}"
        n, n_missing = (sum(i.boxes for i in images if i.missing >= least) for least in (False, True))
        return {
            name: Estimate(value, *percentile_interval(column), n, n_missing, ci, draws=column)
            for name, value, column in zip(_NAMES, values, draws.T, strict=True)
        }


def average_precision(images: list[PooledImage]) -> tuple[float, float, float]:
    """Return AP (mean over IoU .50:.05:.95), AP50 and AP75 of the pooled boxes, by torchmetrics; NaN without boxes."""
    from torchmetrics.detection import MeanAveragePrecision

    names = sorted({c for image in images for c in (*image.wanted, *image.found)})
    label = {name: n for n, name in enumerate(names)}
    # its own thresholds are float32, and a recall of exactly .7 would fall on the other side
    metric = MeanAveragePrecision(
        iou_thresholds=THRESHOLDS.tolist(), rec_thresholds=_RECALLS.tolist(), backend="faster_coco_eval"
    )
    metric.warn_on_many_detections = False
    metric.update([_prediction(i, label) for i in images], [_labelled(i.wanted, label) for i in images])
    result = metric.compute() if images else {"map": -1.0, "map_50": -1.0, "map_75": -1.0}
    values = [float(result[key]) for key in ("map", "map_50", "map_75")]
    ap, ap50, ap75 = (100.0 * v if v >= 0 else float("nan") for v in values)
    return ap, ap50, ap75


def _prediction(image: PooledImage, label: dict[str, int]) -> dict:
    import torch

    scores = np.concatenate([np.zeros(0), *(b.scores for b in image.found.values())])
    return {**_labelled({c: b.boxes for c, b in image.found.items()}, label), "scores": torch.from_numpy(scores)}


def _labelled(boxes: dict[str, np.ndarray], label: dict[str, int]) -> dict:
    import torch

    # in thousandths of the side: the area ranges of COCO do not enter AP, but its code wants boxes of some pixels
    stacked = np.concatenate([np.zeros((0, 4)), *boxes.values()]) * 1000.0
    labels = [label[c] for c, b in boxes.items() for _ in range(len(b))]
    return {"boxes": torch.from_numpy(stacked), "labels": torch.tensor(labels, dtype=torch.int64)}


def bootstrap_draws(images: list[PooledImage], resamples: int, seed: int = 0) -> np.ndarray:
    """Return float [resamples, 3]: AP, AP50, AP75 in per cent when whole samples are drawn with replacement."""
    samples = {sample: n for n, sample in enumerate(dict.fromkeys(image.sample for image in images))}
    if not samples:
        return np.full((resamples, 3), np.nan)
    tables = list(_class_tables(images, samples))
    draws = [weighted_ap(tables, counts) for counts in resample_counts(len(samples), resamples, seed)]
    return 100.0 * np.concatenate(draws)


@dataclass(frozen=True)
class ClassTable:
    """Detections of a category by falling score: `sample` int [D], `right` bool [10, D]; `wanted` [S] boxes."""

    sample: np.ndarray
    right: np.ndarray
    wanted: np.ndarray


def weighted_ap(tables: list[ClassTable], counts: np.ndarray) -> np.ndarray:
    """Return float [R, 3] in 0..1: AP, AP50, AP75 when sample s counts `counts[r, s]` times; NaN without boxes."""
    total = np.zeros((len(counts), len(THRESHOLDS)))
    classes = np.zeros(len(counts))
    for table in tables:
        wanted = counts @ table.wanted
        present = wanted > 0
        classes += present
        step = max(1, _CHUNK // max(1, len(table.sample)))
        for start in range(0, len(counts), step):
            rows = slice(start, start + step)
            weight = counts[rows][:, table.sample]
            total[rows] += present[rows, None] * _interpolated(weight, table.right, np.maximum(wanted[rows], 1.0))
    mean = np.divide(total, classes[:, None], out=np.full_like(total, np.nan), where=classes[:, None] > 0)
    return np.stack([mean.mean(axis=1), mean[:, 0], mean[:, 5]], axis=1)


def _interpolated(weight: np.ndarray, right: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return float [R, 10]: precision interpolated at 101 recalls, for weights [R, D] and `right` [10, D]."""
    out = np.zeros((len(weight), len(right)))
    seen = np.cumsum(weight, axis=1)
    for column, row in enumerate(right):
        at = np.flatnonzero(row)  # recall grows and the envelope turns at right detections only
        if len(at) == 0:
            continue
        hits, among = np.cumsum(weight[:, at], axis=1), seen[:, at]
        precision = np.divide(hits, among, out=np.zeros_like(hits), where=among > 0)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        reached = _reached(hits / wanted[:, None])
        out[:, column] = (np.diff(reached, axis=1, prepend=0) * envelope).sum(axis=1) / len(_RECALLS)
    return out


def _reached(recall: np.ndarray) -> np.ndarray:
    """Return how many of the 101 recalls are at most `recall`, comparing the floats as COCOeval does."""
    below = np.floor(recall * 100.0 + 1e-9).astype(np.intp)
    return below + (_RECALLS[below] <= recall)


def _class_tables(images: list[PooledImage], samples: dict[str, int]) -> Iterator[ClassTable]:
    wanted: dict[str, np.ndarray] = {}
    parts: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    for image in images:
        sample = samples[image.sample]
        for category, boxes in image.wanted.items():
            wanted.setdefault(category, np.zeros(len(samples)))[sample] += len(boxes)
        for category, found in image.found.items():
            strongest = _strongest(found)
            right = matched(strongest, image.wanted.get(category, np.zeros((0, 4))))
            part = (strongest.scores, np.full(len(strongest.scores), sample), right)
            parts.setdefault(category, []).append(part)
    for category in sorted(wanted):
        lists = parts.get(category, [_NOTHING])
        scores, sample_of, right = (np.concatenate(p, axis=-1) for p in zip(*lists, strict=True))
        order = np.argsort(-scores, kind="mergesort")
        yield ClassTable(sample_of[order].astype(int), right[:, order], wanted[category])


_NOTHING = (np.zeros(0), np.zeros(0, int), np.zeros((len(THRESHOLDS), 0), bool))


def _strongest(found: Boxes, most: int = 100) -> Boxes:
    order = np.argsort(-found.scores, kind="mergesort")[:most]
    return Boxes(found.boxes[order], found.scores[order])


def matched(found: Boxes, wanted: np.ndarray) -> np.ndarray:
    """Return bool [10, D]: which detections, by falling score, take a box at each IoU threshold (COCOeval's rule)."""
    overlap = box_iou(found.boxes, wanted)
    right = np.zeros((len(THRESHOLDS), len(found.scores)), bool)
    if len(wanted) == 0:
        return right
    free = np.ones((len(THRESHOLDS), len(wanted)), bool)
    rows = np.arange(len(THRESHOLDS))
    for n, row in enumerate(overlap):
        if row.max() < THRESHOLDS[0]:
            continue
        candidates = np.where(free, row, -1.0)
        best = candidates.argmax(axis=1)
        right[:, n] = candidates[rows, best] >= np.minimum(THRESHOLDS, 1 - 1e-10)
        free[rows[right[:, n]], best[right[:, n]]] = False
    return right


METRIC = Metric(
    name="average_precision",
    scores=_NAMES,
    requires=frozenset({"detections"}),
    settings=("det", "floor", "nms", "queries"),
    pool=lambda context: PrecisionPool(context.resamples),
)
