"""The check of a box that comes from outside: a file, a call, a judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

Four = tuple[float, float, float, float]


def four_numbers(values: object) -> Four | None:
    """Return four finite numbers as floats; None for anything else: another count, NaN, booleans, text, 10**400."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 4:
        return None
    try:
        a, b, c, d = (float(v) if isinstance(v, Real) and not isinstance(v, bool) else math.nan for v in values)
    except OverflowError:
        return None
    return (a, b, c, d) if all(map(math.isfinite, (a, b, c, d))) else None


def fraction_box(values: object) -> Four | None:
    """Return an xyxy box in fractions of the image, `0 <= x0 < x1 <= 1` and so in y; None for anything else."""
    box = four_numbers(values)
    return box if box and 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1 else None
