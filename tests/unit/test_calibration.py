"""The calibration report: its own arithmetic, and that the committed numbers are what the data give."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd
import pytest

REPORTS = Path(__file__).parents[2] / "reports"
SHARED = Path(os.environ.get("RADL_BENCH_SHARED") or Path(__file__).parents[3] / "shared") / "data"


@pytest.fixture(scope="module")
def calibrate():
    sys.path.insert(0, str(REPORTS))
    try:
        import calibrate

        yield calibrate
    finally:
        sys.path.remove(str(REPORTS))


def scores(calibrate, metric: str, *rows: tuple[float, str]):
    table = pd.DataFrame([(metric, value, reason) for value, reason in rows], columns=["metric", "value", "reason"])
    return calibrate.Scores({}, table)


def test_failures_are_parted_by_what_was_seen(calibrate) -> None:
    rows = (
        (100.0, "cat is left of dog"),
        (0.0, "expected cat left of dog, no dog detected"),
        (0.0, "only one cat detected"),
        (0.0, "expected cat left of dog, but centres differ by +0.10 across and +0.00 down"),
    )
    assert calibrate.split(scores(calibrate, "drawbench_relation", *rows), "drawbench_relation") == (1, 2, 1)


def test_counts_are_parted_by_direction(calibrate) -> None:
    rows = (
        (100.0, "counted 2 car and 1 dog"),
        (0.0, "expected 2 car, counted 1"),
        (0.0, "expected 2 wine glass, counted 0; expected 1 dog, counted 0"),
        (0.0, "expected 2 car, counted 3"),
        (0.0, "expected 2 car, counted 3; expected 1 dog, counted 0"),
    )
    assert calibrate.counts(scores(calibrate, "drawbench_quantity", *rows)) == (1, 2, 2)


def test_relations_of_a_photograph_are_those_of_its_boxes(calibrate) -> None:
    from radl_bench.benchmarks.builders.coco import CocoImage, Thing

    things = (
        Thing("cat", (0.0, 0.0, 0.3, 0.3), False),
        Thing("dog", (0.6, 0.1, 0.9, 0.4), False),
        Thing("car", (0.0, 0.7, 0.2, 0.9), False),
        Thing("car", (0.5, 0.7, 0.7, 0.9), False),
        Thing("cup", (0.02, 0.02, 0.29, 0.3), False),
    )
    sample = calibrate.photo_sample(CocoImage(1, "a.jpg", things))
    found = {(r.subject, r.predicate, r.object) for r in sample.relations}
    # two cars: which of them is meant cannot be said; cat and cup share their centre, a tie
    assert found == {(0, "left of", 1), (1, "right of", 4)}


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "coco_tiny").is_dir(), reason=f"no coco_tiny in {SHARED}")
def test_the_committed_rows_of_photographs_are_what_the_data_give(calibrate, tmp_path) -> None:
    parts, clauses = calibrate.photographs(SHARED, tmp_path)
    text = (REPORTS / "calibration.md").read_text("utf-8")
    assert all(part in text for part in parts)
    passed, unseen, wrong = calibrate.split(clauses, "drawbench_relation")
    assert f"| relations, real photographs | {passed + unseen + wrong} | {passed} | {unseen} | {wrong} |" in text
