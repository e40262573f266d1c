"""RaDL (the paper's reading, or the released checkpoint), on any Stable Diffusion v1 shaped base."""

from __future__ import annotations

from radl_bench.generators.layout_adapter import LayoutAdapterGenerator


class RadlGenerator(LayoutAdapterGenerator):
    """Layout to image with RaDL's adapter: 60 steps, the layer on in the first 30.

    Arguments as the base class's.
    """

    name = "radl"
    adapter_name = "radl"
