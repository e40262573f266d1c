"""What a method brings to the engine: a `LayoutAdapter`, which makes one `Session` of hooks for each batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from radl_model.engine.run import Run, Step, UNetCall


class Session:
    """The hooks of one batch; each does nothing here. Override those that a method needs.

    A step is: `before_unet`, then `denoise` (which calls `around_unet` for its UNet calls), then `after_step`. All run
    without gradients; `Step.maps` and `torch.enable_grad` open them where they are wanted.
    """

    def before_unet(self, step: Step, latents: Tensor) -> Tensor:
        """Return the latents [B, C, H, W] to denoise in this step, e.g. moved along a gradient."""
        return latents

    def denoise(self, step: Step, latents: Tensor) -> Tensor:
        """Return the latents of the next step; a method that steps regions apart and joins them overrides this."""
        return step.advance(step.predict(latents), latents)

    def around_unet(self, step: Step, call: UNetCall, unet: Callable[[UNetCall], Tensor]) -> Tensor:
        """Return the UNet's output for a call of R rows (unconditional ones first), [R, C, H, W]."""
        return unet(call)

    def after_step(self, step: Step, latents: Tensor) -> Tensor:
        """Return the latents to go on with."""
        return latents

    def notes(self) -> list[str]:
        """Return what should be recorded about each image, "" for nothing; an empty list for none at all."""
        return []

    def close(self) -> None:
        """Let go of the batch; called once, also after an error."""


@runtime_checkable
class LayoutAdapter(Protocol):
    """A way to make a base follow layouts. It holds weights and settings, its sessions what belongs to a batch."""

    @property
    def max_instances(self) -> int | None:
        """Most instances an image may have; more raise a clear error.

        None: the method deals with any number, and says in a note what it left out.
        """
        ...

    def attach(self, unet: nn.Module) -> None:
        """Put what is needed into the UNet. Called before every batch: a second call must change nothing.

        Without an open session the UNet then still computes what it computed before, bit for bit.
        """
        ...

    def start(self, run: Run) -> Session | None:
        """Return the hooks of a batch; None when no image of it has an instance, which is then denoised plainly."""
        ...

    def detach(self, unet: nn.Module) -> None:
        """Take out of the UNet what `attach` put in."""
        ...
