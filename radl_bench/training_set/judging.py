"""R_inst and mIoU of held-out layouts while an adapter is trained: `judge` of a training config's `[validation]`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.types import Instance, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

    from radl_model.train.validation import HeldOut

FIGURES = {"success_inst": "R_inst", "miou": "mIoU"}
"""Scores of `radl_bench`, and what the log calls them."""


def samples_of(held: Sequence[HeldOut]) -> list[Sample]:
    """Return held-out layouts as samples; no colour is asked for."""
    made = []
    for number, layout in enumerate(held):
        parts = zip(layout.phrases, layout.categories, layout.boxes, strict=True)
        instances = tuple(Instance(phrase, category, None, box) for phrase, category, box in parts)
        made.append(Sample(f"{number:04d}", layout.prompt, instances, verbs=layout.verbs))
    return made


def judge(held: Sequence[HeldOut], images: Sequence[Image], detector: str) -> Mapping[str, float]:
    """Return R_inst and mIoU, per cent; layouts of which the crop left no box are left out.

    Raises:
        RadlBenchError: the detector is not there.
    """
    from radl_bench.api.scoring import score

    pairs = [(sample, image) for sample, image in zip(samples_of(held), images, strict=True) if sample.instances]
    with tempfile.TemporaryDirectory() as folder:
        scores = score(
            [image for _, image in pairs],
            [sample for sample, _ in pairs],
            runs=Path(folder),
            detector=detector,
            segmenter="box",
            encoder="none",
            features="none",
        )
        table = scores.table
        whole = table[table["level"].isna() & table["metric"].isin(FIGURES)]
        return {FIGURES[name]: round(float(value), 2) for name, value in zip(whole.metric, whole.value, strict=True)}
