"""Colours of objects wherever they are: those of the strongest detections of each coloured category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from radl_bench.judges.contracts import Segmenter
from radl_bench.judges.kinds import Desk, Kind, Seen
from radl_bench.judges.kinds.coverage import COLOR_SHARES, SEGMENTER, measure_boxes, shares_of
from radl_bench.runs.images import Picture
from radl_bench.scoring.protocol import Boxes


class ObjectColors(Kind[Segmenter]):
    """Field `object_shares`."""

    key, role, store, after = "object_colors", SEGMENTER, COLOR_SHARES, ("detections",)

    def measure(self, pictures: Sequence[Picture], seen: Sequence[Seen], desk: Desk[Segmenter]) -> None:
        """See `Kind.measure`."""
        for picture, known in zip(pictures, seen, strict=True):
            for boxes in _strongest(picture, known, desk).values():
                measure_boxes(picture, boxes, desk)

    def read(self, picture: Picture, seen: Seen, desk: Desk[Segmenter]) -> Seen:
        """See `Kind.read`."""
        found = _strongest(picture, seen, desk).items()
        shares = {c: [shares_of(picture, box, desk) for box in boxes] for c, boxes in found}
        width = len(picture.sample.color_names)
        return {"object_shares": {c: np.array(rows, float).reshape(-1, width) for c, rows in shares.items()}}


def _strongest(picture: Picture, seen: Seen, desk: Desk[Segmenter]) -> dict[str, list[tuple[float, ...]]]:
    """Return boxes by category, as many as the sample has instances of it, best first."""
    instances, found = picture.sample.instances, cast("Mapping[str, Boxes]", seen["found"])
    colored = sorted({i.category for i in instances if i.color is not None})
    most = {c: sum(i.category == c for i in instances) for c in colored}
    return {c: [tuple(box) for box in found[c].above(desk.rules.score).boxes[: most[c]]] for c in colored}


OBJECT_COLORS = ObjectColors()
