"""Relations of boxes, draws that depend on a key alone, and rounding."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radl_bench.benchmarks.builders.draw import grid, pick, ranked
from radl_bench.benchmarks.builders.geometry import relation

RELATIONS = [
    ((0.0, 0.4, 0.2, 0.6), (0.6, 0.4, 0.9, 0.6), "left of"),
    ((0.6, 0.4, 0.9, 0.6), (0.0, 0.4, 0.2, 0.6), "right of"),
    ((0.4, 0.0, 0.6, 0.2), (0.4, 0.6, 0.6, 0.9), "above"),
    ((0.4, 0.6, 0.6, 0.9), (0.4, 0.0, 0.6, 0.2), "below"),
    ((0.4, 0.3, 0.6, 0.65), (0.1, 0.6, 0.9, 1.0), "on top of"),
    ((0.4, 0.3, 0.6, 0.9), (0.1, 0.6, 0.9, 1.0), None),  # it reaches below the middle
    ((0.0, 0.3, 1.0, 0.65), (0.1, 0.6, 0.9, 1.0), "above"),  # wider than what it would stand on
    ((0.2, 0.2, 0.8, 0.8), (0.3, 0.3, 0.7, 0.7), None),  # around it
    ((0.0, 0.0, 0.5, 0.5), (0.4, 0.4, 0.9, 0.9), None),  # neither axis leads
]


@pytest.mark.parametrize(("a", "b", "predicate"), RELATIONS)
def test_relations_of_boxes(a, b, predicate):
    assert relation(a, b) == predicate


SIDES = st.tuples(*[st.floats(0, 1)] * 4).map(lambda v: (*sorted(v[::2]), *sorted(v[1::2])))
BOXES = SIDES.map(lambda v: (v[0], v[2], v[1], v[3])).filter(lambda b: b[2] - b[0] > 0.01 and b[3] - b[1] > 0.01)


@given(BOXES, BOXES)
def test_relations_turn_with_the_pair_and_with_the_picture(a, b):
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above", None: None}
    found = relation(a, b)
    if "on top of" not in (found, relation(b, a)):
        assert relation(b, a) == opposite[found]
        mirrored = relation(*((1 - x1, y0, 1 - x0, y1) for x0, y0, x1, y1 in (a, b)))
        # Where a share or the distances are at the border, the last bit of a mirrored number decides.
        if all(abs(v - 0.25) > 1e-6 for v in _shares(a, b)) and abs(_distance(a, b, 0) - _distance(a, b, 1)) > 1e-6:
            assert mirrored in (found if found in ("above", "below", None) else opposite[found], "on top of")
    if found == "on top of":
        assert a[1] < b[1]


def _distance(a, b, axis):
    return abs(a[axis] + a[axis + 2] - b[axis] - b[axis + 2])


def _shares(a, b):
    return [max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) / min(a[i + 2] - a[i], b[i + 2] - b[i]) for i in (0, 1)]


@given(st.sets(st.integers(0, 10**6), min_size=3), st.integers(0, 99))
def test_a_key_more_leaves_the_order_of_the_others(keys, seed):
    order = ranked(keys, seed, "x")
    gone = order[1]
    assert ranked(keys - {gone}, seed, "x") == [key for key in order if key != gone]


def test_picks_are_even():
    counts = Counter(pick(7, 1, "colour", key) for key in range(7000))
    assert all(abs(count - 1000) < 4 * 29.3 for count in counts.values())  # standard deviation 29.3


@given(BOXES)
def test_rounding_goes_outwards_and_stays_in_the_image(box):
    rounded = grid(box)
    assert all(0 <= v <= 1 and round(v, 4) == v for v in rounded)
    assert rounded[0] <= box[0] <= box[2] <= rounded[2]
    assert rounded == pytest.approx(box, abs=1.1e-4)
