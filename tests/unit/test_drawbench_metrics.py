"""Attribute, quantity and relation: exact verdicts on small scenes, and properties that hold on any."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radl_bench.scoring.metrics import WHOLE_IMAGE, View, attribute, quantity, relation
from radl_bench.scoring.metrics.relation import canonical, holds
from radl_bench.scoring.protocol import Boxes, resolve_protocol
from radl_bench.types import COLORS, Instance, Relation, Sample

STRICT = resolve_protocol("strict")
LEFT, RIGHT = (0.0, 0.3, 0.4, 0.7), (0.6, 0.3, 1.0, 0.7)
PREDICATES = ("left of", "right of", "above", "below", "on top of", "under", "next to")


def boxes(*rows: tuple[float, ...], scores: list[float] | None = None) -> Boxes:
    return Boxes(np.array(rows, float).reshape(-1, 4), np.array(scores or [0.9] * len(rows)))


def shares(*colors: str) -> np.ndarray:
    """One row a detection, all of it in that colour."""
    return np.array([[float(name == color) for name in COLORS] for color in colors]).reshape(-1, len(COLORS))


def thing(category: str, color: str | None = None, box=LEFT) -> Instance:
    return Instance(f"a {color or ''} {category}", category, color, box)


def sample(*instances: Instance, tag: str = "", relations: tuple[Relation, ...] = ()) -> Sample:
    return Sample("s", "a prompt", instances, relations, tags=(tag,) if tag else ())


def values(rows) -> list[float]:
    return [row.value for row in rows]


# attribute -----------------------------------------------------------------------------------------------------------


def test_a_colour_counts_wherever_the_thing_lies() -> None:
    wanted = sample(thing("car", "red"), thing("cow", "blue", RIGHT), tag="attribute")
    seen = {"car": shares("red"), "cow": shares("green")}
    rows = attribute.rows(View(wanted, 0, object_shares=seen), STRICT)
    assert [(r.instance, r.value) for r in rows] == [(0, 100.0), (1, 0.0)]
    assert rows[1].reason == "expected a blue cow, found a cow of which 0% is blue, but 100% green"


def test_two_of_a_class_share_its_detections_for_the_best() -> None:
    wanted = sample(thing("car", "red"), thing("car", "blue", RIGHT), tag="attribute")
    verdict = lambda *found: values(attribute.rows(View(wanted, 0, object_shares={"car": shares(*found)}), STRICT))  # noqa: E731
    assert verdict("blue", "red") == [100.0, 100.0]
    assert sorted(verdict("red", "red")) == [0.0, 100.0]
    assert sorted(verdict("blue")) == [0.0, 100.0]
    assert verdict() == [0.0, 0.0]


def test_coverage_is_the_protocols_and_a_free_colour_gives_no_row() -> None:
    share = np.zeros((1, 7))
    share[0, COLORS.index("red")] = 0.2
    wanted = sample(thing("car", "red"), thing("cow"), tag="attribute")
    seen = {"car": share}
    assert values(attribute.rows(View(wanted, 0, object_shares=seen), STRICT)) == [100.0]
    assert values(attribute.rows(View(wanted, 0, object_shares=seen), resolve_protocol("strict", coverage=0.21))) == [0]


# quantity ------------------------------------------------------------------------------------------------------------


def counted(found: dict[str, Boxes], *, cars: int = 2, dogs: int = 0) -> float:
    wanted = sample(*[thing("car")] * cars, *[thing("dog")] * dogs, tag="quantity")
    (row,) = quantity.rows(View(wanted, 0, found=found), STRICT)
    assert row.instance == WHOLE_IMAGE
    return row.value


def test_the_count_must_be_exact_and_weak_detections_are_none() -> None:
    assert counted({"car": boxes(LEFT, RIGHT)}) == 100.0
    assert counted({"car": boxes(LEFT, RIGHT, scores=[0.9, 0.34])}) == 0.0
    assert counted({"car": boxes(LEFT, RIGHT, (0.4, 0.8, 0.6, 1.0))}) == 0.0
    assert counted({}) == 0.0


def test_every_class_must_have_its_number_and_others_are_free() -> None:
    found = {"car": boxes(LEFT, RIGHT), "dog": boxes((0.4, 0.8, 0.6, 1.0)), "cat": boxes(LEFT)}
    assert counted(found, cars=2, dogs=1) == 100.0
    assert counted(found, cars=2, dogs=2) == 0.0


def test_a_thing_is_counted_once_whatever_it_is_taken_for() -> None:
    near = (0.02, 0.3, 0.42, 0.7)
    found = {"car": boxes(LEFT, RIGHT, (0.0, 0.8, 0.2, 1.0), scores=[0.9, 0.9, 0.5]), "dog": boxes(near, scores=[0.8])}
    assert counted(found, cars=3, dogs=0) == 100.0
    assert counted(found, cars=3, dogs=1) == 0.0  # the dog is the left car again, and weaker
    strong = found | {"dog": boxes(near, scores=[0.95])}
    assert counted(strong, cars=2, dogs=1) == 100.0
    assert counted(strong, cars=3, dogs=0) == 100.0  # nobody asked for dogs


# relation ------------------------------------------------------------------------------------------------------------

UP, DOWN = (0.3, 0.0, 0.7, 0.4), (0.3, 0.45, 0.7, 0.9)


@pytest.mark.parametrize(
    ("predicate", "subject", "other", "verdict"),
    [
        ("left of", LEFT, RIGHT, True),
        ("left of", RIGHT, LEFT, False),
        ("right of", RIGHT, LEFT, True),
        ("above", UP, DOWN, True),
        ("below", DOWN, UP, True),
        ("above", LEFT, RIGHT, False),
        # centres 0.05 apart are a tie, in both directions; a hair more is not
        ("left of", (0.0, 0.0, 0.4, 0.4), (0.05, 0.0, 0.45, 0.4), False),
        ("right of", (0.05, 0.0, 0.45, 0.4), (0.0, 0.0, 0.4, 0.4), False),
        ("left of", (0.0, 0.0, 0.4, 0.4), (0.0501, 0.0, 0.4501, 0.4), True),
        ("on top of", UP, DOWN, True),
        ("on top of", DOWN, UP, False),
        # above, but beside it, and above, but a long way up
        ("on top of", (0.0, 0.0, 0.2, 0.4), (0.6, 0.45, 1.0, 0.9), False),
        ("on top of", (0.3, 0.0, 0.7, 0.1), (0.3, 0.31, 0.7, 0.9), False),
        ("on top of", (0.3, 0.0, 0.7, 0.1), (0.3, 0.3, 0.7, 0.9), True),
        ("under", DOWN, UP, True),
        ("under", (0.3, 0.8, 0.7, 1.0), (0.3, 0.0, 0.7, 0.1), True),
        ("under", (0.7, 0.8, 1.0, 1.0), (0.0, 0.0, 0.3, 0.1), False),
        ("next to", (0.1, 0.3, 0.4, 0.7), (0.5, 0.3, 0.9, 0.7), True),
        ("next to", (0.0, 0.3, 0.2, 0.7), (0.8, 0.3, 1.0, 0.7), False),
        ("next to", UP, DOWN, False),
    ],
)
def test_relations_by_hand(predicate, subject, other, verdict) -> None:
    assert holds(predicate, subject, other, STRICT) is verdict


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("on the left of", "left of"),
        ("to the  right of", "right of"),
        ("Underneath", "under"),
        ("on", "on top of"),
        ("on the top of", "on top of"),
        ("beside", "next to"),
        ("leaning against", None),
    ],
)
def test_wordings_of_a_predicate(words, rule) -> None:
    assert canonical(words) == rule


def verdict(found: dict[str, Boxes], predicate: str = "left of", categories=("cat", "dog"), protocol=STRICT):
    wanted = sample(*map(thing, categories), tag="relation", relations=(Relation(0, predicate, 1),))
    return relation.rows(View(wanted, 0, found=found), protocol)


def test_the_strongest_detection_of_a_class_decides() -> None:
    found = {"cat": boxes(RIGHT, LEFT, scores=[0.9, 0.8]), "dog": boxes(UP)}
    (row,) = verdict(found)
    assert (row.instance, row.value) == (0, 0.0)
    assert row.reason == "expected cat left of dog, but centres differ by -0.30 across and -0.30 down"
    assert values(verdict(found, "right of")) == [100.0]


def test_what_is_not_seen_has_no_place() -> None:
    assert verdict({"cat": boxes(LEFT)})[0].reason == "expected cat left of dog, no dog detected"
    assert values(verdict({"cat": boxes(LEFT), "dog": boxes(RIGHT, scores=[0.2])})) == [0.0]


def test_two_of_one_class_need_two_detections() -> None:
    twins = ("cat", "cat")
    assert values(verdict({"cat": boxes(LEFT, RIGHT)}, categories=twins)) == [100.0]
    assert values(verdict({"cat": boxes(RIGHT, LEFT)}, categories=twins)) == [100.0]
    assert values(verdict({"cat": boxes(LEFT)}, categories=twins)) == [0.0]
    assert values(verdict({"cat": boxes(UP, DOWN)}, categories=twins)) == [0.0]


def test_the_margin_is_the_protocols_and_an_unknown_predicate_gives_no_row() -> None:
    found = {"cat": boxes(LEFT), "dog": boxes(RIGHT)}
    assert values(verdict(found, protocol=resolve_protocol("strict", margin=0.7))) == [0.0]
    assert verdict(found, "leaning against") == []


side = st.integers(0, 18).flatmap(lambda low: st.tuples(st.just(low), st.integers(low + 1, 20)))


@st.composite
def box(draw):
    (x0, x1), (y0, y1) = draw(side), draw(side)
    return x0 / 20, y0 / 20, x1 / 20, y1 / 20


def mirrored(b):
    return 1 - b[2], b[1], 1 - b[0], b[3]


def flipped(b):
    return b[0], 1 - b[3], b[2], 1 - b[1]


def turned(b):
    """Clockwise by a quarter: what was up is right."""
    return 1 - b[3], b[0], 1 - b[1], b[2]


def truth(a, b) -> dict[str, bool]:
    return {p: holds(p, a, b, STRICT) for p in PREDICATES}


@settings(max_examples=300, deadline=None)
@given(box(), box())
def test_turning_the_scene_turns_the_relations(a, b) -> None:
    here, mirror, flip, turn = truth(a, b), *(truth(f(a), f(b)) for f in (mirrored, flipped, turned))
    swapped = {"left of": "right of", "right of": "left of"}
    assert mirror == {p: here[swapped.get(p, p)] for p in PREDICATES}
    assert (flip["above"], flip["below"]) == (here["below"], here["above"])
    assert all(flip[p] == here[p] for p in ("left of", "right of", "next to"))
    assert (turn["right of"], turn["left of"]) == (here["above"], here["below"])
    assert (turn["below"], turn["above"]) == (here["right of"], here["left of"])


@settings(max_examples=300, deadline=None)
@given(box(), box())
def test_relations_agree_with_each_other(a, b) -> None:
    here, back = truth(a, b), truth(b, a)
    assert (here["left of"], here["above"]) == (back["right of"], back["below"])
    assert here["next to"] == back["next to"]
    assert not (here["left of"] and here["right of"])
    assert not (here["above"] and here["below"])
    assert here["above"] or not here["on top of"]
    assert here["below"] or not here["under"]
    assert back["under"] or not here["on top of"]
    assert not any(truth(a, a).values())


# what all three share ------------------------------------------------------------------------------------------------

METRICS = (attribute, quantity, relation)


def test_a_tag_chooses_the_clauses_and_without_one_numbers_are_free() -> None:
    instances = (thing("cat", "red"), thing("dog", "blue", RIGHT))
    rows = {}
    for tag in ("attribute", "quantity", "relation", ""):
        wanted = sample(*instances, tag=tag, relations=(Relation(0, "left of", 1),))
        rows[tag] = [len(metric.rows(View(wanted, 0), STRICT)) for metric in METRICS]
    assert rows == {"attribute": [2, 0, 0], "quantity": [0, 1, 0], "relation": [0, 0, 1], "": [2, 0, 1]}


def test_an_image_that_is_not_there_is_a_row_without_a_value() -> None:
    wanted = sample(thing("cat", "red"), thing("dog", None, RIGHT), relations=(Relation(0, "left of", 1),))
    for metric, number in zip(METRICS, (1, 0, 1), strict=True):
        rows = metric.rows(View(wanted, 0, "it is gone"), STRICT)
        assert len(rows) == number
        assert all(math.isnan(r.value) and r.reason == "no image: it is gone" for r in rows)
