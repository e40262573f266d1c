"""MIGC (and MIGC++, by its checkpoint), on any Stable Diffusion v1 shaped base."""

from __future__ import annotations

from radl_bench.generators.engine import MINI, PAPER
from radl_bench.generators.layout_adapter import LayoutAdapterGenerator


class MigcGenerator(LayoutAdapterGenerator):
    """Layout to image with MIGC's adapter, by default as its benchmark script runs it.

    50 steps of Euler with the layer on in the first 26, guidance 7.5, its negative prompt, phrases repeated. On the
    mini model, whose adapter has not seen repeated phrases in training, steps are the baseline's and phrases plain.
    Arguments as the base class's.
    """

    name = "migc"
    adapter_name = "migc"
    defaults = (MINI, {**PAPER, "num_inference_steps": 50})
    repeats = (False, True)
