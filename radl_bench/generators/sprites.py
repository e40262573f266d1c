"""The "real" row of the embedded world: what the layout asks for, drawn by the renderer instead of a model.

Drawn right, it is the ceiling of the judges; with `wrong`, every thing is wrong in one way, and it is their floor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from radl_bench import __version__
from radl_bench.errors import UsageError
from radl_bench.types import Sample

if TYPE_CHECKING:
    from PIL.Image import Image


class SpritesGenerator:
    """Draws each sample as a scene of the sprite world; the bounds that judges are calibrated with.

    Args:
        model: "mini"; the drawing has no weights, the word only says which world it belongs to.
        device: not used.
        size: side of the image in pixels, 16 to 1024; 128 is what the mini models are trained on.
        wrong: "color", "class", "lookalike" or "place": every thing is wrong in this way (`radl_bench.mini.wrong`).

    Attributes:
        reference: "ceiling", or "floor" with `wrong`; what the scores of its images say about the judges.

    Raises:
        UsageError: another model, size or kind of wrong scene.
    """

    name = "sprites"
    models = ("mini",)
    scale = "mini"
    revision = __version__
    max_batch = 64
    packages = ("cv2",)

    def __init__(
        self, model: str = "mini", device: str | None = None, size: int = 128, wrong: str | None = None
    ) -> None:
        if model != "mini":
            raise UsageError(f"The method sprites draws scenes of the mini world and has no model '{model}'.")
        if type(size) is not int or not 16 <= size <= 1024:
            raise UsageError(f"The size of a scene is a whole number from 16 to 1024 pixels, not {size!r}.")
        if wrong is not None:
            from radl_bench.mini.wrong import check_kind

            check_kind(wrong)
        self.wrong = wrong
        self.reference = "ceiling" if wrong is None else "floor"
        self.params: dict[str, Any] = {"size": size} | ({} if wrong is None else {"wrong": wrong})

    def generate(self, samples: Sequence[Sample], seeds: Sequence[int]) -> list[Image]:
        """Return one RGB scene for each sample and seed; raises `UsageError` where nothing can be wrong in this way."""
        return [self._draw(sample, seed) for sample, seed in zip(samples, seeds, strict=True)]

    def _draw(self, sample: Sample, seed: int) -> Image:
        from PIL import Image

        from radl_bench.mini.scenes import render
        from radl_bench.mini.wrong import wrong

        drawn = sample if self.wrong is None else wrong(sample, self.wrong, seed)
        return Image.fromarray(render(drawn, seed, size=self.params["size"]))
