"""The sprite world: what is drawn is what was asked for, and the colour rule can tell."""

from __future__ import annotations

import numpy as np
import pytest

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import UsageError
from radl_bench.judges.color import color_masks
from radl_bench.mini.atlas import CATEGORIES, sprite
from radl_bench.mini.layouts import MIN_SIDE, LayoutSampler
from radl_bench.mini.scenes import render
from radl_bench.types import COLORS, Instance, Relation, Sample

FULL = (0.1, 0.1, 0.9, 0.9)


def one(category: str = "cat", color: str | None = "red", box=FULL) -> Sample:
    return Sample("s", f"a {color} {category}", (Instance(f"a {color} {category}", category, color, box),))


def test_the_atlas_has_every_class_of_the_benchmark():
    wanted = {i.category for s in load_benchmark("coco-mig").samples for i in s.instances}
    assert len(CATEGORIES) == 79
    assert wanted <= set(CATEGORIES)
    with pytest.raises(UsageError, match="Did you mean 'cat'"):
        sprite("catt")


@pytest.mark.parametrize("color", COLORS)
def test_a_recoloured_sprite_has_its_colour_and_no_other_beyond_the_rule(color):
    shares = []
    for category in CATEGORIES:
        tile = sprite(category, color)
        solid = tile[..., 3] > 200
        masks = color_masks(np.ascontiguousarray(tile[..., :3]))
        own = {name: (masks[i] & solid).sum() / solid.sum() for i, name in enumerate(COLORS)}
        assert own[color] >= 0.2, (category, own)  # the benchmark's own threshold
        assert all(share < 0.2 for name, share in own.items() if name != color), (category, own)
        shares.append(own[color])
    assert np.mean(shares) >= 0.7


def test_a_background_has_none_of_the_colours():
    for seed in range(200):
        scene = render(Sample("empty", "", ()), seed)
        assert color_masks(scene).mean((1, 2)).max() < 0.005, seed


def test_a_scene_depends_on_sample_and_seed_alone():
    sample = LayoutSampler(5).sample()
    assert np.array_equal(render(sample, 3), render(sample, 3))
    assert not np.array_equal(render(sample, 3), render(sample, 4))
    assert render(sample, 3, size=256).shape == (256, 256, 3)


def test_a_sprite_fills_its_box_and_nothing_else():
    scene = render(one(box=(0.25, 0.5, 0.75, 0.875)), 0)
    rows, columns = np.nonzero(color_masks(scene)[COLORS.index("red")])
    extent = (columns.min() / 128, rows.min() / 128, (columns.max() + 1) / 128, (rows.max() + 1) / 128)
    assert np.abs(np.subtract(extent, (0.25, 0.5, 0.75, 0.875))).max() <= 3 / 128


def test_small_things_are_drawn_over_large_ones():
    large = Instance("a red bed", "bed", "red", (0.0, 0.0, 1.0, 1.0))
    small = Instance("a blue orange", "orange", "blue", (0.4, 0.4, 0.6, 0.6))
    blue = COLORS.index("blue")
    for order in ((large, small), (small, large)):
        assert color_masks(render(Sample("s", "", order), 0))[blue, 58:70, 58:70].mean() > 0.8


def test_relations_change_the_drawing():
    pair = (
        Instance("a red fork", "fork", "red", (0.05, 0.2, 0.45, 0.8)),
        Instance("a blue oven", "oven", "blue", (0.5, 0.2, 0.95, 0.8)),
    )
    plain = render(Sample("s", "", pair), 1)
    leaning = render(Sample("s", "", pair, (Relation(0, "leaning against", 1),)), 1)
    assert not np.array_equal(plain[:, :60], leaning[:, :60])
    assert np.array_equal(plain[:, 66:], leaning[:, 66:])


def test_a_facing_thing_is_turned_to_its_object():
    def scene(dog_left: bool) -> np.ndarray:
        left, right = (0.05, 0.3, 0.45, 0.7), (0.55, 0.3, 0.95, 0.7)
        dog = Instance("a red dog", "dog", "red", left if dog_left else right)
        ball = Instance("a blue orange", "orange", "blue", right if dog_left else left)
        image = render(Sample("s", "", (dog, ball), (Relation(0, "facing", 1),)), 2)
        x0 = round(dog.box[0] * 128)
        return color_masks(image)[COLORS.index("red")][:, x0 : x0 + 52]

    towards_right, towards_left = scene(True), scene(False)
    mirrored = (towards_right[:, ::-1] == towards_left).mean()
    assert mirrored > 0.97 > (towards_right == towards_left).mean()


def test_layouts_are_valid_repeatable_and_of_every_level():
    samples = [LayoutSampler(9).sample() for _ in range(2)]
    assert samples[0] == samples[1]
    sampler = LayoutSampler(9)
    many = [sampler.sample() for _ in range(600)]
    assert {s.level for s in many} == {1, 2, 3, 4, 5, 6}
    for sample in many:
        assert all(i.phrase in sample.prompt for i in sample.instances)
        for x0, y0, x1, y1 in (i.box for i in sample.instances):
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
            assert min(x1 - x0, y1 - y0) >= MIN_SIDE - 1e-9
    related = [s for s in many if s.relations]
    assert related
    assert all(s.verbs == s.relations[0].predicate for s in related)


def test_training_never_draws_a_benchmark_layout():
    def layout(sample: Sample) -> frozenset:
        return frozenset(i.box for i in sample.instances)

    known = {layout(s) for s in load_benchmark("coco-mig").samples}
    sampler = LayoutSampler(0)
    assert not any(layout(sampler.sample()) in known for _ in range(2000))


def test_whole_pictures_are_a_choice_that_leaves_other_sequences_alone():
    whole = LayoutSampler(3, level_weights=(1,), whole=1.0)
    for _ in range(20):
        x0, y0, x1, y1 = whole.sample().instances[0].box
        assert max(x0, y0) <= 0.08
        assert min(x1, y1) >= 0.92
