"""The text-only baseline: a Stable Diffusion v1 shaped base on the global prompt, boxes unseen."""

from __future__ import annotations

from radl_bench.generators.engine import EngineGenerator


class StableDiffusionGenerator(EngineGenerator):
    """Text to image: the prompt alone, boxes unseen.

    Arguments as the base class's.
    """

    name = "stable-diffusion"
