"""RaDLPipeline on a tiny base with random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_pipeline, wake

from radl_bench.errors import UsageError
from radl_model.adapters.adapter import FusionAdapter
from radl_model.layers.config import FusionConfig
from radl_model.pipelines.pipeline import RaDLPipeline

PROMPTS = ["a photo of a red car and a blue dog", "a photo of a green cup", "a photo of a cat"]
PHRASES = [["a red car", "a blue dog"], ["a green cup"], []]
BOXES = [[[0.1, 0.2, 0.5, 0.9], [0.4, 0.1, 0.9, 0.6]], [[0.3, 0.3, 0.8, 0.9]], []]
STEPS = {"num_inference_steps": 4, "output_type": "np"}


def noise(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture(scope="module")
def pipe():
    pipe = tiny_pipeline(cls=RaDLPipeline)
    adapter = FusionAdapter.from_unet(pipe.unet, FusionConfig(position_hidden=16, mask_mode="area"))
    wake(adapter)
    pipe.register_modules(adapter=adapter)
    return pipe


@pytest.fixture(scope="module")
def plain():
    return tiny_pipeline()


def test_without_instances_it_is_stable_diffusion_bit_for_bit(pipe, plain):
    want = plain(PROMPTS[:2], generator=noise(1, 2), **STEPS).images
    assert np.array_equal(pipe(PROMPTS[:2], generator=noise(1, 2), **STEPS).images, want)
    assert np.array_equal(pipe(PROMPTS[:2], [[], []], [[], []], generator=noise(1, 2), **STEPS).images, want)
    off = pipe(PROMPTS[:2], PHRASES[:2], BOXES[:2], generator=noise(1, 2), active_fraction=0.0, **STEPS).images
    assert np.array_equal(off, want)


def test_a_batch_of_different_layouts_equals_single_calls(pipe, plain):
    batch = pipe(PROMPTS, PHRASES, BOXES, generator=noise(1, 2, 3), **STEPS).images
    for i in range(3):
        single = pipe(PROMPTS[i], PHRASES[i], BOXES[i], generator=noise(i + 1), **STEPS).images[0]
        assert np.abs(batch[i] - single).max() < 1e-4
    without = plain(PROMPTS, generator=noise(1, 2, 3), **STEPS).images
    assert np.abs(batch[:2] - without[:2]).max() > 1e-3
    assert np.abs(batch[2] - without[2]).max() < 1e-4


@pytest.mark.parametrize(("fraction", "steps", "active"), [(0.5, 6, 3), (0.7, 10, 7), (1.0, 3, 3), (0.34, 3, 2)])
def test_layers_are_on_for_the_first_steps_only(pipe, fraction, steps, active):
    seen = []
    hook = pipe.unet.register_forward_pre_hook(lambda *_: seen.append(pipe.adapter.holder.context.active))
    try:
        pipe(
            PROMPTS[1], PHRASES[1], BOXES[1], num_inference_steps=steps, active_fraction=fraction, output_type="latent"
        )
    finally:
        hook.remove()
    assert seen == [True] * active + [False] * (steps - active)
    assert pipe.adapter.holder.context is None


def test_the_callers_callback_still_runs(pipe):
    seen = []

    def note(_, step, timestep, values):
        seen.append((step, sorted(values)))
        return values

    pipe(PROMPTS[1], PHRASES[1], BOXES[1], generator=noise(1), callback_on_step_end=note, **STEPS)
    assert seen == [(i, ["latents"]) for i in range(4)]


def test_texts_and_boxes_are_read_once_a_run(pipe):
    calls = []
    layer = pipe.adapter.named_layers()[0][1]
    hook = layer.instance.attention.to_k.register_forward_hook(lambda *_: calls.append(1))
    try:
        pipe(PROMPTS[0], PHRASES[0], BOXES[0], active_fraction=1.0, **STEPS)
    finally:
        hook.remove()
    assert len(calls) == 1


def test_verbs_are_extracted_given_or_switched_off(pipe):
    call = {"phrases": PHRASES[0], "boxes": BOXES[0], **STEPS}
    prompt = "a red car leaning against a blue dog"
    extracted, given, off = (
        pipe(prompt, verbs=v, generator=noise(1), **call).images for v in (None, "leaning against", "")
    )
    assert np.array_equal(extracted, given)
    assert np.abs(extracted - off).max() > 1e-5


def test_without_guidance_and_with_several_images_a_prompt(pipe):
    call = {"phrases": [["a red car"]], "boxes": [[[0.1, 0.1, 0.6, 0.6]]], "guidance_scale": 1.0, **STEPS}
    two = pipe([PROMPTS[0]], num_images_per_prompt=2, generator=noise(1, 2), **call).images
    one = pipe([PROMPTS[0]], generator=noise(2), **call).images
    assert np.abs(two[1] - one[0]).max() < 1e-4


def test_sliced_attention_keeps_the_layers(pipe):
    call = {"generator": None, **STEPS}
    before = pipe(PROMPTS[0], PHRASES[0], BOXES[0], **{**call, "generator": noise(1)}).images
    pipe.enable_attention_slicing(1)
    try:
        sliced = pipe(PROMPTS[0], PHRASES[0], BOXES[0], **{**call, "generator": noise(1)}).images
    finally:
        pipe.disable_attention_slicing()
    assert np.abs(before - sliced).max() < 1e-4


def test_a_long_phrase_is_cut_and_recorded(pipe):
    phrase = "a very " + "long " * 90 + "car"
    pipe(PROMPTS[0], [phrase], [[0.1, 0.1, 0.6, 0.6]], **{**STEPS, "num_inference_steps": 1})
    assert pipe.truncated == [phrase]


BAD = [
    (("a cat", ["a cat", "a dog"], [[0, 0, 1, 1]]), "2 phrases but 1 boxes"),
    (("a cat", [" "], [[0, 0, 1, 1]]), "empty phrase"),
    (("a cat", ["a cat"], [[0.5, 0, 0.2, 1]]), "x0 < x1"),
    (("a cat", ["a cat"], [[0, 0, float("nan"), 1]]), "in fractions"),
    (("a cat", ["a cat"] * 28, [[0, 0, 1, 1]] * 28), "at most 27"),
    ((["a cat", "a dog"], [["a cat"]], [[[0, 0, 1, 1]]]), "list of 2 entries"),
]


@pytest.mark.parametrize(("call", "sentence"), BAD)
def test_bad_layouts_are_sentences(pipe, call, sentence):
    with pytest.raises(UsageError, match=sentence):
        pipe(*call, **STEPS)


def test_a_layout_without_an_adapter_is_a_sentence():
    with pytest.raises(UsageError, match="no adapter"):
        tiny_pipeline(cls=RaDLPipeline)("a cat", ["a cat"], [[0, 0, 1, 1]], **STEPS)


def test_saved_and_loaded_it_makes_the_same_image(pipe, tmp_path):
    call = {"phrases": PHRASES[0], "boxes": BOXES[0], **STEPS}
    want = pipe(PROMPTS[0], generator=noise(5), **call).images
    tiny_pipeline().save_pretrained(tmp_path / "base")
    pipe.adapter.save_pretrained(tmp_path / "radl")
    loaded = RaDLPipeline.from_pretrained(tmp_path / "base", adapter=tmp_path / "radl")
    loaded.set_progress_bar_config(disable=True)
    assert np.abs(loaded(PROMPTS[0], generator=noise(5), **call).images - want).max() < 1e-5
