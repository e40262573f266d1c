"""Detectors that need no weights: `oracle` answers with the layout, `blind` with nothing.

A detector has `signature: str` and `detect(images, queries, samples=None)`: one list of categories a picture, and it
returns one list of `Detection` a picture, in any order, whatever its score. `samples` is passed by name to a detector
whose signature has it. Building a detector must be cheap and tell its signature; weights are loaded at the first
`detect`, so that scoring from cached evidence loads no model. One that sets `needs_sample = True` has its evidence
cached by sample as well. `thresholds` are those of the protocol that a detector was made for, by name: they replace the
benchmark's and the protocol's own, and those of the command line replace them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from radl_bench.errors import UsageError
from radl_bench.types import Detection, Sample

if TYPE_CHECKING:
    from PIL.Image import Image


class OracleDetector:
    """Finds every instance exactly where the layout wants it: the upper bound, where only colour can fail."""

    signature = "oracle"
    needs_sample = True
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

    def detect(self, images: Sequence[Image], queries: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """Return an empty list a picture."""
        return [[] for _ in images]
