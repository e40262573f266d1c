"""A method whose base is one of diffusers' own pipelines: it runs, and over-long texts are noted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import tiny_parts, tiny_pipeline

from radl_bench.errors import UsageError
from radl_bench.generators.engine import EngineGenerator
from radl_bench.types import Instance, Sample
from radl_model.engine import Session

LONG = "a very " + "long " * 90 + "prompt"
SAMPLES = [
    Sample("a", "a red car", (Instance("a red car", "car", "red", (0.1, 0.1, 0.5, 0.9)),)),
    Sample("b", LONG, ()),
]
FAST = {"num_inference_steps": 2, "guidance_scale": 3.0, "scheduler": "base", "device": "cpu"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "base"
    tiny_pipeline().save_pretrained(folder)
    return str(folder)


class Plain(EngineGenerator):
    """Stable Diffusion as diffusers has it."""

    name = "plain"

    def _load(self, model):
        return tiny_pipeline()


class Other(EngineGenerator):
    """A pipeline of another class, with a call of its own."""

    name = "other"

    def _load(self, model):
        from diffusers import DiffusionPipeline

        class Elsewhere(DiffusionPipeline):
            def __init__(self, tokenizer, scheduler):
                super().__init__()
                self.register_modules(tokenizer=tokenizer, scheduler=scheduler)

            def __call__(self, prompt, *, num_inference_steps, guidance_scale, negative_prompt, generator):
                from types import SimpleNamespace

                from PIL import Image

                draws = [torch.randint(0, 255, (8, 8, 3), generator=g, dtype=torch.uint8) for g in generator]
                return SimpleNamespace(images=[Image.fromarray(d.numpy()) for d in draws])

        parts = tiny_parts()
        return Elsewhere(parts["tokenizer"], parts["scheduler"])


class Placed(Other):
    name = "placed"

    def _adapter(self):
        class Nothing(Session):
            max_instances = None

        return Nothing()


@pytest.mark.parametrize("exact", ["true", "false"])
@pytest.mark.parametrize("cls", [Plain, Other])
def test_it_makes_images_and_notes_what_is_cut(cls, exact, base):
    generator = cls(base, exact=exact, **FAST)
    images = generator.generate(SAMPLES, [1, 2])
    assert [image.info.get("note") for image in images] == [None, f"Cut off after 77 tokens: '{LONG}'."]
    again = generator.generate(SAMPLES[1:], [2])[0]
    assert np.abs(np.asarray(again).astype(int) - np.asarray(images[1])).max() <= 1


def test_the_engine_makes_of_it_what_the_pipeline_makes(base):
    generator = Plain(base, **FAST)
    (image,) = generator.generate(SAMPLES[:1], [1])
    noise = torch.Generator().manual_seed(1)
    words = {"negative_prompt": generator.params["negative_prompt"], "generator": noise}
    want = generator.pipe("a red car", num_inference_steps=2, guidance_scale=3.0, **words)
    assert image.tobytes() == want.images[0].tobytes()


def test_an_adapter_on_another_pipeline_is_a_clear_error(base):
    with pytest.raises(UsageError, match="needs a base shaped like Stable Diffusion v1, not a Elsewhere"):
        Placed(base, **FAST)


class Published(Plain):
    name = "published"
    official = {"num_inference_steps": 7, "scheduler": "pndm"}  # noqa: RUF012


def test_recipes(base):
    plain = {"device": "cpu"}
    assert Published(base, **plain).params["recipe"] == "unified"
    assert Published(base, **plain).params["num_inference_steps"] == 60
    official = Published(base, recipe="official", **plain)
    assert official.params["num_inference_steps"] == 7
    assert official.params["guidance_scale"] == 7.5
    assert type(official.pipe.scheduler).__name__ == "PNDMScheduler"
    assert Published(base, recipe="official", num_inference_steps="3", **plain).params["num_inference_steps"] == 3
    assert "recipe" not in Plain(base, **plain).params
    with pytest.raises(UsageError, match="no official recipe"):
        Plain(base, recipe="official", **plain)
    with pytest.raises(UsageError, match="Did you mean 'official'"):
        Published(base, recipe="oficial", **plain)
