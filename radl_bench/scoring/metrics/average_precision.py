"""AP, AP50, AP75 of the detections against the layout's boxes, COCO style, in per cent.

The numbers are COCOeval's (all scores down to 0.05, at most 100 detections a class and image, IoU .50:.05:.95, 101
recalls), which tests hold against pycocotools and torchmetrics. Equal scores stand in the order of the images, which is
that of their ids whatever order they come in. Only categories of an image's own layout are asked for in it. A layout
has no crowd regions: where COCOeval lets a detection inside of one go, it counts as wrong here.

Under `consistcompose_v1` the detections are others (`_nearest`), and the curve is drawn in the same way.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from radl_bench.scoring.conditions import Conditions, short
from radl_bench.scoring.intervals import scaled
from radl_bench.scoring.metrics import Estimate, Metric, View
from radl_bench.scoring.metrics.ap_parts import ApParts, ap_intervals, ap_values, image_order
from radl_bench.scoring.metrics.matching import right_bits
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.protocol import FLOOR, PROTOCOLS, Boxes, Protocol

_MOST = 100
_ANY = "thing"  # the one category of a protocol that knows no other


class _Category:
    """Growing columns of a category: samples of the wanted boxes; image, score and bits of the detections."""

    def __init__(self) -> None:
        self.wanted, self.image, self.score, self.bits = array("l"), array("l"), array("d"), array("H")


class PrecisionPool:
    """Gathers the boxes of all images; a missing image adds its layout and no detection."""

    settings: Mapping[str, str] = MappingProxyType({})
    form = "boxes"

    def __init__(self, rules: Protocol = PROTOCOLS["strict"]) -> None:
        self._rules = rules
        self._samples: dict[str, int] = {}
        self._levels = array("l")
        self._images: list[tuple[str, int]] = []
        self._asked: Counter[tuple[int, bool]] = Counter()
        self._categories: dict[str, _Category] = {}

    def add(self, view: View) -> None:
        """Take the boxes out of a view."""
        sample = view.sample
        if sample.id not in self._samples:
            self._samples[sample.id] = len(self._samples)
            self._levels.append(sample.level)
        self._asked[sample.level, view.problem is not None] += sample.level
        number, image = self._samples[sample.id], len(self._images)
        wanted, boxes_of = _nearest(view) if self._rules.ap == "nearest" else (_by_category(view), view.found)
        self._images.append((sample.id, view.k))
        for category, boxes in wanted.items():
            self._category(category).wanted.extend([number] * len(boxes))
        for category, found in boxes_of.items() if view.problem is None else ():
            order = np.argsort(-found.scores, kind="mergesort")[:_MOST]
            table = self._category(category)
            table.score.extend(found.scores[order].tolist())
            table.bits.extend(right_bits(found.boxes[order].tolist(), wanted.get(category, [])))
            table.image.extend([image] * len(order))

    def estimates(self, level: int | None) -> dict[str, Estimate]:
        """Return ap, ap50 and ap75 over a level, or all; NaN without any box."""
        parts = self.parts(level)
        values = 100.0 * ap_values(parts)
        n, n_missing = (
            sum(boxes for (at, gone), boxes in self._asked.items() if level in (None, at) and gone >= least)
            for least in (False, True)
        )
        found = zip(ap_intervals(parts).items(), values.tolist(), strict=True)
        return {name: Estimate.of(value, scaled(ends, 100.0), n, n_missing) for (name, ends), value in found}

    def kept(self) -> dict[str, np.ndarray]:
        """Return the parts of all samples with `levels` int [S]; see `metrics.Comparable`."""
        return self.parts().arrays() | {"levels": np.array(self._levels, int)}

    def parts(self, level: int | None = None) -> ApParts:
        """Return what AP needs of the samples of a level, or all."""
        place = image_order(self._images)
        of_image = np.array([self._samples[sample] for sample, _ in self._images], np.intp)
        wanted, found = [np.zeros((0, 2), np.intp)], [np.zeros((0, 3), np.intp)]
        score, bits = [np.zeros(0)], [np.zeros(0, np.uint16)]
        for c, name in enumerate(sorted(self._categories)):
            category = self._categories[name]
            boxes, images = np.array(category.wanted, np.intp), np.array(category.image, np.intp)
            wanted.append(np.stack([boxes, np.full(len(boxes), c)], axis=1))
            found.append(np.stack([of_image[images], np.full(len(images), c), place[images]], axis=1))
            score.append(np.array(category.score))
            bits.append(np.array(category.bits, np.uint16))
        columns = (np.concatenate(column) for column in (wanted, found, score, bits))
        parts = ApParts(tuple(self._samples), tuple(sorted(self._categories)), *columns)
        if level is None:
            return parts
        return parts.take([sample for sample, at in zip(self._samples, self._levels, strict=True) if at == level])

    def _category(self, name: str) -> _Category:
        return self._categories.setdefault(name, _Category())


def _by_category(view: View) -> dict[str, list[tuple[float, ...]]]:
    wanted: dict[str, list[tuple[float, ...]]] = {}
    for instance in view.sample.instances:
        wanted.setdefault(instance.category, []).append(instance.box)
    return wanted


def _nearest(view: View) -> tuple[dict[str, list[tuple[float, ...]]], dict[str, Boxes]]:
    """Return the layout's boxes and one prediction for each that has a match, all as things of one class.

    The prediction is the match, which lies nearest, and its score that of the strongest detection of its category.
    """
    instances = view.sample.instances
    found = [
        (match.box, float(view.found[instance.category].scores.max()))
        for instance, match in zip(instances, view.matches, strict=False)  # a missing image has no matches
        if match.box is not None
    ]
    boxes = Boxes(np.array([box for box, _ in found], float).reshape(-1, 4), np.array([score for _, score in found]))
    return {_ANY: [instance.box for instance in instances]}, {_ANY: boxes}


def floor(c: Conditions) -> str:
    """The least score of a detection that is taken: AP takes all that are kept, but for one prediction an instance."""
    return f"score:{short(c.protocol.score if c.protocol.ap == 'nearest' else FLOOR)}"


def queries(_: Conditions) -> str:
    """What a detector is asked for: the classes of an image's own layout."""
    return "queries:layout"


def predictions(c: Conditions) -> str:
    """Which detections are taken, where it is not all of them."""
    return "ap:nearest-any-class" if c.protocol.ap == "nearest" else ""


def _score(name: str, heading: str, place: int, at: str) -> ScoreSpec:
    settings = ("det", floor, "nms", queries, predictions)
    return ScoreSpec(
        name,
        heading,
        "precision",
        "instance",
        missing=0.0,
        place=place,
        settings=settings,
        about=f"COCO average precision of the detections against the layout, {at}, per cent",
    )


METRIC = Metric(
    name="average_precision",
    scores=(
        _score("ap", "AP", 30, "mean over IoU .50 to .95"),
        _score("ap50", "AP50", 31, "right from IoU .50"),
        _score("ap75", "AP75", 32, "right from IoU .75"),
    ),
    requires=frozenset({"detections"}),
    pool=lambda context: PrecisionPool(context.protocol),
    thresholds=("nms",),
)
