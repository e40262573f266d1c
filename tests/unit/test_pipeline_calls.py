"""Arguments of a call: what the parent takes works with a layout too, what makes no sense is a clear error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler
from test_pipeline_ways import CALL, make, noise

from radl_bench.errors import UsageError


@pytest.mark.parametrize("layout", [True, False])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_inference_steps": 0}, "at least 1, not 0"),
        ({"num_inference_steps": 2.5}, "whole number"),
        ({"active_fraction": float("nan")}, r"active_fraction=nan must lie in \[0, 1\]"),
        ({"active_fraction": -0.1}, r"must lie in \[0, 1\]"),
        ({"active_fraction": "half"}, r"must lie in \[0, 1\]"),
    ],
)
def test_numbers_out_of_range_are_clear_errors(changes, words, layout):
    call = {**CALL, **changes} if layout else {"prompt": CALL["prompt"], **changes}
    with pytest.raises(UsageError, match=words):
        make()(**call)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verbs": ["x"]}, "verbs must be one text"),
        ({"verbs": 3}, "verbs must be one text"),
        (
            {"prompt": [CALL["prompt"]], "phrases": [CALL["phrases"]], "boxes": [CALL["boxes"]], "verbs": [3]},
            "one text",
        ),
        ({"callback_steps": 2}, "Unknown argument of a call with a layout 'callback_steps'"),
        ({"guidence_scale": 2}, "Did you mean 'guidance_scale'"),
    ],
)
def test_arguments_that_do_not_fit_are_clear_errors(changes, words):
    with pytest.raises(UsageError, match=words):
        make()(**{**CALL, **changes})


@pytest.mark.parametrize("layout", [True, False])
def test_clip_skip(layout):
    """With 0 layers skipped the states are the plain ones; with 1 they are not. Nothing of the alias stays behind."""
    pipe = make()
    call = CALL if layout else {key: CALL[key] for key in ("prompt", "num_inference_steps", "output_type")}
    names = [name for name, _ in pipe.text_encoder.named_modules()]
    want = pipe(generator=noise(), **call).images
    assert np.abs(pipe(generator=noise(), clip_skip=0, **call).images - want).max() < 1e-5
    assert np.abs(pipe(generator=noise(), clip_skip=1, **call).images - want).max() > 1e-4
    assert [name for name, _ in pipe.text_encoder.named_modules()] == names
    assert "text_model" not in vars(pipe.text_encoder)


def test_a_callback_may_end_the_guidance():
    """diffusers' own callback cuts the unconditional rows off; the layers follow the rows that are left."""
    from diffusers.callbacks import SDCFGCutoffCallback

    pipe, rows = make(), []
    hook = pipe.unet.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    cut = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=1)
    out = pipe(generator=noise(), callback_on_step_end=cut, active_fraction=1.0, **CALL).images
    hook.remove()
    assert rows == [2, 2, 1, 1]
    assert np.isfinite(out).all()
    later = SDCFGCutoffCallback(cutoff_step_ratio=None, cutoff_step_index=2)
    assert (
        np.abs(out - pipe(generator=noise(), callback_on_step_end=later, active_fraction=1.0, **CALL).images).max() > 0
    )


def test_negative_prompts_copies_and_tuples():
    pipe = make()
    lists = {**CALL, **{key: [CALL[key]] * 2 for key in ("prompt", "phrases", "boxes")}}
    call = {"num_images_per_prompt": 2, "negative_prompt": ["dark", "bright"], "return_dict": False}
    seeds = [noise(s) for s in (1, 2, 1, 2)]
    images, flagged = pipe(generator=seeds, **{**lists, **call})
    assert flagged is None
    assert len(images) == 4
    one = pipe(generator=noise(2), negative_prompt="bright", **CALL).images[0]
    assert np.abs(images[3] - one).max() < 1e-4
    assert np.abs(images[3] - images[1]).max() > 1e-4
    with pytest.raises(ValueError, match="2 prompts, but 1 negative prompts"):
        pipe(generator=seeds, **{**lists, "negative_prompt": ["dark"]})


def test_initial_latents_and_a_schedule_of_ones_own():
    pipe = make()
    latents = torch.randn(1, 4, 16, 16, generator=noise(3))
    given = pipe(latents=latents, **CALL).images
    assert np.abs(given - pipe(generator=noise(3), **CALL).images).max() < 1e-6
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    steps = []

    def note(pipe, index, timestep, values):
        steps.append(int(timestep))
        return values

    pipe(latents=latents, timesteps=[800, 500, 100], callback_on_step_end=note, **{**CALL, "num_inference_steps": 2})
    assert steps == [800, 500, 100]
    assert pipe.num_timesteps == 3
