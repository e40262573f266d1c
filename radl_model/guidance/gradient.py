"""Latents moved along a gradient, each image along its own."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin
from torch import Tensor

from radl_model.engine import Step
from radl_model.errors import UsageError


def gradient(losses: Tensor, z: Tensor) -> Tensor:
    """Return the gradient of each image's loss by its latents, [B, C, H, W]; 0 where the loss does not depend on them.

    Images do not mix in a UNet, so the sum of the losses has each image's own gradient, whatever the batch.

    Args:
        losses: [B]; z: [B, C, H, W], what the UNet saw.

    Raises:
        UsageError: the gradient overflows, as it may in float16.
    """
    if not losses.requires_grad:
        return torch.zeros_like(z)
    (found,) = torch.autograd.grad(losses.sum(), z)
    if not bool(found.isfinite().all()):
        name = str(z.dtype).removeprefix("torch.")
        raise UsageError(f"The gradient of the guidance is not finite in {name}; use dtype=float32 or bfloat16.")
    return found.detach()


def moved(step: Step, latents: Tensor, shift: Tensor, who: Tensor) -> Tensor:
    """Return latents less a shift of what the UNet sees; images not in `who` [B] keep every bit."""
    return torch.where(who[:, None, None, None], latents - step.unscale(shift), latents)


def carry_on(step: Step, shift: Tensor) -> None:
    """Move what PNDM starts from too: its second call goes back to the sample of the first, and would lose the shift.

    Args:
        shift: [B, C, H, W], what was added to the latents before this step.
    """
    scheduler = step.run.scheduler
    kept = getattr(scheduler, "cur_sample", None)
    if getattr(scheduler, "counter", None) == 1 and kept is not None:
        scheduler.cur_sample = kept + shift


def check_scheduler(scheduler: ConfigMixin) -> None:
    """Raise `UsageError` for PNDM with Runge-Kutta steps, which goes back to an earlier sample time and again."""
    if type(scheduler).__name__ == "PNDMScheduler" and not scheduler.config.skip_prk_steps:
        raise UsageError(
            "This base's PNDM takes Runge-Kutta steps, which lose what a method does to the latents; use pndm, ddim or "
            "euler."
        )
