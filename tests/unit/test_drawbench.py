"""The embedded DrawBench: what it promises, and that its script makes exactly these bytes."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from radl_bench.benchmarks.importers import samples_bytes
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.mini.atlas import CATEGORIES
from radl_bench.scoring.metrics import View, attribute, quantity, relation
from radl_bench.scoring.metrics.relation import canonical, holds
from radl_bench.scoring.protocol import box_iou, resolve_protocol
from radl_bench.types import COLORS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).parents[2] / "benchmarks" / "drawbench"
STRICT = resolve_protocol("strict")


@pytest.fixture(scope="module")
def samples():
    return load_benchmark("drawbench").samples


def test_twenty_of_each_kind_in_turn(samples) -> None:
    assert [s.tags[0] for s in samples] == ["attribute", "quantity", "relation"] * 20
    assert len({s.prompt for s in samples}) == 60
    assert {i.category for s in samples for i in s.instances} <= set(CATEGORIES)


def test_every_colour_comes_about_as_often(samples) -> None:
    counts = Counter(i.color for s in samples if "attribute" in s.tags for i in s.instances)
    assert set(counts) == set(COLORS)
    assert set(counts.values()) == {4, 5}
    assert all(i.color is None for s in samples if "attribute" not in s.tags for i in s.instances)


def test_phrases_are_what_the_prompt_says(samples) -> None:
    for sample in samples:
        text = sample.prompt.lower()
        for instance in sample.instances:
            words = instance.category if "quantity" in sample.tags else instance.phrase
            assert words in text
        assert bool(sample.verbs) == bool(sample.relations)
        assert sample.verbs in text


def test_boxes_do_not_overlap_and_relations_hold_between_them(samples) -> None:
    predicates = Counter(canonical(r.predicate) for s in samples for r in s.relations)
    assert set(predicates) == {"left of", "right of", "above", "below", "on top of", "under", "next to"}
    for sample in samples:
        boxes = [i.box for i in sample.instances]
        assert all(min(b[2] - b[0], b[3] - b[1]) >= 0.125 for b in boxes)
        assert all(box_iou(np.array([a]), np.array([b])).item() == 0 for a, b in combinations(boxes, 2))
        for r in sample.relations:
            assert holds(r.predicate, boxes[r.subject], boxes[r.object], STRICT), sample.prompt


def test_a_sample_has_clauses_of_its_own_kind_alone(samples) -> None:
    units = {"attribute": 0, "quantity": 0, "relation": 0}
    for sample in samples:
        lost = View(sample, 0, "not made")
        rows = {m.METRIC.name: m.rows(lost, STRICT) for m in (attribute, quantity, relation)}
        assert [name for name, r in rows.items() if r] == list(sample.tags)
        units[sample.tags[0]] += len(rows[sample.tags[0]])
    assert units == {"attribute": 30, "quantity": 20, "relation": 20}


def test_the_script_makes_these_bytes() -> None:
    spec = importlib.util.spec_from_file_location("build_drawbench", FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    made = build.build()
    assert samples_bytes(made) == (FOLDER / "samples.jsonl").read_bytes()
    fields = tomllib.loads((FOLDER / "benchmark.toml").read_text("utf-8"))
    assert {key: fields[key] for key in build.FIELDS} == build.FIELDS
    assert fields["metrics"] == build.METRICS
