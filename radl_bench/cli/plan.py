"""`radl-bench plan`: what a run of the papers' scale needs, before anyone rents a card."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from radl_bench.cli import completing
from radl_bench.errors import UsageError

if TYPE_CHECKING:
    from radl_bench.downloads.fetch import Item
    from radl_bench.runs.costs import Cost
    from radl_bench.types import Benchmark, PaperRun

_LAYERS = {"gligen": ("gligen",)}
_JUDGES = {"detections": "grounding-dino", "coverage": "sam", "cosines": "open-clip", "features": "inception"}
"""Weights by kind of measurement."""


def plan(
    benchmark: Annotated[
        str,
        typer.Argument(
            help="Name of a benchmark (`radl-bench ls benchmarks`) or its folder.", autocompletion=completing.benchmark
        ),
    ],
    method: Annotated[
        str, typer.Option(help="A method (`radl-bench ls methods`).", autocompletion=completing.part("generators"))
    ] = "radl",
    model: Annotated[str, typer.Option(help="sd14: the figures are those of Stable Diffusion v1.4.")] = "sd14",
    card: Annotated[str, typer.Option(help="h100, a100 or rtx4090.")] = "a100",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
) -> None:
    """Say what BENCHMARK at the papers' scale needs: images, disk, memory and hours on a card, and the commands."""
    from radl_bench.benchmarks.loading import load_benchmark
    from radl_bench.benchmarks.paper import paper_of
    from radl_bench.runs.costs import cost

    if model != "sd14":
        raise UsageError("The figures of a plan are those of --model sd14. The mini model needs none: just run it.")
    chosen = load_benchmark(benchmark)
    preset, needed = paper_of(chosen), weights_of(chosen, method)
    images = len(chosen.samples) * preset.images_per_sample
    instances = sum(sample.level for sample in chosen.samples) / len(chosen.samples)
    found = cost(method, images, preset.steps, instances, dtype=dtype, card=card)
    for line in (
        *_needs(chosen, preset, found, needed),
        *_origin(method),
        *_commands(benchmark, method, dtype, needed),
    ):
        typer.echo(line)


def weights_of(benchmark: Benchmark, method: str) -> list[Item]:
    """Return what has to be fetched for the method and for the judges of the benchmark's metrics."""
    from radl_bench.downloads.fetch import find
    from radl_bench.scoring.chosen import choose

    kinds = frozenset[str]().union(*(one.metric.requires for one in choose(benchmark)))
    if all(instance.color is None for sample in benchmark.samples for instance in sample.instances):
        kinds -= {"coverage"}  # nobody looks at a colour
    judges = [name for kind, name in _JUDGES.items() if kind in kinds]
    return [find(name) for name in ("sd14", *_LAYERS.get(method, ()), *judges)]


def _needs(benchmark: Benchmark, preset: PaperRun, found: Cost, needed: list[Item]) -> list[str]:
    from radl_bench.downloads.fetch import is_ready

    count, each = len(benchmark.samples), preset.images_per_sample
    missing = sum(item.size for item in needed if not is_ready(item)) / 1e9
    said = [
        f"images  {count * each:,}: {count:,} samples x {each}, {preset.steps} steps, seeds {preset.seed_policy}",
        f"disk    at most {found.image_gb:.1f} GB for the images, {missing:.1f} GB for weights not here yet",
        f"memory  at least {found.memory_gb:.1f} of the card's {found.card_gb} GB, with one image at a time",
        f"hours   about {found.hours:.1f} on one {found.card}, for the images; scoring is not counted",
    ]
    return [part for line in said for part in textwrap.wrap(line, 80, subsequent_indent=" " * 8, drop_whitespace=True)]


def _origin(method: str) -> list[str]:
    from radl_bench.runs.costs import METHODS, UNET_FLOPS, USED

    text = (
        f"Computed, not measured on a card: a row of the UNet takes {UNET_FLOPS / 1e9:,.0f} GFLOP, and {method} runs "
        f"{METHODS[method].why}; {USED:.0%} of the card's peak is assumed to be reached. Disk is that of the pixels, "
        "memory that of the weights and of the largest step."
    )
    return textwrap.wrap(text, 80)


def _commands(benchmark: str, method: str, dtype: str, needed: list[Item]) -> list[str]:
    from radl_bench.hints import command, paper_judges

    judges = paper_judges({item.name for item in needed})
    chosen = None if dtype == "float32" else f"dtype={dtype}"
    options = {"method": method, "model": "sd14", "device": "cuda", "set": chosen, "paper_scale": True}
    reference = "coco.npz" if judges["features"] == "inception" else None
    photographs = [command("data", "fid-reference", "PHOTOGRAPHS", out=reference)] * (reference is not None)
    return [
        "",
        *(command("fetch", item.name) for item in needed),
        command("generate", benchmark, **options),
        *photographs,
        command("score", **judges, fid_reference=reference, device="cuda"),
        command("report"),
    ]
