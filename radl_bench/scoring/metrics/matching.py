"""Which detections of a class take a box of the layout, at each of COCO's ten IoU thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)

_LEAST = [min(float(t), 1 - 1e-10) for t in THRESHOLDS]  # COCOeval's guard against an IoU of 1 - epsilon


def right_bits(found: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]]) -> list[int]:
    """Return ten bits a detection (bit t for threshold t): whether it takes a box there, by COCOeval's rule.

    Args:
        found: xyxy boxes of an image and class by falling score.
        wanted: xyxy boxes of the layout; each is taken once, by the first detection whose best free box it is.

    Plain Python, since an image has a handful of boxes a class, for which an array costs more than it saves.
    """
    if not wanted:
        return [0] * len(found)
    free = [list(range(len(wanted))) for _ in _LEAST]
    out = []
    for box in found:
        overlap = [_iou(box, other) for other in wanted]
        bits = 0
        best = max(overlap)
        for t, least in enumerate(_LEAST):
            if best < least:
                break
            # of equal overlaps the later box is taken, as COCOeval does
            choice = max((i for i in free[t]), key=lambda i: (overlap[i], i), default=None)
            if choice is not None and overlap[choice] >= least:
                bits |= 1 << t
                free[t].remove(choice)
        out.append(bits)
    return out


def _iou(a: Sequence[float], b: Sequence[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    inter = width * height
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)
