"""Kinds of failure on pictures made by hand: each definition once, and what it must not take for itself."""

from __future__ import annotations

import numpy as np
import pytest

from radl_bench.report.figures_failures import KINDS, failure_kinds, failure_shares
from radl_bench.report.figures_judge import by_color, by_size, sensitivity, trust
from radl_bench.report.figures_views import Seen, right_boxes
from radl_bench.scoring.metrics import View
from radl_bench.scoring.protocol import PROTOCOLS, Boxes, match_instances
from radl_bench.types import COLORS, Instance, Sample

RULES = PROTOCOLS["strict"]
LEFT, RIGHT, BOTH, AWAY = (0.0, 0.0, 0.4, 0.4), (0.4, 0.0, 0.8, 0.4), (0.0, 0.0, 0.8, 0.4), (0.6, 0.6, 0.9, 0.9)


def _view(wanted, found, red=1.0, problem=None) -> View:
    """A view of red things: `wanted` is (category, box), `found` is (category, box, score)."""
    sample = Sample("s", "a prompt", tuple(Instance(f"a red {c}", c, "red", box) for c, box in wanted))
    if problem:
        return View(sample, 0, problem)
    seen = {}
    for category in {c for c, _ in wanted}:
        of = [(box, score) for c, box, score in found if c == category]
        seen[category] = Boxes(np.array([b for b, _ in of], float).reshape(-1, 4), np.array([s for _, s in of], float))
    strong = {category: boxes.above(RULES.score) for category, boxes in seen.items()}
    matches = tuple(match_instances(sample.instances, strong, RULES))
    shares = np.zeros((len(wanted), len(COLORS)))
    shares[:, COLORS.index("red")] = [red if match.box else 0.0 for match in matches]
    return View(sample, 0, None, seen, matches, shares)


def _kinds(view: View) -> list[str]:
    (strong,) = Seen((view,), RULES).strong
    return failure_kinds(view, strong, RULES)


CAR_LEFT, CAR_RIGHT, DOG_RIGHT = ("car", LEFT), ("car", RIGHT), ("dog", RIGHT)


@pytest.mark.parametrize(
    ("wanted", "found", "kinds"),
    [
        ([CAR_LEFT], [("car", LEFT, 0.9)], ["right"]),
        ([CAR_LEFT], [("car", AWAY, 0.9)], ["misplaced"]),
        ([CAR_LEFT], [], ["missed"]),
        ([CAR_LEFT], [("car", LEFT, 0.2)], ["missed"]),  # under the least score: not seen
        ([CAR_LEFT, DOG_RIGHT], [("car", LEFT, 0.9)], ["right", "missed"]),
        ([CAR_LEFT, CAR_RIGHT], [("car", LEFT, 0.9)], ["right", "missed"]),  # the only car is the other's
        ([CAR_LEFT, CAR_RIGHT], [("car", LEFT, 0.9), ("car", AWAY, 0.9)], ["right", "misplaced"]),
        ([CAR_LEFT, CAR_RIGHT], [("car", BOTH, 0.9)], ["right", "merged"]),  # IoU .5 with both, but it serves one
        ([("car", (0, 0, 0.2, 0.4)), ("car", (0.6, 0, 0.8, 0.4))], [("car", BOTH, 0.9)], ["merged", "merged"]),
        ([("car", (0, 0, 0.2, 0.4)), ("dog", (0.6, 0, 0.8, 0.4))], [("car", BOTH, 0.9)], ["misplaced", "missed"]),
    ],
)
def test_each_kind(wanted, found, kinds):
    assert _kinds(_view(wanted, found)) == kinds


def test_the_wrong_colour_counts_only_in_place():
    assert _kinds(_view([CAR_LEFT], [("car", LEFT, 0.9)], red=0.1)) == ["wrong colour"]
    assert _kinds(_view([CAR_LEFT], [("car", AWAY, 0.9)], red=0.1)) == ["misplaced"]


def test_a_picture_that_is_not_there_fails_all_its_objects():
    view = _view([CAR_LEFT, DOG_RIGHT], [], problem="generating it failed")
    assert _kinds(view) == ["no image", "no image"]


def test_shares_count_objects_and_sum_to_a_hundred():
    views = (_view([CAR_LEFT], [("car", LEFT, 0.9)]), _view([CAR_LEFT, DOG_RIGHT], [], problem="gone"))
    shares = failure_shares(Seen(views, RULES))
    assert tuple(shares) == KINDS
    assert shares["right"] == pytest.approx(100 / 3)
    assert shares["no image"] == pytest.approx(200 / 3)


def test_a_missing_picture_lowers_every_curve():
    views = (_view([CAR_LEFT], [("car", LEFT, 0.9)]), _view([CAR_LEFT], [], problem="gone"))
    for name in ("iou", "coverage", "score"):
        steps, values = sensitivity(Seen(views, RULES), name)
        assert values[0] == 50.0
        assert np.all(np.diff(steps) > 0)


def test_the_curve_over_scores_falls_where_the_detection_drops_out():
    steps, values = sensitivity(Seen((_view([CAR_LEFT], [("car", LEFT, 0.52)]),), RULES), "score")
    assert [float(v) for s, v in zip(steps, values, strict=True) if s in (0.5, 0.55)] == [100.0, 0.0]


def test_a_wanted_object_makes_one_detection_right():
    view = _view([CAR_LEFT], [("car", LEFT, 0.9), ("car", LEFT, 0.6), ("car", AWAY, 0.7)])
    assert right_boxes(view, "car", RULES.iou).tolist() == [True, False, False]
    rates = trust(Seen((view,), RULES))
    assert [(rate.x, rate.value, rate.n) for rate in rates] == [(0.6, 0.0, 1), (0.7, 0.0, 1), (0.9, 100.0, 1)]


def test_the_judge_by_size_and_colour():
    views = (
        _view([("car", (0, 0, 0.1, 0.1)), ("dog", BOTH)], [("dog", BOTH, 0.9)]),
        _view([("cup", (0, 0, 0.2, 0.1))], []),
    )
    assert [(rate.x, rate.value, rate.n) for rate in by_size(Seen(views, RULES), groups=2)] == [
        ("1–2", 0.0, 2),
        ("32", 100.0, 1),
    ]
    assert [(rate.x, rate.n) for rate in by_color(Seen(views, RULES))] == [("red", 3)]
    assert by_color(Seen(views, RULES))[0].value == pytest.approx(100 / 3)
