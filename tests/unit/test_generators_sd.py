"""The generators `stable-diffusion` and `radl` on a tiny base saved to disk."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch
from tiny import tiny_pipeline, wake

from radl_bench.errors import MissingWeights, UsageError
from radl_bench.generators.radl import RadlGenerator
from radl_bench.generators.stable_diffusion import StableDiffusionGenerator
from radl_bench.runs.rows import read_rows
from radl_bench.runs.writer import Shard, ShardWriter
from radl_bench.types import Generator, Instance, Sample
from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapters import save_adapter
from radl_model.checkpoints.places import resolve_adapter, resolve_base, weights_sha256
from radl_model.layers.config import FusionConfig

FAST = {"num_inference_steps": "3", "guidance_scale": "4", "scheduler": "base", "device": "cpu"}


def sample(key, *boxes):
    instances = tuple(
        Instance(f"a red {c}", c, "red", box) for c, box in zip(("car", "dog", "cup"), boxes, strict=False)
    )
    return Sample(key, "a photo of " + " and ".join(i.phrase for i in instances), instances)


SAMPLES = [
    sample("a", (0.1, 0.1, 0.5, 0.9), (0.5, 0.2, 0.9, 0.8)),
    sample("b", (0.2, 0.2, 0.8, 0.8)),
    sample("c", (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 1.0, 1.0), (0.0, 0.5, 0.4, 1.0)),
]
SEEDS = [11, 22, 33]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A base with its adapter beside it, as a training leaves them."""
    folder = tmp_path_factory.mktemp("model")
    pipe = tiny_pipeline()
    adapter = FusionAdapter.from_unet(pipe.unet, FusionConfig(position_hidden=16, mask_mode="area"))
    wake(adapter, 3.0)
    pipe.save_pretrained(folder / "base")
    save_adapter(adapter, folder / "radl")
    return str(folder / "base")


@pytest.fixture(scope="module")
def text_only(model):
    return StableDiffusionGenerator(model, **FAST)


@pytest.fixture(scope="module")
def radl(model):
    return RadlGenerator(model, **FAST)


def pixels(images):
    return np.stack([np.asarray(image) for image in images]).astype(int)


def test_they_are_generators(text_only, radl):
    for generator, name in ((text_only, "stable-diffusion"), (radl, "radl")):
        assert isinstance(generator, Generator)
        assert generator.name == name
        assert generator.max_batch == 1  # on a CPU each image is made by itself: it is kept whatever comes after
        assert generator.params["num_inference_steps"] == 3
        assert generator.params["guidance_scale"] == 4.0
    assert text_only.weights_sha256 != radl.weights_sha256
    assert radl.params["active_fraction"] == 0.5
    assert radl.params["adapter"]["mask_mode"] == "area"


def test_batches_are_those_asked_for_where_images_may_share_one(model):
    assert StableDiffusionGenerator(model, exact=False, **FAST).max_batch == 4


@pytest.mark.parametrize("which", ["text_only", "radl"])
def test_an_image_depends_on_its_sample_and_seed_alone(which, request):
    generator = request.getfixturevalue(which)
    assert generator.params["exact"] is True
    together = pixels(generator.generate(SAMPLES, SEEDS))
    assert together.shape == (3, 128, 128, 3)
    reverse = pixels(generator.generate(SAMPLES[::-1], SEEDS[::-1]))
    assert np.array_equal(together, reverse[::-1])
    other = pixels(generator.generate(SAMPLES[:1], [12]))
    assert np.abs(other - together[:1]).max() > 5


def test_the_number_of_threads_moves_no_byte_of_the_mini_model():
    mini = RadlGenerator(num_inference_steps="4", device="cpu")
    before = torch.get_num_threads()
    made = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            made.append(pixels(mini.generate(SAMPLES, SEEDS)))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*made)  # with two threads throughout, all three differ


def test_a_real_batch_differs_by_rounding_at_most(model, radl):
    batched = RadlGenerator(model, **FAST, exact="false")
    assert batched.params["exact"] is False
    together = pixels(batched.generate(SAMPLES, SEEDS))
    assert np.abs(together - pixels(radl.generate(SAMPLES, SEEDS))).max() <= 1


def test_same_noise_for_both_and_the_layout_matters_to_one(text_only, radl):
    moved = [sample("a", (0.5, 0.2, 0.9, 0.8), (0.1, 0.1, 0.5, 0.9)), *SAMPLES[1:]]
    assert np.array_equal(pixels(text_only.generate(SAMPLES, SEEDS)), pixels(text_only.generate(moved, SEEDS)))
    assert np.abs(pixels(radl.generate(SAMPLES, SEEDS)) - pixels(radl.generate(moved, SEEDS)))[0].max() > 3
    empty = [Sample(s.id, s.prompt, ()) for s in SAMPLES]
    assert np.array_equal(pixels(radl.generate(empty, SEEDS)), pixels(text_only.generate(SAMPLES, SEEDS)))


def test_an_over_long_phrase_is_named_in_the_row_of_its_image_alone(radl, tmp_path):
    long = "a very " + "long " * 90 + "car"
    cut = Sample("cut", "a photo", (Instance(long, "car", None, (0.1, 0.1, 0.9, 0.9)),))
    images = radl.generate([SAMPLES[1], cut], [1, 2])
    with contextlib.closing(ShardWriter(_run_folder(tmp_path), Shard())) as writer:
        for key, image in zip(("b", "cut"), images, strict=True):
            writer.write_image(key, 0, 1, image, 0.1, image.info.get("note"))
    fine, noted = read_rows(tmp_path / "generations-0of1.jsonl")
    assert "note" not in fine
    assert noted["note"] == f"Cut off after 77 tokens: '{long}'."


def _run_folder(folder):
    (folder / "images").mkdir()
    return folder


def test_settings_are_checked(model):
    with pytest.raises(UsageError, match="num_inference_steps='many' is not a whole number"):
        StableDiffusionGenerator(model, num_inference_steps="many")
    with pytest.raises(UsageError, match="at least 1"):
        StableDiffusionGenerator(model, num_inference_steps="0")
    with pytest.raises(UsageError, match="Did you mean 'euler'"):
        StableDiffusionGenerator(model, scheduler="eular")
    with pytest.raises(UsageError, match="dtype"):
        StableDiffusionGenerator(model, scheduler="base", dtype="int8")


def test_missing_weights_are_sentences(tmp_path, model, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match="There is no model at"):
        StableDiffusionGenerator(str(tmp_path / "none"))
    with pytest.raises(MissingWeights, match="No 'migc' adapter"):
        resolve_adapter(model, "migc")
    with pytest.raises(MissingWeights, match="--set adapter=PATH"):
        RadlGenerator(model, adapter=str(tmp_path))


def test_sd14_that_is_not_in_the_cache_says_what_to_run(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("radl_model.checkpoints.places.HUB", {"sd14": "CompVis/stable-diffusion-v1-4-absent"})
    with pytest.raises(MissingWeights, match="radl-bench fetch sd14"):
        resolve_base("sd14")


def test_the_weights_hash_sees_every_byte(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "a.safetensors").write_bytes(b"one")
    first = weights_sha256(tmp_path)
    weights_sha256.cache_clear()
    (tmp_path / "unet" / "a.safetensors").write_bytes(b"two")
    assert weights_sha256(tmp_path) != first
