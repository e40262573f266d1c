"""Floor and ceiling of the mini judges by the least score of a detection: `python -m radl_bench.mini.train.floor`.

Scenes of random layouts, six things each, that no training and no benchmark holds. R_inst of right scenes is the
ceiling, that of wrong ones the floor. The least score of the detector is chosen here, by `least_score`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radl_bench.judges.color import coverage
from radl_bench.judges.contracts import Segmenter
from radl_bench.judges.segmenters import MiniReachSegmenter, MiniSegmenter
from radl_bench.mini.crowds import CrowdedSampler
from radl_bench.mini.judges.detector import WEIGHTS, MiniDetector
from radl_bench.mini.scenes import render
from radl_bench.mini.train.augment import augment
from radl_bench.mini.wrong import KINDS, wrong
from radl_bench.scoring.intervals import Interval, rate_interval, scaled
from radl_bench.scoring.metrics import View, success
from radl_bench.scoring.protocol import PROTOCOLS, Boxes, Protocol, match_instances, resolve_protocol, suppress
from radl_bench.scoring.statistics import SampleSums
from radl_bench.types import COLORS, Detection, Sample

SEED = 950_000
SCENES = 640
THRESHOLDS = tuple(n / 100 for n in range(15, 36))
ROWS = ("right", "soft", *KINDS)
SEGMENTERS: dict[str, type[MiniSegmenter]] = {"mini": MiniSegmenter, "mini-reach": MiniReachSegmenter}

BAR = 3.0
"""A least score is high enough when the 95 % interval of R_inst of scenes of wrong classes ends under this."""


class Rate(NamedTuple):
    """A share in per cent, its 95 % interval, and the number of things."""

    value: float
    interval: Interval
    n: int

    def __str__(self) -> str:
        """Return "2.1 [1.7, 2.6]"."""
        return f"{self.value:.1f} [{self.interval.low:.1f}, {self.interval.high:.1f}]"


@dataclass(frozen=True)
class Scene:
    """What judges saw in an image made for a sample.

    Attributes:
        found: boxes by class after suppression; shares: by box, float [7], colour shares of its mask.
    """

    sample: Sample
    found: dict[str, Boxes]
    shares: dict[tuple[float, ...], NDArray[np.float64]]

    def right(self, rules: Protocol) -> NDArray[np.bool_]:
        """Return which of the wanted things succeed by the metric's own rule, bool [N]."""
        found = {name: boxes.above(rules.score) for name, boxes in self.found.items()}
        matches = match_instances(self.sample.instances, found, rules)
        nothing = np.zeros(len(COLORS))
        shares = np.array([self.shares[m.box] if m.box else nothing for m in matches]).reshape(-1, len(COLORS))
        rows = success.rows(View(self.sample, 0, None, found, tuple(matches), shares), rules)
        return np.array([row.value == 100.0 for row in rows if row.metric == "success_inst"])


def rules_at(score: float) -> Protocol:
    """Return the protocol `strict` with this least score."""
    return resolve_protocol("strict", score=score)


def drawn(samples: Sequence[Sample], row: str) -> list[NDArray[np.uint8]]:
    """Return the scenes of a row: right, right and treated as by a generator ("soft"), or wrong in one way."""
    out = []
    for seed, sample in enumerate(samples, start=SEED):
        image = render(wrong(sample, row, seed) if row in KINDS else sample, seed)
        out.append(augment(image, np.random.default_rng(seed)) if row == "soft" else image)
    return out


def look(
    detector: MiniDetector, segmenter: Segmenter, samples: Sequence[Sample], images: Sequence[NDArray[np.uint8]]
) -> list[Scene]:
    """Return what the judges see in each sample's image, uint8 [128, 128, 3]."""
    out = list[Scene]()
    for start in range(0, len(samples), 32):
        part = samples[start : start + 32], images[start : start + 32]
        queries = [sorted({i.category for i in sample.instances}) for sample in part[0]]
        answers = detector.detect([Image.fromarray(image) for image in part[1]], queries)
        out += [_scene(segmenter, *one) for one in zip(*part, answers, strict=True)]
    return out


