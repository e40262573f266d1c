"""Which relation two boxes are in, where there can be no two opinions about it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from radl_bench.types import Box, Relation

MOST_SHARED = 0.25
"""Beside or above each other are boxes that share at most this part of the shorter extent along that axis."""


def relation(a: Box, b: Box) -> str | None:
    """Return the predicate of "a ... b", or None where the boxes do not settle it.

    `on top of`: the lower edge of `a` lies in the upper half of `b`, its centre above `b` and between the sides of `b`,
    and it is not the wider one. `left of`, `right of`, `above`, `below`: along that axis the boxes share at most a
    quarter of the shorter extent, and their centres lie farther apart along it than along the other.
    """
    (ax, ay), (bx, by) = _centre(a), _centre(b)
    if ay < b[1] <= a[3] <= by and b[0] <= ax <= b[2] and a[2] - a[0] <= b[2] - b[0]:
        return "on top of"
    if abs(ax - bx) > abs(ay - by) and _shared(a, b, 0) <= MOST_SHARED:
        return "left of" if ax < bx else "right of"
    if abs(ay - by) > abs(ax - bx) and _shared(a, b, 1) <= MOST_SHARED:
        return "above" if ay < by else "below"
    return None


def arranged(things: Sequence[tuple[str, Box]]) -> tuple[list[int], tuple[Relation, ...]]:
    """Return an order of the things, those in a relation first and in pairs, and the relations in that order.

    No thing is in two pairs; pairs of unlike classes come before those of like ones.

    Args:
        things: class and box of each, in the order in which they are to be considered.
    """
    ends = sorted(permutations(range(len(things)), 2), key=lambda pair: things[pair[0]][0] == things[pair[1]][0])
    order: list[int] = []
    predicates: list[str] = []
    for i, j in ends:
        predicate = relation(things[i][1], things[j][1])
        if predicate and i not in order and j not in order:
            order += [i, j]
            predicates.append(predicate)
    order += [i for i in range(len(things)) if i not in order]
    return order, tuple(Relation(2 * k, predicate, 2 * k + 1) for k, predicate in enumerate(predicates))


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _shared(a: Box, b: Box, axis: int) -> float:
    """Shared extent along an axis over the shorter of the two."""
    common = min(a[axis + 2], b[axis + 2]) - max(a[axis], b[axis])
    return max(common, 0.0) / min(a[axis + 2] - a[axis], b[axis + 2] - b[axis])
