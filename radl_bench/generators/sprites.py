"""The "real" row of the embedded world: what the layout asks for, drawn by the renderer instead of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from radl_bench import __version__
from radl_bench.errors import UsageError
from radl_bench.types import Sample

if TYPE_CHECKING:
    from PIL.Image import Image


class SpritesGenerator:
    """Draws each sample as a scene of the sprite world; the upper bound that judges are calibrated with.

    Args:
        model: "mini"; the drawing has no weights, the word only says which world it belongs to.
        device: not used.
        size: side of the image in pixels, 16 to 1024; 128 is what the mini models are trained on.
    """

    name = "sprites"
    models = ("mini",)
    scale = "mini"
    revision = __version__
    max_batch = 64

    def __init__(self, model: str = "mini", device: str | None = None, size: int = 128) -> None:
        if model != "mini":
            raise UsageError(f"The method sprites draws scenes of the mini world and has no model '{model}'.")
        if type(size) is not int or not 16 <= size <= 1024:
            raise UsageError(f"The size of a scene is a whole number from 16 to 1024 pixels, not {size!r}.")
        self.params: dict[str, Any] = {"size": size}

    def generate(self, samples: Sequence[Sample], seeds: Sequence[int]) -> list[Image]:
        """Return one RGB scene for each sample and seed."""
        from PIL import Image

        from radl_bench.mini.scenes import render

        size = self.params["size"]
        return [Image.fromarray(render(sample, seed, size=size)) for sample, seed in zip(samples, seeds, strict=True)]
