"""docs/engine.md: its method runs as a user's file, in the suite, on a pipeline, and does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_pipeline

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.generate import build_generator, generate_run
from radl_bench.types import Instance, Sample
from radl_model.engine import LayoutAdapter, Session
from radl_model.pipelines.pipeline import RaDLPipeline

PAGE = Path(__file__).parents[2] / "docs" / "engine.md"
FOUND = Sample("a", "a red car and a dog", (Instance("a red car", "car", "red", (0.0, 0.0, 0.5, 1.0)),))
LOST = Sample("b", "a red car and a dog", (Instance("a zebra", "zebra", None, (0.0, 0.0, 0.5, 1.0)),))


@pytest.fixture(scope="module")
def method(tmp_path_factory):
    (code,) = re.findall(r"```python\n(# my_guidance.py\n.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    file = tmp_path_factory.mktemp("method") / "my_guidance.py"
    file.write_text(code, "utf-8")
    return f"{file}:MyGuidance"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "base"
    tiny_pipeline().save_pretrained(folder)
    return str(folder)


def build(method, base, **settings):
    fast = {"num_inference_steps": "4", "scheduler": "base"}
    return build_generator(method, model=base, device="cpu", settings={**fast, **settings})


def pixels(images):
    return np.stack([np.asarray(image) for image in images]).astype(int)


def test_the_method_guides_what_it_finds_and_notes_the_rest(method, base):
    plain = pixels(build("stable-diffusion", base).generate([FOUND, LOST], [1, 2]))
    generator = build(method, base, strength="3")
    assert isinstance(generator.adapter, LayoutAdapter)
    images = generator.generate([FOUND, LOST], [1, 2])
    assert np.abs(pixels(images)[0] - plain[0]).max() > 3
    assert np.array_equal(pixels(images)[1], plain[1])
    assert [image.info.get("note") for image in images] == [None, "No guidance for 1 of 1 instances."]
    assert generator.params["strength"] == 3.0
    empty = [Sample("c", FOUND.prompt, ())]
    assert np.array_equal(pixels(generator.generate(empty, [1])), plain[:1])


def test_attention_moves_into_the_box(method, base):
    generator = build(method, base, strength="0.5")
    session_of, lost = generator.adapter.start, []

    def start(run):
        session = session_of(run)
        guide = session.before_unet

        def watched(step, latents):
            moved = guide(step, latents)
            for z in (latents, moved):
                lost.append(float(session.outside(run, 0, step.maps(step.scale(z), session.store))))
            return moved

        session.before_unet = watched
        return session

    generator.adapter.start = start
    generator.generate([FOUND], [1])
    assert lost[1] < lost[0]


def test_it_runs_in_the_suite(method, base, tiny_benchmark, tmp_path):
    benchmark = load_benchmark(str(tiny_benchmark), limit=2)
    outcome = generate_run(benchmark, build(method, base, num_inference_steps="2"), out=tmp_path)
    assert (outcome.made, outcome.failed) == (2, 0)


def test_the_adapter_runs_on_the_pipeline(method, base):
    adapter = build(method, base).adapter
    pipe = RaDLPipeline.from_pretrained(base, adapter=adapter)
    pipe.set_progress_bar_config(disable=True)
    assert pipe.method is adapter
    call = {"num_inference_steps": 3, "output_type": "latent"}
    noise = lambda: torch.Generator().manual_seed(1)  # noqa: E731
    made = pipe(FOUND.prompt, ["a red car"], [[0, 0, 0.5, 1]], generator=noise(), **call).images
    assert not torch.equal(made, pipe(FOUND.prompt, generator=noise(), **call).images)


def test_the_page_names_every_hook():
    hooks = [name for name in vars(Session) if not name.startswith("_")]
    assert len(hooks) == 6
    page = PAGE.read_text("utf-8")
    assert all(f"`{name}(" in page for name in hooks)
