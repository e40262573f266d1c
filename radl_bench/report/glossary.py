"""What stands behind the head of a column: one sentence a score, for a tooltip and for a list."""

from __future__ import annotations

from radl_bench.scoring.metrics.known import known_spec
from radl_bench.scoring.metrics.spec import Kind, ScoreSpec

_UNITS = {"instance": "objects", "image": "images", "relation": "relations"}
_KINDS: dict[Kind, str] = {
    "rate": "per cent of {unit} that are right",
    "rate_of_few": "per cent of {unit} that are right",
    "mean": "mean over {unit}",
    "cosine": "cosine between the vectors of image and text, times 100, mean over {unit}",
    "precision": "average precision of the detections of the wanted {unit}, per cent",
    "distance": "distance of the features of the images from those of a reference set",
}
AVG = "avg: over all objects or images, not the mean of the levels"
LEVEL = "L2, L3, ...: samples with so many objects"


def meaning(spec: ScoreSpec) -> str:
    """Return what a score says, which direction is better, and what a missing image counts as."""
    what = spec.about or known_spec(spec.name).about or _KINDS[spec.kind].format(unit=_UNITS[spec.unit])
    better = "less is better" if spec.lower_is_better else "more is better"
    lost = "missing images are left out" if spec.missing is None else f"a missing one counts as {spec.missing:g}"
    return f"{what}; {better}; {lost}"
