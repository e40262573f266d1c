"""CLIP score: 100 * cosine of image and prompt; Local CLIP: of each instance's crop and its phrase.

An encoder that was made for it reads a phrase through the 80 templates of ImageNet (`judges.templates`), and the cosine
is then the mean over them; the protocol says how articles and colour channels are shown. The crop is the layout's box,
stretched to a square. Cosines are neither clamped nor rescaled (the 24.66 style of the tables).
"""

from __future__ import annotations

from radl_bench.scoring.conditions import Conditions
from radl_bench.scoring.metrics import WHOLE_IMAGE, Metric, Row, View
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.protocol import Protocol


def rows(view: View, protocol: Protocol) -> list[Row]:
    """Return a `clip` row for the image and a `local_clip` row an instance; NaN for an image without evidence."""
    instances = view.sample.instances
    if view.problem is not None:
        text, nan = f"no image: {view.problem}", float("nan")
        lost = [Row(n, "local_clip", nan, text) for n in range(len(instances))]
        return [Row(WHOLE_IMAGE, "clip", nan, text), *lost]
    whole = Row(WHOLE_IMAGE, "clip", 100.0 * view.clip, f"cosine {view.clip:.3f} with '{view.sample.prompt}'")
    crops = zip(instances, view.local_clip, strict=True)
    return [
        whole,
        *(Row(n, "local_clip", 100.0 * c, f"cosine {c:.3f} with '{i.phrase}'") for n, (i, c) in enumerate(crops)),
    ]


def crop(_: Conditions) -> str:
    """What is cut out for a phrase."""
    return "crop:box-square"


def phrase(c: Conditions) -> str:
    """How the encoder reads a phrase."""
    return f"phrase:{c.phrase}"


METRIC = Metric(
    name="clip_score",
    scores=(
        ScoreSpec(
            "clip",
            "CLIP",
            "cosine",
            "image",
            missing=None,
            place=40,
            settings=("enc",),
            about="how well the image fits its prompt: cosine of their CLIP vectors, times 100",
        ),
        ScoreSpec(
            "local_clip",
            "Local CLIP",
            "cosine",
            "instance",
            missing=None,
            place=41,
            settings=("enc", crop, phrase),
            about="how well the inside of each box fits its phrase: cosine of their CLIP vectors, times 100",
        ),
    ),
    requires=frozenset({"cosines"}),
    rows=rows,
)
