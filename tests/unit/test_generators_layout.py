"""What `radl` and `migc` share: public checkpoints, the habits of the published code, settings and their errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from public_layouts import TINY_BLOCKS, checkpoint
from tiny import tiny_pipeline, tiny_unet, wake

from radl_bench.errors import BadInput, MissingWeights, UsageError
from radl_bench.generators.migc import MigcGenerator
from radl_bench.generators.radl import RadlGenerator
from radl_bench.runs.generate import build_generator
from radl_bench.types import Instance, Relation, Sample
from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapters import save_adapter
from radl_model.layers.variants import MIGC, variant

FAST = {"num_inference_steps": "4", "scheduler": "base", "device": "cpu"}
WIDTHS = dict(zip(TINY_BLOCKS, (64, 32, 32), strict=True))
SAMPLE = Sample(
    "a",
    "a red car leaning against a blue dog",
    (
        Instance("a red car", "car", "red", (0.1, 0.1, 0.5, 0.9)),
        Instance("a blue dog", "dog", "blue", (0.5, 0.2, 1, 1)),
    ),
    (Relation(0, "leaning against", 1),),
    "leaning against",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base of the public modules' eight heads, on disk."""
    folder = tmp_path_factory.mktemp("model")
    pipe = tiny_pipeline()
    pipe.register_modules(unet=tiny_unet(attention_head_dim=8))
    pipe.save_pretrained(folder / "base")
    return folder / "base"


@pytest.fixture
def public(tmp_path, monkeypatch):
    """Return a function that writes a public checkpoint of a kind."""
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))

    def write(kind):
        file = tmp_path / f"{kind}.ckpt"
        torch.save(checkpoint(kind, WIDTHS, d=32, hidden=16), file)
        return str(file)

    return write


def run_of(generator):
    """Make one image and return the batch as the engine ran it."""
    runs, start = [], generator.adapter.start
    generator.adapter.start = lambda run: runs.append(run) or start(run)
    try:
        generator.generate([SAMPLE], [11])
    finally:
        generator.adapter.start = start
    return runs[0]


def test_migc_runs_a_public_checkpoint_as_its_benchmark_script_does(base, public):
    generator = build_generator("migc", model=str(base), settings={"adapter": public("migc"), "device": "cpu"})
    assert generator.name == "migc"
    assert type(generator.pipe.scheduler).__name__ == "EulerDiscreteScheduler"
    assert generator.pipe.scheduler.config.timestep_spacing == "linspace"
    assert generator.params["num_inference_steps"] == 50
    assert generator.params["guidance_scale"] == 7.5
    assert generator.params["negative_prompt"] == "worst quality, low quality, bad anatomy"
    assert generator.params["repeat_phrases"] is True
    assert generator.config.active_steps(50) == 26
    run = run_of(generator)
    assert run.layouts[0].phrases == ("a red car, and a red car", "a blue dog, and a blue dog")
    assert run.layouts[0].categories == ("car", "dog")
    assert run.layouts[0].prompt == SAMPLE.prompt
    assert run.total == 50
    assert run.guidance_scale == 7.5


def test_an_image_of_migc_depends_on_its_seed_alone(base, public):
    generator = MigcGenerator(str(base), adapter=public("migc"), **FAST)
    first, other = (np.asarray(generator.generate([SAMPLE], [seed])[0]).astype(int) for seed in (1, 2))
    again = np.asarray(generator.generate([SAMPLE, SAMPLE], [2, 1])[1])
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 3


def test_the_released_radl_with_its_own_wording(base, public):
    settings = {"repeat_phrases": "true", "release_prompt": "true", **FAST}
    generator = RadlGenerator(str(base), adapter=public("radl"), **settings)
    assert generator.params["adapter"]["context"] == "channel_pooled"
    assert generator.config.active_steps(60) == 31
    (layout,) = run_of(generator).layouts
    once = "a red car leaning against"
    assert layout.phrases == (f"{once}, and {once}", "a blue dog, and a blue dog")
    assert layout.prompt == f"a high quality image of {once}, and a blue dog"
    assert layout.verbs == "leaning"
    assert layout.related == (0, 1)


def test_the_reading_of_a_public_checkpoint_can_be_asked_for(base, public):
    generator = RadlGenerator(str(base), adapter=public("radl"), context="channel_tokens", **FAST)
    assert generator.params["adapter"]["context"] == "channel_tokens"
    assert generator.params["repeat_phrases"] is False
    assert run_of(generator).layouts[0].prompt == SAMPLE.prompt


def test_own_adapters_stand_beside_the_base(base):
    adapter = FusionAdapter.from_unet(tiny_unet(attention_head_dim=8), variant("migc", position_hidden=16))
    wake(adapter)
    save_adapter(adapter, base.parent / "migc")
    generator = MigcGenerator(str(base), active_fraction="0.25", **FAST)
    assert generator.params["adapter"] == {**MIGC.to_dict(), "position_hidden": 16}
    assert generator.params["active_fraction"] == 0.25
    assert run_of(generator).active_fraction == 0.25
    with pytest.raises(UsageError, match="states its own"):
        MigcGenerator(str(base), context="token", **FAST)


BAD = [
    ({"active_fraction": "half"}, UsageError, "active_fraction='half' is not a number"),
    ({"active_fraction": "1.5"}, UsageError, r"must lie in \[0, 1\]"),
    ({"adapter": "none.ckpt"}, MissingWeights, "the file of a public checkpoint"),
    ({"adapter": "radl-no-such"}, MissingWeights, "No 'migc' adapter"),
    ({"guidance": "3"}, UsageError, "Did you mean 'guidance_scale'"),
    ({"adaptor": "x"}, UsageError, "Did you mean 'adapter'"),
]


@pytest.mark.parametrize(("settings", "error", "sentence"), BAD)
def test_bad_settings_are_sentences(base, settings, error, sentence, public):
    given = {"adapter": public("migc"), **FAST, **settings}
    with pytest.raises(error, match=sentence):
        build_generator("migc", model=str(base), settings=given)


def test_a_checkpoint_of_another_base_is_a_sentence(base, public, tmp_path):
    torch.save(checkpoint("migc", {**WIDTHS, "output_blocks.5.1": 32}, d=32, hidden=16), tmp_path / "sd.ckpt")
    with pytest.raises(BadInput, match=r"up_blocks\.1\.attentions\.2.* is none that this base has"):
        MigcGenerator(str(base), adapter=str(tmp_path / "sd.ckpt"), **FAST)
    torch.save(checkpoint("migc", dict.fromkeys(WIDTHS, 64), d=32, hidden=16), tmp_path / "wide.ckpt")
    with pytest.raises(UsageError, match="was made for"):
        MigcGenerator(str(base), adapter=str(tmp_path / "wide.ckpt"), **FAST)


def test_too_many_instances_are_a_sentence(base, public):
    generator = MigcGenerator(str(base), adapter=public("migc"), **FAST)
    many = Sample("b", "cats", tuple(Instance("a cat", "cat", None, (0, 0, 1, 1)) for _ in range(29)))
    with pytest.raises(UsageError, match="at most 28"):
        generator.generate([many], [1])
