"""Crowded layouts lie as the annotations of COCO do; without their habits the sampler is the plain one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from radl_bench.benchmarks.builders.geometry import relation
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.mini.crowds import CrowdedSampler
from radl_bench.mini.layouts import LayoutSampler
from radl_bench.mini.wrong import lookalikes
from radl_bench.types import Sample
from radl_model.verbs.extract import extract_verbs

SIX = (0, 0, 0, 0, 0, 1)


def habits(samples: list[Sample]) -> tuple[float, float, float]:
    """Mean number of classes; median of the aspect, log2 of width by height; median of the share under another box."""
    classes, aspects, covered = [], [], []
    for sample in samples:
        boxes = np.array([i.box for i in sample.instances])
        sides = boxes[:, 2:] - boxes[:, :2]
        meet = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) - np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        shared = meet.clip(min=0).prod(-1) / sides.prod(-1)[:, None]
        np.fill_diagonal(shared, 0)
        classes.append(len({i.category for i in sample.instances}))
        aspects += list(np.abs(np.log2(sides[:, 0] / sides[:, 1])))
        covered += list(shared.max(1))
    return float(np.mean(classes)), float(np.median(aspects)), float(np.median(covered))


def test_without_habits_the_layouts_are_the_plain_ones():
    plain, crowds = LayoutSampler(9, relations=0.5), CrowdedSampler(9, relations=0.5)
    assert [plain.sample() for _ in range(40)] == [crowds.sample() for _ in range(40)]


def test_a_crowd_lies_as_coco_s_annotations_do_and_a_plain_layout_does_not():
    wanted = habits([s for s in load_benchmark("coco-mig").samples if s.level == 6])
    crowds = CrowdedSampler(5, crowded=0.6, repeat=0.6, level_weights=SIX, relations=0)
    plain = LayoutSampler(5, level_weights=SIX, relations=0)
    assert habits([crowds.sample() for _ in range(200)]) == pytest.approx(wanted, rel=0.35)
    assert np.abs(np.array(habits([plain.sample() for _ in range(200)])) / wanted - 1).min() > 0.25


def test_repeated_classes_are_of_the_same_layout():
    sampler = CrowdedSampler(2, repeat=1.0, level_weights=SIX, relations=0)
    drawn = [{i.category for i in sampler.sample().instances} for _ in range(20)]
    assert all(len(classes) == 1 for classes in drawn)
    assert len(set.union(*drawn)) > 5


def test_things_that_look_alike_follow_each_other():
    sampler = CrowdedSampler(2, alike=1.0, level_weights=SIX, relations=0)
    for _ in range(20):
        things = [i.category for i in sampler.sample().instances]
        assert all(b in lookalikes(a) for a, b in pairwise(things))


def test_a_caption_tells_relations_that_hold_and_natural_colours_are_not_told():
    sampler = CrowdedSampler(3, natural=0.5, told=1.0, level_weights=(0, 1, 1, 1, 1, 1), relations=0)
    drawn = [sampler.sample() for _ in range(60)]
    for sample in drawn:
        for told in sample.relations:
            subject, goal = sample.instances[told.subject], sample.instances[told.object]
            assert relation(subject.box, goal.box) == told.predicate
            assert f"{subject.phrase} {told.predicate} {goal.phrase}" in sample.prompt
        assert sample.verbs == extract_verbs(sample.prompt)
    assert sum(len(s.relations) for s in drawn) > 60
    assert 20 <= sum(all(i.color is None for i in s.instances) for s in drawn) <= 40
