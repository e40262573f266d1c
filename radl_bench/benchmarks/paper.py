"""How the papers ran a benchmark: the preset behind `generate --paper-scale` and `plan`."""

from __future__ import annotations

from radl_bench.benchmarks.loading import benchmark_folders, family, packaged
from radl_bench.benchmarks.toml import read_paper, read_toml
from radl_bench.errors import UsageError
from radl_bench.types import Benchmark, PaperRun


def paper_of(benchmark: Benchmark) -> PaperRun:
    """Return the preset of a benchmark: its own, or that of the packaged one it is a variant of.

    Raises `UsageError` for a benchmark that has none ("coco-position-full" has that of "coco-position").
    """
    if benchmark.paper is not None:
        return benchmark.paper
    folder = benchmark_folders().get(family(benchmark.name, packaged()))
    file = None if folder is None else folder / "benchmark.toml"
    found = None if file is None else read_paper(read_toml(file).get("paper"), str(file))
    if found is None:
        raise UsageError(
            f"{benchmark.name} does not say how a paper ran it. Write [paper] with images_per_sample and steps into "
            "its benchmark.toml, or leave out --paper-scale."
        )
    return found
