"""`radl-bench demo`: the whole way from layouts to the table and its images, with the embedded models."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radl_bench.cli.runs_folder import DEFAULT, RunsHere

if TYPE_CHECKING:
    from radl_bench.types import Benchmark

METHODS = ("sprites", "stable-diffusion", "radl")
"""The rendered scenes ("real"), the text-only model, and RaDL; all of the sprite world."""


def demo(
    limit: Annotated[int, typer.Option(help="Samples of COCO-MIG, spread evenly over its levels.")] = 40,
    root: RunsHere = DEFAULT,
    reports: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("reports"),
) -> None:
    """Generate, score and report COCO-MIG with the embedded models: real scenes, text-only model, RaDL."""
    from radl_bench.benchmarks.loading import load_benchmark

    start = time.perf_counter()
    benchmark = load_benchmark("coco-mig", limit=limit)
    runs = [_generate(benchmark, method, root) for method in METHODS]

    from radl_bench.report import build_report, show, write_report
    from radl_bench.scoring.score import score_runs

    score_runs(runs)
    report = build_report(runs)
    _, file = write_report(report, "markdown", reports / "demo.md")
    _, page = write_report(report, "html", reports / "demo")
    show(report)
    print(f"The demo took {time.perf_counter() - start:.0f} s. The table is {file}.")
    print(f"The report, with the images behind every number (open it in a browser): {page}")


def _generate(benchmark: Benchmark, method: str, root: Path) -> Path:
    from radl_bench.api.making import generate
    from radl_bench.runs.local_workers import cores

    # Scenes are drawn faster than a second worker starts; more than two would each load a model for a few images.
    workers = 1 if method == "sprites" else min(2, cores())
    print(f"{method} on {benchmark.name}, {len(benchmark.samples)} samples", file=sys.stderr)
    return generate(benchmark, method, model="mini", runs=root, argv=sys.argv, workers=workers).run
