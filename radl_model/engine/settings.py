"""How a batch is denoised: numbers that a method or a user chooses, and the scheduler by its name."""

from __future__ import annotations

from dataclasses import dataclass

import diffusers
from diffusers import SchedulerMixin

from radl_model.errors import UsageError, did_you_mean
from radl_model.numbers import check_finite, check_share, check_steps

SCHEDULERS = {
    "ddim": "DDIMScheduler",
    "dpm": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "lms": "LMSDiscreteScheduler",
    "pndm": "PNDMScheduler",
    "unipc": "UniPCMultistepScheduler",
}
"""Schedulers by their short names; "base" keeps the one that comes with the model."""

FIXED: dict[str, dict[str, object]] = {
    # What Euler and LMS make of the hub's configuration; a copy that was saved again may state another spacing.
    "euler": {"timestep_spacing": "linspace"},
    "lms": {"timestep_spacing": "linspace"},
    # Stable Diffusion's PNDM is the multistep half of it alone; a base with another scheduler is silent about that.
    "pndm": {"skip_prk_steps": True},
    # Latents are not bounded as pixels are, and DDIM clips where the base's configuration is silent about it.
    "ddim": {"clip_sample": False},
}
"""What a scheduler gets whatever the base's configuration says."""

NO_ZERO_SNR = ("lms", "pndm")
"""Schedulers that know no betas without a signal at the end; built from such a base they would be another model's."""


def make_scheduler(name: str, current: SchedulerMixin) -> SchedulerMixin:
    """Return a scheduler with the betas and the kind of prediction of `current`, or `current` itself for "base".

    Raises:
        UsageError: unknown name, or a scheduler that cannot run on this base's betas.
    """
    if name == "base":
        return current
    if name not in SCHEDULERS:
        raise UsageError(did_you_mean(name, [*SCHEDULERS, "base"], "scheduler"))
    if name in NO_ZERO_SNR and getattr(current.config, "rescale_betas_zero_snr", False):
        raise UsageError(
            f"The scheduler {name} cannot run on this base, whose noise schedule ends without any signal; "
            "use base, ddim or euler."
        )
    return getattr(diffusers, SCHEDULERS[name]).from_config(current.config, **FIXED.get(name, {}))


@dataclass(frozen=True)
class Settings:
    """Numbers of a run.

    Attributes:
        steps: denoising steps; some schedulers take one more.
        guidance_scale: of classifier-free guidance, which is on above 1; guidance_rescale: share of the prediction that
            is rescaled to the spread of the conditional one, [0, 1].
        negative_prompt: for all images.
        eta: noise that DDIM adds, [0, 1].
        active_fraction: share of the steps with layout control, [0, 1]; the method's own when None.
        height, width: of the images in pixels; the base's own size when None.
        max_rows: most rows of one UNet call of a method that makes its own; None for no limit.

    Raises:
        UsageError: a number out of its range.
    """

    steps: int = 50
    guidance_scale: float = 7.5
    negative_prompt: str = ""
    guidance_rescale: float = 0.0
    eta: float = 0.0
    active_fraction: float | None = None
    height: int | None = None
    width: int | None = None
    max_rows: int | None = None

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_finite("guidance_scale", self.guidance_scale)
        for name in ("guidance_rescale", "eta", "active_fraction"):
            check_share(name, getattr(self, name))
        if self.max_rows is not None and self.max_rows < 1:
            raise UsageError(f"max_rows must be at least 1, not {self.max_rows}.")
