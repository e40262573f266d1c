"""mIoU: the mean, over instances, of the IoU between an instance's box and its detection, in per cent; 0 when it has
none.

Under `mig_bench_v1` an instance in its place with the wrong colour adds 0 while one out of place adds its IoU, as in
the public COCO-MIG scorer; under `strict` colour plays no part.
"""

from __future__ import annotations

from radl_bench.scoring.conditions import Conditions, color, mask
from radl_bench.scoring.metrics import Metric, Row, View
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.metrics.success import color_failure
from radl_bench.scoring.protocol import Protocol


def rows(view: View, protocol: Protocol) -> list[Row]:
    """Return a row an instance, 0 to 100; NaN for an image without evidence."""
    if view.problem is not None:
        lost = range(len(view.sample.instances))
        return [Row(n, "miou", float("nan"), f"no image: {view.problem}") for n in lost]
    out = []
    for n, (instance, match, share) in enumerate(zip(view.sample.instances, view.matches, view.shares, strict=True)):
        gated = protocol.color_gates_iou and match.iou >= protocol.iou
        wrong = color_failure(instance, share, protocol, view.sample.color_names) if gated else None
        text = wrong or (f"IoU {match.iou:.2f}" if match.box else f"no {instance.category} for {instance.phrase}")
        out.append(Row(n, "miou", 0.0 if wrong else 100.0 * match.iou, text))
    return out


def gate(c: Conditions) -> str:
    """How colour is judged, where a wrong one zeroes the IoU."""
    return f"gate:{color(c)}:{mask(c)}" if c.protocol.color_gates_iou else ""


METRIC = Metric(
    name="iou",
    scores=(
        ScoreSpec(
            "miou",
            "mIoU",
            "mean",
            "instance",
            missing=0.0,
            place=20,
            by_level=True,
            settings=("det", "score", "nms", "iou", "match", gate),
            about="how far found and wanted boxes overlap (intersection over union), mean over objects, per cent",
        ),
    ),
    requires=frozenset({"detections"}),
    rows=rows,
    thresholds=("iou", "coverage", "score", "nms"),
)
