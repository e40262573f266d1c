"""Success rates: an instance succeeds when it is in its place and has its colour; an image when all its instances do.

`success_inst` is R_inst and `success_img` R_img, in per cent (MIGC, CVPR 2024, and the COCO-MIG scorer).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radl_bench.scoring.metrics import WHOLE_IMAGE, Metric, Row, View
from radl_bench.scoring.metrics.spec import ScoreSpec, Unit
from radl_bench.scoring.protocol import Match, Protocol
from radl_bench.types import COLORS, Instance

NAN = float("nan")


def rows(view: View, protocol: Protocol) -> list[Row]:
    """Return a row an instance (100 or 0) and one for the image; NaN for an image without evidence."""
    if view.problem is not None:
        number = range(len(view.sample.instances))
        lost = [Row(n, "success_inst", NAN, f"no image: {view.problem}") for n in number]
        return [*lost, Row(WHOLE_IMAGE, "success_img", NAN, f"no image: {view.problem}")]
    out = []
    names = view.sample.color_names
    for n, (instance, match, share) in enumerate(zip(view.sample.instances, view.matches, view.shares, strict=True)):
        failure = position_failure(instance, match, protocol) or color_failure(instance, share, protocol, names)
        text = failure or f"{instance.phrase} found with IoU {match.iou:.2f}{_share_text(instance, share, names)}"
        out.append(Row(n, "success_inst", 0.0 if failure else 100.0, text))
    good = sum(row.value == 100.0 for row in out)
    value = 100.0 if good == len(out) else 0.0
    return [*out, Row(WHOLE_IMAGE, "success_img", value, f"{good} of {len(out)} instances right")]


def position_failure(instance: Instance, match: Match, protocol: Protocol) -> str | None:
    """Return why the instance is not in its place, or None."""
    if match.iou >= protocol.iou:
        return None
    place = ", ".join(f"{v:.2f}" for v in instance.box)
    text = f"expected {instance.phrase} at [{place}], best IoU {match.best_iou:.2f}"
    if match.best_iou == 0.0:
        return f"expected {instance.phrase} at [{place}], no {instance.category} detected there"
    return f"{text}, which another instance has" if match.best_iou >= protocol.iou else text


def color_failure(
    instance: Instance, share: np.ndarray, protocol: Protocol, names: Sequence[str] = COLORS
) -> str | None:
    """Return why the instance has not its colour, or None; a free colour never fails.

    `names` are the colours of `share`, see `Sample.color_names`.
    """
    if instance.color is None or share[names.index(instance.color)] >= protocol.coverage:
        return None
    found = share[names.index(instance.color)]
    best = int(share.argmax())
    instead = f", but {share[best]:.0%} {names[best]}" if share[best] >= protocol.coverage else ""
    return f"expected {instance.phrase}, found a {instance.category} of which {found:.0%} is {instance.color}{instead}"


def _share_text(instance: Instance, share: np.ndarray, names: Sequence[str]) -> str:
    return "" if instance.color is None else f", {share[names.index(instance.color)]:.0%} {instance.color}"


def _rate(name: str, heading: str, unit: Unit, place: int, about: str) -> ScoreSpec:
    settings = ("det", "score", "nms", "iou", "match", "color", "mask")
    return ScoreSpec(
        name,
        heading,
        "rate",
        unit,
        missing=0.0,
        place=place,
        by_level=True,
        verdict=True,
        settings=settings,
        about=f"per cent of {about}",
    )


METRIC = Metric(
    name="success",
    scores=(
        _rate(
            "success_inst", "R_inst", "instance", 10, "objects that a detector finds in their place and in their colour"
        ),
        _rate("success_img", "R_img", "image", 11, "images in which every object is in its place and has its colour"),
    ),
    requires=frozenset({"detections", "coverage"}),
    rows=rows,
    thresholds=("iou", "coverage", "score", "nms"),
)
