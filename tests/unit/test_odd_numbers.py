"""Numbers that make no sense, from the command line and from Python: a clear error before anything is computed."""

from __future__ import annotations

import json
import math

import pytest
import torch
from typer.testing import CliRunner

from radl_bench.cli import build_app
from radl_bench.cli.generate import parse_settings
from radl_bench.errors import UsageError
from radl_bench.runs.generate import build_generator
from radl_model import RaDLPipeline, resolve_adapter, resolve_base
from radl_model.engine import Settings
from radl_model.layout_diffusion.pipeline import sample as draw

ODD = ["0", "-3", "NaN", "Infinity", "-Infinity", "1e309", "2.5", "true", "many", "[1]", "1000000000", "9" * 400]
WHOLE = {
    "num_inference_steps": ("radl", "stable-diffusion", "migc", "multidiffusion", "boxdiff", "layout-guidance"),
    "max_batch": ("radl", "layout-diffusion"),
    "max_rows": ("multidiffusion",),
    "steps": ("layout-diffusion",),
    "size": ("layout-diffusion", "sprites"),
}
REAL = {
    "guidance_scale": ("radl", "stable-diffusion"),
    "guidance": ("layout-diffusion",),
    "step_size": ("boxdiff",),
    "strength": ("layout-guidance",),
    "threshold": ("layout-guidance",),
}


@pytest.mark.parametrize(("key", "method"), [(key, method) for key, methods in WHOLE.items() for method in methods])
@pytest.mark.parametrize("text", ODD)
def test_settings_that_are_counts(key, method, text):
    with pytest.raises(UsageError) as caught:
        build_generator(method, settings=parse_settings([f"{key}={text}"]))
    told = str(caught.value)
    assert key in told or method == "sprites"
    assert "could not be set up" not in told
    assert method == "sprites" or len(told) < 200


@pytest.mark.parametrize(("key", "method"), [(key, method) for key, methods in REAL.items() for method in methods])
@pytest.mark.parametrize("text", [text for text in ODD if text not in ("0", "-3", "2.5", "1000000000")])
def test_settings_that_are_real_numbers(key, method, text):
    with pytest.raises(UsageError, match=f"{key}=.* is not a number"):
        build_generator(method, settings=parse_settings([f"{key}={text}"]))


def test_the_command_says_so_and_makes_no_run(tiny_benchmark, tmp_path):
    for pair in ("num_inference_steps=0", "num_inference_steps=NaN", "guidance_scale=Infinity"):
        words = ["generate", str(tiny_benchmark), "--set", pair, "--runs", str(tmp_path / "runs")]
        result = CliRunner().invoke(build_app(), words)
        assert isinstance(result.exception, UsageError)
        assert pair.partition("=")[0] in str(result.exception)
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def pipe():
    made = RaDLPipeline.from_pretrained(resolve_base("mini"), adapter=resolve_adapter("mini", "radl"))
    made.set_progress_bar_config(disable=True)
    return made


VALUES = [0, -3, math.nan, math.inf, -math.inf, 2.5, True, "many", None, 10**9, 10**400]


@pytest.mark.parametrize("layout", [True, False])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value)[:12])
def test_a_call_of_the_pipeline(pipe, value, layout):
    more = {"phrases": ["a red car"], "boxes": [[0.1, 0.1, 0.9, 0.9]]} if layout else {}
    with pytest.raises(UsageError, match="The number of steps must be"):
        pipe("a red car", num_inference_steps=value, **more)
    if value not in (0, -3, 2.5, 10**9):
        with pytest.raises(UsageError, match=r"guidance_scale=.* is not a finite number"):
            pipe("a red car", num_inference_steps=2, guidance_scale=value, **more)
    if value not in (0, True, None):
        for name in ("eta", "guidance_rescale"):
            with pytest.raises(UsageError, match=rf"{name}=.* must lie in \[0, 1\]"):
                pipe("a red car", num_inference_steps=2, **{name: value}, **more)


@pytest.mark.parametrize(
    "value", [value for value in VALUES if value not in (0, -3, 2.5, 10**9)], ids=lambda v: str(v)[:9]
)
def test_settings_of_the_engine(value):
    with pytest.raises(UsageError, match="finite"):
        Settings(guidance_scale=value)
    with pytest.raises(UsageError, match="The number of steps must be"):
        Settings(steps=value)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value)[:12])
def test_drawing_with_layout_diffusion(value):
    with pytest.raises(UsageError, match="The number of steps must be"):
        draw(torch.nn.Identity(), [], [], value)
    if value not in (0, -3, 2.5, 10**9):
        with pytest.raises(UsageError, match=r"guidance=.* is not a finite number"):
            draw(torch.nn.Identity(), [], [], 4, value)


def test_the_settings_are_read_as_json():
    assert math.isnan(parse_settings(["a=NaN"])["a"])
    assert parse_settings([f"a={'9' * 5000}"])["a"] == "9" * 5000
    assert json.loads("1e309") == math.inf
