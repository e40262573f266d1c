"""Matching and metrics: exact values on small cases, and properties that must hold on any."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radl_bench.errors import UsageError
from radl_bench.scoring.metrics import WHOLE_IMAGE, View, clip_score, iou, success
from radl_bench.scoring.protocol import Boxes, Match, box_iou, match_instances, resolve_protocol, suppress
from radl_bench.types import COLORS, Instance, Sample

STRICT, V1 = resolve_protocol("strict"), resolve_protocol("mig_bench_v1")
LEFT, RIGHT = (0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 1.0, 1.0)
RED_CAR, BLUE_CAR = Instance("a red car", "car", "red", LEFT), Instance("a blue car", "car", "blue", RIGHT)
DOG = Instance("a dog", "dog", None, RIGHT)


def boxes(*rows: tuple[float, ...], scores: list[float] | None = None) -> Boxes:
    return Boxes(np.array(rows, float).reshape(-1, 4), np.array(scores or [0.9] * len(rows)))


def shares(**parts: float) -> np.ndarray:
    return np.array([parts.get(color, 0.0) for color in COLORS])


def view(*triples: tuple[Instance, Match, np.ndarray], **extra) -> View:
    instances, matches, colors = zip(*triples, strict=True)
    sample = Sample("s", "a photo", tuple(instances))
    return View(sample, 0, matches=tuple(matches), shares=np.stack(colors), **extra)


def test_box_iou_by_hand() -> None:
    a = np.array([[0, 0, 0.5, 0.5], [0.2, 0.2, 0.2, 0.9]])
    b = np.array([[0.25, 0.25, 0.75, 0.75], [0, 0, 0.5, 0.5], [0.8, 0.8, 1, 1]])
    assert box_iou(a, b) == pytest.approx(np.array([[0.0625 / 0.4375, 1, 0], [0, 0, 0]]))


def test_suppress_keeps_the_strongest_of_each_heap() -> None:
    found = boxes(LEFT, (0.0, 0.0, 0.41, 1.0), RIGHT, scores=[0.5, 0.8, 0.1])
    kept = suppress(found, 0.8)
    assert kept.scores.tolist() == [0.8, 0.1]
    assert len(suppress(found, 1.0).scores) == 3
    assert len(suppress(boxes(), 0.8).scores) == 0


def test_one_detection_serves_one_instance_in_strict_and_all_in_v1() -> None:
    twins = [RED_CAR, Instance("a red car", "car", "red", (0.02, 0.0, 0.42, 1.0))]
    one = {"car": boxes(LEFT)}
    strict, loose = match_instances(twins, one, STRICT), match_instances(twins, one, V1)
    assert [m.box is not None for m in strict] == [True, False]
    assert strict[1].best_iou == pytest.approx(loose[1].iou)
    assert all(m.box == LEFT for m in loose)


def test_matching_serves_as_many_as_it_can() -> None:
    # greedily the first instance would take the second box (IoU .9), and leave the second instance with nothing
    first, second = (0.0, 0.0, 0.5, 1.0), (0.1, 0.0, 0.65, 1.0)
    instances = [Instance("a car", "car", None, first), Instance("a car", "car", None, second)]
    found = {"car": boxes((0.0, 0.0, 0.3, 1.0), (0.05, 0.0, 0.52, 1.0))}
    got = match_instances(instances, found, STRICT)
    assert [round(m.iou, 3) >= 0.5 for m in got] == [True, True]
    assert got[0].iou < got[0].best_iou


def test_colour_does_not_decide_who_gets_which_box() -> None:
    swapped = match_instances([RED_CAR, BLUE_CAR], {"car": boxes(RIGHT, LEFT)}, STRICT)
    assert [m.box for m in swapped] == [LEFT, RIGHT]


def test_a_detection_that_does_not_touch_is_no_match() -> None:
    (match,) = match_instances([RED_CAR], {"car": boxes(RIGHT)}, STRICT)
    assert match == Match(None, 0.0, 0.0)
    assert match_instances([RED_CAR], {}, STRICT) == [Match(None, 0.0, 0.0)]


unit = st.floats(0, 0.6)
random_box = st.tuples(unit, unit, st.floats(0.1, 0.4), st.floats(0.1, 0.4)).map(
    lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(random_box, min_size=1, max_size=5), st.lists(random_box, max_size=6), st.randoms())
def test_strict_never_shares_a_box_nor_beats_v1_and_order_is_nothing(wanted, seen, random) -> None:
    instances = [Instance("a car", "car", None, box) for box in wanted]
    found = {"car": boxes(*seen)}
    strict, loose = (match_instances(instances, found, p) for p in (STRICT, V1))
    taken = [m.box for m in strict if m.box]
    assert len(taken) <= len(seen)
    assert all(taken.count(box) <= seen.count(box) for box in taken)
    assert all(s.iou <= v.iou + 1e-12 for s, v in zip(strict, loose, strict=True))
    order = random.sample(range(len(seen)), len(seen))
    again = match_instances(instances, {"car": boxes(*(seen[i] for i in order))}, STRICT)
    assert sum(m.iou >= 0.5 for m in again) == sum(m.iou >= 0.5 for m in strict)
    assert sum(m.iou for m in again) == pytest.approx(sum(m.iou for m in strict))


@pytest.mark.parametrize(
    ("overlap", "red", "good", "said"),
    [
        (0.83, 0.64, True, "found with IoU 0.83, 64% red"),
        (0.5, 0.2, True, "IoU 0.50"),
        (0.31, 0.9, False, "expected a red car at [0.00, 0.00, 0.40, 1.00], best IoU 0.31"),
        (0.8, 0.19, False, "of which 19% is red, but 55% blue"),
    ],
)
def test_an_instance_succeeds_in_its_place_with_its_colour(overlap, red, good, said) -> None:
    seen = view((RED_CAR, Match(LEFT, overlap, overlap), shares(red=red, blue=0.55)))
    instance, image = success.rows(seen, STRICT)
    assert instance.value == image.value == (100.0 if good else 0.0)
    assert said in instance.reason
    assert image.instance == WHOLE_IMAGE


def test_reasons_tell_apart_what_went_wrong() -> None:
    seen = view(
        (RED_CAR, Match(None, 0.0, 0.0), shares()),
        (BLUE_CAR, Match(None, 0.0, 0.77), shares()),
        (DOG, Match(RIGHT, 0.9, 0.9), shares()),
    )
    first, second, third, image = success.rows(seen, STRICT)
    assert "no car detected there" in first.reason
    assert "which another instance has" in second.reason
    assert third.value == 100.0
    assert (image.value, image.reason) == (0.0, "1 of 3 instances right")


def test_colour_gates_iou_in_v1_only() -> None:
    wrong = (RED_CAR, Match(LEFT, 0.9, 0.9), shares(red=0.1))
    off = (BLUE_CAR, Match(RIGHT, 0.49, 0.49), shares())
    seen = view(wrong, off)
    assert [row.value for row in iou.rows(seen, STRICT)] == pytest.approx([90.0, 49.0])
    assert [row.value for row in iou.rows(seen, V1)] == pytest.approx([0.0, 49.0])


def test_clip_rows_are_hundred_times_the_cosines() -> None:
    seen = view((RED_CAR, Match(None, 0, 0), shares()), clip=0.25, local_clip=(0.3,))
    whole, crop = clip_score.rows(seen, STRICT)
    assert (whole.metric, whole.value, crop.metric, crop.value) == ("clip", 25.0, "local_clip", pytest.approx(30.0))


@pytest.mark.parametrize("metric", [success, iou, clip_score])
def test_an_image_without_evidence_gives_nan_rows_that_say_why(metric) -> None:
    rows = metric.rows(View(Sample("s", "p", (RED_CAR, DOG)), 0, problem="the file is gone"), STRICT)
    assert rows
    assert all(math.isnan(row.value) and row.reason == "no image: the file is gone" for row in rows)
    assert {row.metric for row in rows} == {spec.name for spec in metric.METRIC.scores}


def test_protocols_take_thresholds_and_refuse_nonsense() -> None:
    assert resolve_protocol("strict", iou=0.6, nms=None).iou == 0.6
    with pytest.raises(UsageError, match="Did you mean 'strict'"):
        resolve_protocol("strikt")
    with pytest.raises(UsageError, match="from 0 to 1"):
        resolve_protocol("strict", iou=60)
