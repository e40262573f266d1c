"""The training-free methods in the suite: recipes, settings, notes, wording, and images that depend on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from tiny import tiny_pipeline

from radl_bench.errors import RadlBenchError, UsageError
from radl_bench.runs.generate import build_generator
from radl_bench.types import Instance, Sample
from radl_model.guidance.words import with_labels

METHODS = ["multidiffusion", "layout-guidance", "boxdiff"]
FOUND = Sample("a", "a red car and a dog", (Instance("a red car", "car", "red", (0.0, 0.1, 0.5, 0.9)),))
LOST = Sample("b", "a street", (Instance("a zebra", "zebra", None, (0.2, 0.0, 0.8, 1.0)),))
EMPTY = Sample("c", "a red car and a dog", ())


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "base"
    tiny_pipeline().save_pretrained(folder)
    return str(folder)


def build(method, model, **settings):
    return build_generator(method, model=model, device="cpu", settings=settings)


def fast(method, base, **settings):
    return build(method, base, num_inference_steps="5", guidance_scale="4", scheduler="base", **settings)


def pixels(images):
    return np.stack([np.asarray(image) for image in images]).astype(int)


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_layout_is_the_baseline_bit_for_bit(method, base):
    plain = pixels(fast("stable-diffusion", base).generate([EMPTY, FOUND], [1, 2]))
    made = pixels(fast(method, base).generate([EMPTY, FOUND], [1, 2]))
    assert np.array_equal(made[0], plain[0])
    assert not np.array_equal(made[1], plain[1])


@pytest.mark.parametrize("method", METHODS)
def test_an_image_depends_on_its_sample_and_seed_alone(method, base):
    generator = fast(method, base)
    together = pixels(generator.generate([FOUND, LOST, EMPTY], [1, 2, 3]))
    assert np.array_equal(together[::-1], pixels(generator.generate([EMPTY, LOST, FOUND], [3, 2, 1])))
    batched = pixels(fast(method, base, exact="false").generate([FOUND, LOST, EMPTY], [1, 2, 3]))
    assert np.abs(together - batched).max() <= 2


OFFICIAL = {
    "multidiffusion": (50, "ddim", 0.4),
    "layout-guidance": (51, "lms", 0.2),
    "boxdiff": (50, "pndm", 0.5),
}


@pytest.mark.parametrize("method", METHODS)
def test_recipes(method, base):
    steps, scheduler, share = OFFICIAL[method]
    official, unified = build(method, base, recipe="official").params, build(method, base).params
    assert (official["num_inference_steps"], official["scheduler"]) == (steps, scheduler)
    assert (official["guidance_scale"], official["negative_prompt"], official["active_fraction"]) == (7.5, "", share)
    same = ("num_inference_steps", "scheduler", "guidance_scale", "negative_prompt")
    plain = build("stable-diffusion", base).params
    assert [unified[key] for key in same] == [plain[key] for key in same]
    assert (official["recipe"], unified["recipe"]) == ("official", "unified")


@pytest.mark.parametrize("method", METHODS)
def test_settings_that_make_no_sense(method, base):
    for settings, words in (
        ({"prompt": "labels"}, "Did you mean 'caption"),
        ({"active_fraction": "2"}, r"must lie in \[0, 1\]"),
        ({"recipe": "paper"}, "Unknown recipe"),
    ):
        with pytest.raises(UsageError, match=words):
            build(method, base, **settings)


@pytest.mark.parametrize("method", METHODS)
def test_labels_that_the_caption_lacks_are_added_on_request(method, base):
    generator = fast(method, base, prompt="caption+labels")
    assert generator.params["prompt"] == "caption+labels"
    assert [layout.prompt for layout in generator._layouts([FOUND, LOST])] == [FOUND.prompt, "a street, a zebra"]
    assert [layout.prompt for layout in fast(method, base)._layouts([LOST])] == ["a street"]


def test_a_label_is_missing_when_neither_phrase_nor_category_is_left():
    assert with_labels("Two men on a horse.", ["person", "person", "horse"]) == "Two men on a horse, person, person"
    assert with_labels("a dog and a cat", ["a brown dog", "a dog"], ["dog", "dog"]) == "a dog and a cat, a brown dog"
    assert with_labels("a dog.", ["a dog"]) == "a dog."


@pytest.mark.parametrize("method", METHODS)
def test_the_mini_base_stays_finite(method):
    """Its prediction is v, and its schedule begins with no signal at all."""
    generator = build(method, "mini", num_inference_steps="5")
    (image,) = generator.generate([FOUND], [1])
    assert np.asarray(image).std() > 5


def test_regions_of_multidiffusion(base):
    generator = fast("multidiffusion", base, region="a photo of {}", max_rows="2")
    assert (generator.params["region"], generator.params["max_rows"]) == ("a photo of {}", 2)
    assert (generator.adapter.template, generator._run_settings().max_rows) == ("a photo of {}", 2)
    for settings, words in (
        ({"region": "photo"}, "must hold {} once"),
        ({"max_rows": "0"}, "max_rows must be at least 1, not '0'"),
    ):
        with pytest.raises(UsageError, match=words):
            fast("multidiffusion", base, **settings)
    with pytest.raises(RadlBenchError, match="use ddim or euler"):
        build("multidiffusion", base, scheduler="pndm")


@pytest.mark.parametrize("method", METHODS[1:])
def test_instances_without_words_are_named_in_the_row_of_their_image(method, base):
    images = fast(method, base).generate([FOUND, LOST], [1, 2])
    said = "No guidance for 1 of 1 instances, whose words the prompt lacks: 'a zebra'."
    assert [image.info.get("note") for image in images] == [None, said]
    plain = pixels(fast("stable-diffusion", base).generate([LOST], [2]))
    assert np.array_equal(pixels(images[1:]), plain)
    (added,) = fast(method, base, prompt="caption+labels").generate([LOST], [2])
    assert "note" not in added.info


@pytest.mark.parametrize("method", METHODS[1:])
def test_the_mini_base_refuses_the_official_scheduler(method):
    with pytest.raises(RadlBenchError, match="cannot run on this base"):
        build(method, "mini", recipe="official")


def test_readings_of_layout_guidance(base):
    readings = lambda **given: [build("layout-guidance", base, **given).params[key] for key in ("tokens", "stop")]  # noqa: E731
    assert readings() == ["spans", "each-step"]
    assert readings(recipe="official") == ["words", "for-good"]
    assert readings(recipe="official", tokens="spans") == ["spans", "for-good"]
    for settings, words in (
        ({"tokens": "span"}, "Unknown tokens 'span'. Did you mean 'spans'"),
        ({"threshold": "2"}, r"threshold in \[0, 1\]"),
        ({"plurals": "share"}, "Unknown plurals 'share'. Did you mean 'shared'"),
        ({"turns": "2.5"}, "turns='2.5' is not a whole number"),
        ({"strength": "nan"}, "strength='nan' is not a number"),
    ):
        with pytest.raises(UsageError, match=words):
            build("layout-guidance", base, **settings)


def test_readings_of_boxdiff(base):
    readings = lambda **given: [build("boxdiff", base, **given).params[key] for key in ("after", "second", "refine")]  # noqa: E731
    assert readings() == ["all", "kept", True]
    assert readings(recipe="official") == ["inner", "lost", True]
    assert readings(recipe="official", refine="false", second="kept") == ["inner", "kept", False]
    assert build("boxdiff", base).params["tokens"] == "last"
    assert build("boxdiff", "mini").params["tokens"] == "phrase"
    for settings, words in (
        ({"after": "al"}, "Unknown after 'al'. Did you mean 'all'"),
        ({"step_size": "-1"}, "step_size=-1.0 must be"),
        ({"step_size": "inf"}, "step_size='inf' is not a number"),
    ):
        with pytest.raises(UsageError, match=words):
            build("boxdiff", base, **settings)
