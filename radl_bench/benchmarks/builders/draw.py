"""Drawing under a seed, with the same outcome on every machine and version of Python; rounding of boxes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from hashlib import sha256
from typing import TypeVar

from radl_bench.types import Box

T = TypeVar("T")
GRID = 10_000


def grid(box: Box) -> Box:
    """Round to four decimals, outwards, so that no side falls under a limit by rounding; clipped to the image."""
    x0, y0 = (max(0.0, math.floor(v * GRID) / GRID) for v in box[:2])
    x1, y1 = (min(1.0, math.ceil(v * GRID) / GRID) for v in box[2:])
    return x0, y0, x1, y1


def shuffled(items: Iterable[T], rng: random.Random) -> list[T]:
    """Return the items in random order. Equal draws do not occur, and items must be comparable only if they did."""
    # Only `random()` gives the same numbers in every version of Python; `shuffle` and `choice` promise less.
    return [item for _, item in sorted((rng.random(), item) for item in items)]  # type: ignore[type-var]


def ranked(keys: Iterable[int], seed: int, purpose: str) -> list[int]:
    """Return the keys in an order that depends on each key alone: a key more or less leaves the others in place.

    Args:
        purpose: a word that keeps two draws with the same seed apart.
    """
    return sorted(keys, key=lambda key: sha256(f"{seed}:{purpose}:{key}".encode()).digest())


def pick(count: int, seed: int, purpose: str, key: int) -> int:
    """Return a number in 0..count-1 that depends on seed, purpose and key alone."""
    digest = sha256(f"{seed}:{purpose}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % count
