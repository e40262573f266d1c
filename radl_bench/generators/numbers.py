"""Settings of methods that are numbers: from Python or as text of the command line, held to their ranges."""

from __future__ import annotations

import math

from radl_bench.errors import UsageError
from radl_bench.parsing import shown
from radl_model.numbers import MOST_STEPS

MOST = 10_000
"""Of a batch, and of whatever else is counted."""


def whole(name: str, value: object, least: int = 1, most: int = MOST) -> int:
    """Return a setting that must be a whole number from `least` to `most`; raises `UsageError`."""
    made = real(name, value, "whole number")
    if made != int(made):
        raise UsageError(f"{name}={shown(value, 40)} is not a whole number.")
    if made < least:
        raise UsageError(f"{name} must be at least {least}, not {shown(value, 40)}.")
    if made > most:
        raise UsageError(f"{name} must be at most {most}, not {shown(value, 40)}.")
    return int(made)


def steps(name: str, value: object) -> int:
    """Return a setting that is a number of denoising steps; raises `UsageError`."""
    return whole(name, value, 1, MOST_STEPS)


def share(name: str, value: object) -> float:
    """Return a setting that must lie in [0, 1]; raises `UsageError`."""
    made = real(name, value)
    if not 0 <= made <= 1:
        raise UsageError(f"{name}={shown(value, 40)} must lie in [0, 1].")
    return made


def real(name: str, value: object, kind: str = "number") -> float:
    """Return a setting that must be a finite number, named `kind` where it is none; raises `UsageError`."""
    try:
        made = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        made = math.nan
    if not math.isfinite(made):
        raise UsageError(f"{name}={shown(value, 40)} is not a {kind}.")
    return made
