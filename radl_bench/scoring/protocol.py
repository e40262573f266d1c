"""Protocols: thresholds and matching rules, named and part of every signature.

`strict` is this suite's default. `mig_bench_v1` keeps the matching rules of the public COCO-MIG scorer (every
instance takes its best detection, the mask is prompted by the layout's box, a wrong colour zeroes the IoU, CLIP sees
BGR and doubled articles) so that numbers can be compared with the literature; both read the same detections.
`consistcompose_v1` keeps those of the COCO-Position scorer that ConsistCompose published. All oddities are in
docs/protocols.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple

import numpy as np

from radl_bench.errors import UsageError, did_you_mean
from radl_bench.types import Instance

FLOOR = 0.05
"""Least score of a detection that is kept as evidence, whichever detector gave it; AP is computed from all of them."""


@dataclass(frozen=True)
class Protocol:
    """Rules of scoring.

    Attributes:
        one_to_one: a detection serves one instance at most.
        mask_prompt: "det", the segmenter gets the matched detection, or "box", the layout's box.
        color_gates_iou: an instance of the wrong colour adds 0 to mIoU.
        clip_bgr: CLIP sees red and blue swapped.
        articles: "repaired" or "doubled", how an encoder that uses templates reads a phrase (`judges.templates`).
        detector_bgr: the detector sees red and blue swapped.
        squash: side of the square that detector and encoder see every image stretched to, in pixels; 0 for its own
            size.
        crop: "box" or "det", what is cut out for Local CLIP: the layout's box, or the matched detection, and nothing
            where an instance has none.
        ap: "coco", or "nearest": one prediction an instance, its match with the score of the strongest detection of
            its category, and all categories taken for one.
        missing: "counted", an image that is missing or failed counts as `ScoreSpec.missing` says; or "left out".
        iou: least IoU of a right position; coverage: least share of the mask in the right colour; score: least score
        of a
            detection (AP takes all down to 0.05); nms: IoU above which the weaker of two boxes of a category is
            dropped.
        count: least score of a detection that is counted; a false alarm spoils a count, where elsewhere the strongest
            detections decide.
        margin: least distance of two centres that makes one left of or above the other; gap: most air between things
            that are next to or on top of each other. Both are fractions of the image side.
        own: thresholds of the metric that is asked, by name (`metrics.Metric.own`); no judging depends on them.
    """

    name: str
    one_to_one: bool
    mask_prompt: str
    color_gates_iou: bool
    clip_bgr: bool = False
    articles: str = "repaired"
    detector_bgr: bool = False
    squash: int = 0
    crop: str = "box"
    ap: str = "coco"
    missing: str = "counted"
    iou: float = 0.5
    coverage: float = 0.2
    score: float = 0.25
    nms: float = 0.8
    count: float = 0.35
    margin: float = 0.05
    gap: float = 0.2
    own: Mapping[str, float] = field(default_factory=dict, hash=False)


PROTOCOLS = {
    "strict": Protocol("strict", one_to_one=True, mask_prompt="det", color_gates_iou=False),
    "mig_bench_v1": Protocol(
        "mig_bench_v1", one_to_one=False, mask_prompt="box", color_gates_iou=True, clip_bgr=True, articles="doubled"
    ),
    "consistcompose_v1": Protocol(
        "consistcompose_v1",
        one_to_one=False,
        mask_prompt="box",
        color_gates_iou=True,
        articles="doubled",
        detector_bgr=True,
        squash=512,
        crop="det",
        ap="nearest",
        missing="left out",
    ),
}

THRESHOLDS = ("iou", "coverage", "score", "nms", "count", "margin", "gap")


def resolve_protocol(name: str, **thresholds: float | None) -> Protocol:
    """Return the named protocol with the thresholds that are not None put in its place.

    Raises `UsageError` for an unknown name or a threshold outside 0..1.
    """
    if name not in PROTOCOLS:
        raise UsageError(did_you_mean(name, PROTOCOLS, "protocol"))
    given = {key: float(value) for key, value in thresholds.items() if value is not None}
    for key, value in given.items():
        if key not in THRESHOLDS or key not in {f.name for f in fields(Protocol)}:
            raise UsageError(did_you_mean(key, THRESHOLDS, "threshold"))
        if not 0.0 <= value <= 1.0:
            raise UsageError(f"The threshold '{key}' must be a fraction from 0 to 1, not {value:g}.")
    return replace(PROTOCOLS[name], **given)  # type: ignore[arg-type]


def note_of_missing(rules: Protocol, number: int) -> list[str]:
    """Say how many images no score speaks of, under a protocol that leaves out what is missing; [] for none."""
    said = f"{number} images are missing or failed; {rules.name} leaves them out of every score."
    return [said] if number and rules.missing == "left out" else []


class Boxes(NamedTuple):
    """Detections of one category in one image: `boxes` float64 [N, 4] as fractions, `scores` float64 [N] in 0..1."""

    boxes: np.ndarray
    scores: np.ndarray

    def above(self, score: float) -> Boxes:
        """Return those with at least this score."""
        keep = self.scores >= score
        return Boxes(self.boxes[keep], self.scores[keep])


class Match(NamedTuple):
    """What an instance got: `box` of its detection or None, `iou` with it, `best_iou` of any box of its category."""

    box: tuple[float, ...] | None
    iou: float
    best_iou: float


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return IoU [N, M] of xyxy boxes `a` [N, 4] and `b` [M, 4]; 0 where a box has no area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0.0, None), axis=2)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=1), np.prod(b[:, 2:] - b[:, :2], axis=1)
    union = area_a[:, None] + area_b[None, :] - inter
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def suppress(found: Boxes, threshold: float) -> Boxes:
    """Return `found` by falling score without every box that overlaps a stronger kept one by more than `threshold`."""
    if len(found.scores) < 2:  # what most categories have: nothing is sorted or compared
        return found
    keep = kept_of(found, threshold)
    return Boxes(found.boxes[keep], found.scores[keep])


def kept_of(found: Boxes, threshold: float) -> list[int]:
    """Return the indices of what `suppress` keeps, by falling score."""
    order = np.argsort(-found.scores, kind="stable")
    overlap = box_iou(found.boxes, found.boxes)
    keep: list[int] = []
    for i in order:
        if not keep or overlap[i, keep].max() <= threshold:
            keep.append(int(i))
    return keep


def match_instances(instances: Sequence[Instance], found: dict[str, Boxes], protocol: Protocol) -> list[Match]:
    """Return one `Match` an instance; `found` holds the detections of each category above the protocol's score.

    One to one, instances of a category share its detections such that as many as possible reach the IoU threshold
    and, among those assignments, the sum of IoU is greatest (Hungarian method): identical phrases cannot starve each
    other, and colour never decides who gets which box. Otherwise every instance takes its best detection.
    """
    out: list[Match] = [Match(None, 0.0, 0.0)] * len(instances)
    for category in {i.category for i in instances}:
        index = [n for n, instance in enumerate(instances) if instance.category == category]
        boxes = found[category].boxes if category in found else np.zeros((0, 4))
        if len(boxes) == 0:
            continue
        overlap = box_iou(np.array([instances[n].box for n in index], float), boxes)
        chosen = _assign(overlap, protocol.iou) if protocol.one_to_one else dict(enumerate(overlap.argmax(axis=1)))
        for row, n in enumerate(index):
            out[n] = _match(overlap[row], boxes, chosen.get(row))
    return out


def _match(overlap: np.ndarray, boxes: np.ndarray, column: int | None) -> Match:
    best = float(overlap.max())
    if column is None or overlap[column] <= 0:
        return Match(None, 0.0, best)
    return Match(tuple(float(v) for v in boxes[column]), float(overlap[column]), best)


def _assign(overlap: np.ndarray, threshold: float) -> dict[int, int]:
    from scipy.optimize import linear_sum_assignment

    # a match above the threshold outweighs every sum of IoU below it, so the count is maximised first
    gain = overlap + (overlap >= threshold) * (1.0 + len(overlap))
    return {int(r): int(c) for r, c in zip(*linear_sum_assignment(gain, maximize=True), strict=True)}
