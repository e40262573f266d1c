"""Numbers of a call, held to their ranges before anything is computed."""

from __future__ import annotations

import math

from radl_model.errors import UsageError

MOST_STEPS = 1000
"""Denoising steps of a call: as many as the bases were trained with."""


def check_steps(steps: object) -> None:
    """Raise `UsageError` unless `steps` is a whole number from 1 to `MOST_STEPS`."""
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise UsageError(f"The number of steps must be a whole number and at least 1, not {_shown(steps)}.")
    if steps > MOST_STEPS:
        raise UsageError(f"The number of steps must be at most {MOST_STEPS}, not {_shown(steps)}.")


def check_share(name: str, value: object) -> None:
    """Raise `UsageError` unless `value` is None or a number in [0, 1]."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise UsageError(f"{name}={_shown(value)} must lie in [0, 1].")


def check_finite(name: str, value: object) -> None:
    """Raise `UsageError` unless `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _finite(value):
        raise UsageError(f"{name}={_shown(value)} is not a finite number.")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float holds
        return False


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
