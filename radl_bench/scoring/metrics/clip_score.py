"""CLIP score: 100 * cosine of image and prompt; Local CLIP: of each instance's crop and its phrase.

An encoder that was made for it reads a phrase through the 80 templates of ImageNet (`judges.templates`), and the cosine
is then the mean over them; the protocol says how articles and colour channels are shown. The crop is the layout's box,
or the matched detection where the protocol says so, and then an instance without one is left out; it is stretched to a
square. Cosines are neither clamped nor rescaled (the 24.66 style of the tables).
"""

from __future__ import annotations

import math

from radl_bench.scoring.conditions import Conditions
from radl_bench.scoring.metrics import WHOLE_IMAGE, Metric, Row, View
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.protocol import Protocol
from radl_bench.types import Instance


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
        *(Row(n, "local_clip", 100.0 * c, _local(i, c)) for n, (i, c) in enumerate(crops)),
    ]


def _local(instance: Instance, cosine: float) -> str:
    if math.isnan(cosine):
        return f"no {instance.category} was found to be cut out for '{instance.phrase}'"
    return f"cosine {cosine:.3f} with '{instance.phrase}'"


def crop(c: Conditions) -> str:
    """What is cut out for a phrase."""
    return f"crop:{c.protocol.crop}-square"


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
