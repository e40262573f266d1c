"""Make docs/methods.png, the image at the top of the README, out of runs: layouts down, methods across.

    for method in sprites layout-diffusion; do radl-bench generate coco-mig --limit 10 --method $method; done
    for method in stable-diffusion multidiffusion layout-guidance boxdiff gligen migc radl; do
        radl-bench generate coco-mig --limit 10 --method $method
    done
    python docs/make_picture.py

The layouts are the benchmark's first ones with two, three and four objects; nothing is chosen by how it looks.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from radl_bench.errors import MissingData, RadlBenchError
from radl_bench.runs.plan import RunImages
from radl_bench.runs.store import find_runs
from radl_bench.types import Sample

HERE = Path(__file__).resolve().parent
METHODS = {
    "sprites": "real (rendered)",
    "stable-diffusion": "text only",
    "multidiffusion": "MultiDiffusion",
    "layout-guidance": "layout guidance",
    "boxdiff": "BoxDiff",
    "layout-diffusion": "LayoutDiffusion",
    "gligen": "GLIGEN",
    "migc": "MIGC",
    "radl": "RaDL",
}
SIDE, GAP, HEAD, FOOT = 160, 8, 26, 20
INK = "#444"


def main() -> None:
    """Parse the command line, draw the image, and say where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the runs are")
    parser.add_argument("--out", type=Path, default=HERE / "methods.png")
    options = parser.parse_args()
    try:
        image = sheet(options.runs)
    except RadlBenchError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(options.out, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


def sheet(root: Path, layouts: int = 3) -> Image.Image:
    """Return one image: a column for each method that has a run under `root`, a line for each of the first layouts.

    Raises:
        MissingData: there is no run, or an image is not there.
    """
    found = {run.run.manifest["generator"]["name"]: run for run in map(RunImages.open, find_runs(root))}
    shown = [name for name in METHODS if name in found]
    if not shown:
        raise MissingData(f"There is no run under {root}. The head of {Path(__file__).name} says how to make them.")
    samples = found[shown[0]].benchmark.samples[:layouts]
    across, down = SIDE + GAP, SIDE + FOOT + GAP
    image = Image.new("RGB", (len(shown) * across + GAP, HEAD + layouts * down), "white")
    for column, name in enumerate(shown):
        x = GAP + column * across
        _write(image, METHODS[name], (x, 6))
        for line, sample in enumerate(samples):
            image.paste(_drawn(found[name], sample), (x, HEAD + line * down))
    for line, sample in enumerate(samples):
        _write(image, sample.prompt, (GAP, HEAD + line * down + SIDE + 3))
    return image


def _drawn(run: RunImages, sample: Sample) -> Image.Image:
    picture = run.image(sample, 0)
    if picture.path is None or picture.problem:
        raise MissingData(f"{run.run.path} has no image of {sample.id}: {picture.problem}")
    image = Image.open(picture.path).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    for instance in sample.instances:
        x0, y0, x1, y1 = (round(side * (SIDE - 1)) for side in instance.box)
        for inset, color in ((0, "black"), (1, instance.color or "gray"), (3, "white")):
            draw = ImageDraw.Draw(image)
            draw.rectangle(
                (x0 + inset, y0 + inset, x1 - inset, y1 - inset), outline=color, width=2 if inset == 1 else 1
            )
    return image


def _write(image: Image.Image, text: str, place: tuple[int, int]) -> None:
    ImageDraw.Draw(image).text(place, text, fill=INK, font=ImageFont.load_default(14))


if __name__ == "__main__":
    main()
