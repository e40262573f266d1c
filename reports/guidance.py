"""Constants of the training-free methods on the mini model, tried on layouts outside every benchmark.

    python reports/guidance.py --samples 12 --steps 20 [--method boxdiff] [--runs work/guidance]

Prints one row a setting. Colour is what most shows a layout at this scale: the share of a box's pixels that have the
instance's colour, less the share of the pixels outside the box that have it, in points, the mean over instances with
its standard error. R_inst and mIoU are the mini judge's. Images are kept, so that a second call prints them at once.
`guidance.md` beside this script holds what was found.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from radl_bench.benchmarks.importers import write_benchmark
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.judges.color import color_masks
from radl_bench.mini.layouts import LayoutSampler
from radl_bench.runs.generate import build_generator, generate_run
from radl_bench.scoring.score import score_each
from radl_bench.types import COLORS, Sample

SEED = 4242
LEVELS = (0.0, 1.0, 1.0, 1.0, 0.0, 0.0)
"""Two to four things, in equal parts."""
GRID: dict[str, list[dict[str, str]]] = {
    "stable-diffusion": [{}],
    "multidiffusion": [{"active_fraction": value} for value in ("0", "0.2", "0.4")],
    "layout-guidance": [{"strength": value} for value in ("10", "30", "90")],
    "boxdiff": [
        *(
            {"tokens": tokens, "step_size": value}
            for tokens in ("last", "phrase")
            for value in ("10", "20", "40", "80")
        ),
        {"tokens": "last", "refine": "false"},
        {"tokens": "phrase", "refine": "false"},
        {"tokens": "phrase", "refine": "false", "step_size": "5"},
    ],
}
"""Method -> the settings that are tried."""


def write_layouts(folder: Path, count: int) -> Path:
    """Write a benchmark of `count` layouts that no benchmark and no training holds."""
    sampler = LayoutSampler(SEED, level_weights=LEVELS, uncolored=0.0, relations=0.0)
    samples = [sampler.sample() for _ in range(count)]
    fields = {"name": "guidance-layouts", "version": "1", "license": "CC0-1.0", "citation": "none",
              "description": f"Layouts of seed {SEED}", "images_per_sample": 1, "resolution": 128}  # fmt: skip
    write_benchmark(folder, samples, fields, {"success": {"iou": 0.5, "coverage": 0.2}, "iou": {}})
    return folder


def rows(folder: Path, methods: list[str], steps: int, runs: Path) -> Iterator[str]:
    """The lines of the table, one after the other."""
    benchmark = load_benchmark(str(folder))
    for method in methods:
        for tried in GRID[method]:
            settings = {**tried, "num_inference_steps": str(steps), "exact": "false"}
            generator = build_generator(method, model="mini", device="cpu", settings=settings)
            outcome = generate_run(benchmark, generator, out=runs, source=str(folder))
            (scored,) = score_each([outcome.run])
            cells = {c["metric"]: c for c in json.loads(scored.file.read_text("utf-8"))["scores"] if c["level"] is None}
            cost = outcome.generator_seconds / max(1, outcome.made)
            gains = [gain for sample in benchmark.samples for gain in colour_gains(sample, outcome.run)]
            spread = 100 * np.std(gains, ddof=1) / len(gains) ** 0.5
            texts = [f"{100 * np.mean(gains):.1f} +- {spread:.1f}"]
            texts += [text(cells[metric]) for metric in ("success_inst", "miou")]
            yield f"| {method} | {', '.join(f'{k}={v}' for k, v in tried.items())} | {' | '.join(texts)} | {cost:.1f} |"


def colour_gains(sample: Sample, run: Path) -> list[float]:
    """Share of each box with its instance's colour, less that of the rest of the image."""
    pixels = np.asarray(Image.open(run / "images" / f"{sample.id}_0.png").convert("RGB"))
    colours, (height, width) = color_masks(pixels), pixels.shape[:2]
    gains = []
    for instance in sample.instances:
        x0, y0, x1, y1 = (round(v * n) for v, n in zip(instance.box, (width, height) * 2, strict=True))
        inside = np.zeros((height, width), bool)
        inside[y0:y1, x0:x1] = True
        own = colours[COLORS.index(str(instance.color))]
        if not inside.all():
            gains.append(float(own[inside].mean() - own[~inside].mean()))
    return gains


def text(cell: Mapping[str, float]) -> str:
    """A score with its interval: `12.5 [4.1, 20.9]`."""
    return f"{cell['value']:.1f} [{cell['ci_low']:.1f}, {cell['ci_high']:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=12)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--method", nargs="+", choices=GRID, default=list(GRID))
    parser.add_argument("--runs", type=Path, default=Path("work/guidance"))
    args = parser.parse_args()
    folder = write_layouts(args.runs / "layouts", args.samples)
    print("| method | setting | colour | R_inst | mIoU | s an image |\n|---|---|---|---|---|---|", flush=True)
    for line in rows(folder, args.method, args.steps, args.runs):
        print(line, flush=True)


if __name__ == "__main__":
    main()
