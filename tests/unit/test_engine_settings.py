"""Schedules as a session sees them, schedulers by name, and settings that make no sense."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch
from engine_hooks import Hooks, ours
from tiny import tiny_pipeline

from radl_model.engine import Session, Settings, make_scheduler
from radl_model.errors import UsageError


class Schedule(Session):
    def __init__(self):
        self.rows = []

    def before_unet(self, step, latents):
        seen = step.scale(latents)
        assert torch.allclose(step.unscale(seen), latents, atol=1e-4)
        self.rows.append((step.alpha_bar, step.sigma, float(latents.std()), float(seen.std())))
        return latents


@pytest.mark.parametrize("name", ["ddim", "euler", "lms", "pndm", "dpm"])
def test_signal_and_noise_of_a_step(name):
    pipe, session = tiny_pipeline(), Schedule()
    pipe.scheduler = make_scheduler(name, pipe.scheduler)
    ours(pipe, Settings(steps=5), Hooks(session))
    shares = [row[0] for row in session.rows]
    assert shares == sorted(shares)
    for i, (share, sigma, _, _) in enumerate(session.rows):
        assert np.isclose(share, 1 / (1 + sigma**2))
        if name in ("euler", "lms"):
            assert np.isclose(sigma, float(pipe.scheduler.sigmas[i]), rtol=1e-5)
        else:
            assert np.isclose(share, float(pipe.scheduler.alphas_cumprod[int(pipe.scheduler.timesteps[i])]))
    assert np.isclose(session.rows[0][3], 1, atol=0.1)  # the UNet sees unit variance, whatever the scheduler's space


@pytest.mark.parametrize("name", ["euler", "lms"])
def test_a_base_that_was_saved_with_another_spacing_does_not_pass_it_on(name):
    saved = diffusers.PNDMScheduler(timestep_spacing="leading", beta_schedule="scaled_linear")
    scheduler = make_scheduler(name, saved)
    scheduler.set_timesteps(50)
    assert [round(float(t), 2) for t in scheduler.timesteps[:2]] == [999.0, 978.61]


def test_pndm_has_no_runge_kutta_steps_whatever_the_base():
    scheduler = make_scheduler("pndm", tiny_pipeline().scheduler)
    scheduler.set_timesteps(50)
    assert [int(t) for t in scheduler.timesteps[:4]] == [981, 961, 961, 941]
    assert len(scheduler.timesteps) == 51


def test_official_sigmas_of_layout_guidance():
    """51 steps of LMS on Stable Diffusion's betas: sigma_0.. = 14.615, 12.968, 11.545 (dossier, section 1.2)."""
    pipe, session = tiny_pipeline(), Schedule()
    pipe.scheduler = diffusers.LMSDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    ours(pipe, Settings(steps=51), Hooks(session))
    assert [round(row[1], 3) for row in session.rows[:4]] == [14.615, 12.968, 11.545, 10.313]


BAD = [
    ({"steps": 0}, "at least 1, not 0"),
    ({"steps": 2.5}, "whole number"),
    ({"steps": True}, "whole number"),
    ({"active_fraction": float("nan")}, r"active_fraction=nan must lie in \[0, 1\]"),
    ({"active_fraction": 1.5}, r"must lie in \[0, 1\]"),
    ({"guidance_scale": float("inf")}, "not a finite number"),
    ({"eta": -1.0}, r"eta=-1.0 must lie"),
    ({"max_rows": 0}, "max_rows must be at least 1"),
]


@pytest.mark.parametrize(("changes", "words"), BAD)
def test_settings_are_checked(changes, words):
    with pytest.raises(UsageError, match=words):
        Settings(**changes)


def test_schedulers_by_name():
    base = tiny_pipeline().scheduler
    assert make_scheduler("base", base) is base
    base.register_to_config(clip_sample=True)
    assert make_scheduler("ddim", base).config.clip_sample is False
    assert make_scheduler("euler", base).config.timestep_spacing == "linspace"
    with pytest.raises(UsageError, match="Did you mean 'euler'"):
        make_scheduler("eular", base)
    base.register_to_config(rescale_betas_zero_snr=True)
    with pytest.raises(UsageError, match="ends without any signal"):
        make_scheduler("lms", base)
