"""Top-1 of single things from the text alone: `python -m radl_bench.mini.train.top1 BASE CLASSIFIER [--side 64]`.

The number to steer a base by. Every class in every colour is asked for once (79 x 7 = 553 images); the classifier
(`classifier.py`) took no part in the training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from PIL import Image

from radl_bench.errors import RadlBenchError
from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.train.autoencoder import to_tensor
from radl_bench.mini.train.classifier import ThingClassifier, load
from radl_bench.mini.train.config import CLASSIFIER, trained
from radl_bench.types import COLORS
from radl_model.train.precision import autocast
from radl_model.train.progress import progress

BATCH = 32


def wanted(count: int, seed: int = 0) -> list[tuple[int, int]]:
    """The first `count` of all (class, colour) in a shuffled order in which every class comes before any again."""
    rng = np.random.default_rng(seed)
    first = rng.integers(len(COLORS), size=len(CATEGORIES))
    order = [rng.permutation(len(CATEGORIES)) for _ in COLORS]
    pairs = [(int(c), int((first[c] + turn) % len(COLORS))) for turn, row in enumerate(order) for c in row]
    return pairs[:count]


def draw(pipe: Any, asked: list[tuple[int, int]], side: int, steps: int, guidance: float) -> NDArray[np.uint8]:
    """Images uint8 [N, side, side, 3]; the noise of image n has seed n."""
    images = []
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        generators = [torch.Generator().manual_seed(start + i) for i in range(len(part))]
        prompts = [f"a photo of a {COLORS[color]} {CATEGORIES[kind]}" for kind, color in part]
        with autocast():
            images.append(
                pipe(
                    prompts, height=side, width=side, num_inference_steps=steps, guidance_scale=guidance,
                    generator=generators, output_type="np",
                ).images
            )  # fmt: skip
    return (np.concatenate(images) * 255).round().astype(np.uint8)


@torch.no_grad()
def judge(classifier: ThingClassifier, images: NDArray[np.uint8], asked: list[tuple[int, int]]) -> dict[str, float]:
    """Share of the images whose class, colour, and both are told as asked for, in per cent, and the class's top-5."""
    told = [classifier(part) for part in to_tensor(images).split(64)]
    kind, color = torch.cat([k for k, _ in told]), torch.cat([c for _, c in told])
    right = kind.argmax(1) == torch.tensor([k for k, _ in asked])
    painted = color.argmax(1) == torch.tensor([c for _, c in asked])
    among = (kind.topk(5, 1).indices == torch.tensor([[k] for k, _ in asked])).any(1)
    shares = {"top1": right, "top5": among, "colour": painted, "both": right & painted}
    return {name: round(100 * float(hits.float().mean()), 1) for name, hits in shares.items()} | {"n": len(asked)}


def grid(images: NDArray[np.uint8], columns: int = 12) -> Image.Image:
    """Rows of `columns` images; an unfilled last row is left out."""
    rows = [np.hstack(list(images[i : i + columns])) for i in range(0, len(images) - columns + 1, columns)]
    return Image.fromarray(np.vstack(rows))


def measured(classifier: Path) -> object:
    """What the classifier tells right of rendered things, held out (0..1), so that it is read beside its verdict."""
    return json.loads((classifier / "config.json").read_text("utf-8")).get("accuracy")


def _finished(classifier: Path) -> Path:
    try:
        return trained(classifier, *CLASSIFIER)
    except RadlBenchError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def _reached(base: Path) -> dict[str, str]:
    """Of a base whose training has not ended, the step: it may be measured on the way."""
    reached = progress(base.absolute().parent)
    return {} if reached is None or reached[0] >= reached[1] else {"base": f"step {reached[0]} of {reached[1]}"}


def main(
    base: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Pipeline folder.")],
    classifier: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder that the stage classifier leaves.")
    ],
    side: Annotated[int, typer.Option(help="Pixels: 64 draws whole things, 128 things of any size.")] = 64,
    count: Annotated[int, typer.Option(help="Images.")] = len(CATEGORIES) * len(COLORS),
    steps: Annotated[int, typer.Option(help="DDIM steps.")] = 30,
    guidance: Annotated[float, typer.Option(help="Scale of classifier-free guidance.")] = 4.0,
    sheet: Annotated[Path | None, typer.Option(help="Write the first 48 images here.")] = None,
) -> None:
    """Draw, judge, print one JSON line."""
    from diffusers import StableDiffusionPipeline

    ruler = load(_finished(classifier))
    pipe = StableDiffusionPipeline.from_pretrained(base)
    pipe.set_progress_bar_config(disable=True)
    asked = wanted(count)
    images = draw(pipe, asked, side, steps, guidance)
    if sheet is not None:
        grid(images[:48]).save(sheet)
    told = {"side": side, "steps": steps, "guidance": guidance, **judge(ruler, images, asked)}
    print(json.dumps({**told, "classifier": measured(classifier), **_reached(base)}))


if __name__ == "__main__":
    typer.run(main)
