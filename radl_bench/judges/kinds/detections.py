"""Detections: where the categories of an image's own layout are, matched with the layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from radl_bench.judges.checks import asking, check_detections
from radl_bench.judges.contracts import Detector, Role
from radl_bench.judges.kinds import Desk, Kind, Seen, Store, batches, sound
from radl_bench.runs.images import Picture, stretched, swapped
from radl_bench.scoring.protocol import FLOOR, Boxes, Protocol, match_instances, suppress
from radl_bench.types import Detection, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

    from radl_bench.judges.checks import Found

DETECTOR = Role("detector", "detectors", ("detect",), default="mini", early=True, files=True)

_Ask = Callable[..., Sequence[Sequence[Detection]]]  # with the extras that the detector declares


class Detections(Kind[Detector]):
    """Fields `found` (after suppression, down to `FLOOR`) and `matches`."""

    key, role = "detections", DETECTOR
    store = Store("detections", ("image", "sample", "category"), {"boxes": "doubles", "scores": "doubles"})

    def measure(self, pictures: Sequence[Picture], seen: Sequence[Seen], desk: Desk[Detector]) -> None:
        """See `Kind.measure`; one call of the detector a batch, with every category of each layout."""
        todo = [p for p in pictures if not all(_key(p, c, desk) in desk.table for c in _categories(p.sample))]
        for batch in batches((p for p in todo if p.load() is not None), desk.batch_size):
            queries = [_categories(p.sample) for p in batch]
            for picture, wanted, found in zip(batch, queries, _ask(batch, queries, desk), strict=True):
                for category in wanted:
                    desk.table.add(_key(picture, category, desk), _kept(found, category))

    def read(self, picture: Picture, seen: Seen, desk: Desk[Detector]) -> Seen:
        """See `Kind.read`."""
        found = {c: suppress(_boxes(picture, c, desk), desk.rules.nms) for c in _categories(picture.sample)}
        strong = {category: boxes.above(desk.rules.score) for category, boxes in found.items()}
        return {"found": found, "matches": tuple(match_instances(picture.sample.instances, strong, desk.rules))}


def _ask(batch: Sequence[Picture], queries: Sequence[Sequence[str]], desk: Desk[Detector]) -> list[list[Found]]:
    known = {"samples": [p.sample for p in batch], "pictures": batch}
    extras = {name: value for name, value in known.items() if name in desk.facts.takes}
    detect: _Ask = desk.asked.detect
    shown = [_shown(image, desk.rules) for p in batch if (image := p.load()) is not None]
    with asking(desk.asked):
        return check_detections(desk.asked, detect(shown, queries, **extras), queries)


def _shown(image: Image, rules: Protocol) -> Image:
    seen = stretched(image, rules.squash)
    return swapped(seen) if rules.detector_bgr else seen


def _kept(found: Sequence[Found], category: str) -> tuple[np.ndarray, np.ndarray]:
    kept = [d for d in found if d.category == category and d.score >= FLOOR]
    return np.array([d.box for d in kept], float).reshape(-1), np.array([d.score for d in kept], float)


def _boxes(picture: Picture, category: str, desk: Desk[Detector]) -> Boxes:
    boxes, scores = desk.table[_key(picture, category, desk)]
    kept = sound(scores)
    return Boxes(sound(boxes, 4 * kept.size).reshape(-1, 4), kept)


def _key(picture: Picture, category: str, desk: Desk[Detector]) -> tuple[str, str, str]:
    # equal bytes may belong to two images (both black): a judge that reads the sample must not mix them up
    rules = desk.rules
    marks = (f"{rules.squash}|" if rules.squash else "") + ("bgr|" if rules.detector_bgr else "")
    return marks + picture.sha256, f"{picture.sample.id}:{picture.k}" if desk.facts.needs_sample else "", category


def _categories(sample: Sample) -> list[str]:
    return sorted({instance.category for instance in sample.instances})


DETECTIONS = Detections()
