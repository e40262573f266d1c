"""Average precision of weighted samples, as COCOeval draws its curve: 101 recalls, IoU .50:.05:.95."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from radl_bench.scoring.metrics.matching import THRESHOLDS

_RECALLS = np.linspace(0.0, 1.0, 101)
_CHUNK = 120_000  # numbers held at once: what a core's cache takes


@dataclass(frozen=True)
class ClassTable:
    """Detections of a category by falling score: `sample` int [D], `right` bool [10, D]; `wanted` float [S] boxes."""

    sample: np.ndarray
    right: np.ndarray
    wanted: np.ndarray


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
