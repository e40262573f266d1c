"""Detectors that need no weights: `oracle` answers with the layout, `blind` with nothing.

The contract of a detector, and what it may declare, is in `radl_bench.judges.contracts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from radl_bench.errors import UsageError
from radl_bench.types import Detection, Sample

if TYPE_CHECKING:
    from PIL.Image import Image


MINI_SEGMENTER = {"segmenter": "mini"}


class OracleDetector:
    """Finds every instance exactly where the layout wants it: the upper bound, where only colour can fail."""

    signature = "oracle"
    takes = ("samples",)
    needs_sample = True
    companions = MINI_SEGMENTER
    thresholds: ClassVar[dict[str, float]] = {"nms": 1.0}
    """What it says is the truth: two boxes of a class that lie nearly on each other are two things."""

    def detect(
        self, images: Sequence[Image], queries: Sequence[Sequence[str]], samples: Sequence[Sample] | None = None
    ) -> list[list[Detection]]:
        """Return the layout's boxes of the asked categories with score 1; raises `UsageError` without `samples`."""
        if samples is None:
            raise UsageError("The oracle detector reads the layout: call detect(images, queries, samples=...).")
        return [
            [Detection(i.category, i.box, 1.0) for i in sample.instances if i.category in set(wanted)]
            for sample, wanted in zip(samples, queries, strict=True)
        ]


class BlindDetector:
    """Finds nothing: the lower bound. A score above 0 with it is a bug of the metric."""

    signature = "blind"
    companions = MINI_SEGMENTER

    def detect(self, images: Sequence[Image], queries: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """Return an empty list an image."""
        return [[] for _ in images]