def _scene(segmenter: Segmenter, sample: Sample, image: NDArray[np.uint8], seen: Sequence[Detection]) -> Scene:
    names = {d.category for d in seen if d.score >= THRESHOLDS[0]}
    found = {name: suppress(_boxes(seen, name), PROTOCOLS["strict"].nms) for name in names}
    boxes = np.concatenate([np.zeros((0, 4)), *(b.above(THRESHOLDS[0]).boxes for b in found.values())])
    shares = coverage(image, segmenter.masks(image, boxes))
    return Scene(sample, found, {tuple(box): share for box, share in zip(boxes.tolist(), shares, strict=True)})


def _boxes(seen: Sequence[Detection], name: str) -> Boxes:
    own = [d for d in seen if d.category == name]
    return Boxes(np.array([d.box for d in own], float).reshape(-1, 4), np.array([d.score for d in own]))


def rate(verdicts: Sequence[NDArray[np.bool_]]) -> Rate:
    """Return the share of True, one array a scene, in per cent; NaN of nothing."""
    known = [verdict for verdict in verdicts if len(verdict)]
    sums = SampleSums(
        tuple(map(str, range(len(known)))),
        np.array([float(verdict.sum()) for verdict in known]),
        np.array([float(len(verdict)) for verdict in known]),
    )
    return Rate(100 * sums.value, scaled(rate_interval(sums), 100), int(sums.den.sum()))


def curve(
    weights: Path = WEIGHTS, segmenter: Segmenter | None = None, scenes: int = SCENES, rows: Sequence[str] = ROWS
) -> dict[str, list[Rate]]:
    """Return R_inst at each of `THRESHOLDS` by row; about three minutes on one core for all scenes and rows."""
    layouts = CrowdedSampler(SEED, crowded=0.5, level_weights=(0, 0, 0, 0, 0, 1), uncolored=0.0, relations=0.0)
    samples, detector = [layouts.sample() for _ in range(scenes)], MiniDetector(weights)
    out = {}
    for row in rows:
        seen = look(detector, segmenter or MiniSegmenter(), samples, drawn(samples, row))
        out[row] = [rate([scene.right(rules_at(score)) for scene in seen]) for score in THRESHOLDS]
    return out


def least_score(wrong_class: Sequence[Rate]) -> float | None:
    """Return the lowest of `THRESHOLDS` from which on the interval of R_inst of wrong classes is under `BAR`, or None.

    The lowest one costs the ceiling least. Wrong classes decide, as a least score is what keeps them out: wrong colours
    are the segmenter's affair, and wrong places are found by boxes that are a little off, however sure the detector is.
    """
    under = np.array([one.interval.high < BAR for one in wrong_class])
    stays = np.logical_and.accumulate(under[::-1])[::-1]
    return THRESHOLDS[int(np.argmax(stays))] if stays.any() else None


def main() -> None:
    """Print the table and the least score."""
    parser = argparse.ArgumentParser(description="Floor and ceiling of the mini judges, by least score.")
    parser.add_argument("weights", nargs="?", type=Path, default=WEIGHTS, help="folder of a mini detector")
    parser.add_argument("--segmenter", choices=SEGMENTERS, default="mini")
    parser.add_argument("--scenes", type=int, default=SCENES)
    given = parser.parse_args()
    table = curve(given.weights, SEGMENTERS[given.segmenter](), given.scenes)
    print("| least score | " + " | ".join(table) + " |\n|---|" + "---:|" * len(table))
    for n, score in enumerate(THRESHOLDS):
        print(f"| {score:g} | " + " | ".join(str(values[n]) for values in table.values()) + " |")
    print(f"\nleast score: {least_score(table['class'])}")


if __name__ == "__main__":
    main()
