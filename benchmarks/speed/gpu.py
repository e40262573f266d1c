"""Generation at Stable Diffusion v1.4's size on a GPU: what each way of running it brings, to plain diffusers.

    python benchmarks/speed/gpu.py [--compile] [--images 32] [--batch 8]
    python benchmarks/speed/gpu.py --device cpu --size tiny     # the same rows on a small model, to try the script

Random weights and text states; every way makes the same images, from the same noise, and writes them as PNG files. Rows
are printed as they are made, in wall seconds of the fastest repeat after a run that warms up (and compiles). Each way
adds to the one above it; plain diffusers makes one image after the other in the same precision, and is measured again
at the end, since a GPU's clock drifts. RaDL's layers are on in every step, which is more than a run of the paper has.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging
from PIL import Image

from radl_bench.devices import check_device
from radl_bench.errors import UsageError
from radl_bench.runs.beside import beside
from radl_model.adapters.adapter import FusionAdapter
from radl_model.adapters.wording import slot_generators
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import LayoutContext, build_context
from radl_model.layers.variants import PAPER
from radl_model.pipelines.sd14 import SCHEDULER, TOKENS, UNET, VAE

SMALL = {"block_out_channels": (32, 32, 64, 64)}
SIZES = {
    "sd14": (UNET, VAE),
    "tiny": (
        {**UNET, **SMALL, "sample_size": 16, "cross_attention_dim": 32},
        {**VAE, **SMALL, "layers_per_block": 1, "sample_size": 128},
    ),
}
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
DDIM = {key: value for key, value in SCHEDULER.items() if key != "skip_prk_steps"} | {"clip_sample": False}
INSTANCES = 6


@dataclass(frozen=True)
class Way:
    """A way of running the model; `batch` and `decode` say whether that many images go through it at once."""

    name: str
    beside: bool = False
    decode: bool = False
    channels_last: bool = False
    batch: bool = False
    compile: str = ""
    layers: bool = False


def ways(compiled: bool, graphs: bool) -> list[Way]:
    """Return the ways, each with what the ones before it have."""
    steps = [
        {"name": "plain diffusers"},
        {"name": "+ PNG beside the model", "beside": True},
        {"name": "+ images decoded together", "decode": True},
        {"name": "+ channels_last", "channels_last": True},
        {"name": "+ UNet in batches", "batch": True},
    ]
    steps += [{"name": "+ torch.compile", "compile": "default"}] if compiled else []
    steps += [{"name": "+ CUDA graphs", "compile": "reduce-overhead"}] if compiled and graphs else []
    found = [Way(**steps[0])]
    for step in steps[1:]:
        found.append(replace(found[-1], **step))
    radl = replace(next(way for way in found if way.batch), name="RaDL, in batches", layers=True)
    return [*found, radl, replace(found[0], name="plain diffusers, again")]


class Model:
    """The pipeline of a way, with the noise and the text states that all ways share.

    Noise is [N, 4, H, W] and text [N, 77, D], on the CPU, in float32.
    """

    def __init__(self, way: Way, given: argparse.Namespace) -> None:
        self.way, self.given, self.dtype = way, given, PRECISIONS[given.precision]
        torch.manual_seed(0)
        with torch.device(given.device):
            unet, vae = (
                kind(**c) for kind, c in zip((UNet2DConditionModel, AutoencoderKL), SIZES[given.size], strict=True)
            )
        unet, vae = (part.to(self.dtype).eval().requires_grad_(False) for part in (unet, vae))
        self.adapter = self._attach(unet) if way.layers else None
        if way.channels_last:
            unet, vae = (part.to(memory_format=torch.channels_last) for part in (unet, vae))
        rng = torch.Generator().manual_seed(1)
        side, width = unet.config.sample_size, unet.config.cross_attention_dim
        self.noise = torch.randn(given.images, 4, side, side, generator=rng)
        self.texts = torch.randn(given.images, TOKENS, width, generator=rng)
        if way.compile:
            unet.compile(mode=way.compile)
            vae.decoder.compile(mode=way.compile)
        parts = {"vae": vae, "unet": unet, "scheduler": DDIMScheduler(**DDIM)}
        absent = dict.fromkeys(("text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
        self.pipe = StableDiffusionPipeline(**parts, **absent, requires_safety_checker=False)
        self.pipe.set_progress_bar_config(disable=True)

    def _attach(self, unet: UNet2DConditionModel) -> FusionAdapter:
        adapter = FusionAdapter.from_unet(unet, PAPER).to(self.given.device, self.dtype).eval().requires_grad_(False)
        adapter.attach(unet)
        return adapter

    def images(self) -> Iterator[Image.Image]:
        """Make all images, in order."""
        size = self.given.batch if self.way.batch else 1
        waiting: list[torch.Tensor] = []
        for start in range(0, self.given.images, size):
            rows = slice(start, min(start + size, self.given.images))
            if not self.way.decode:
                yield from self._call(rows, "pil")
                continue
            waiting += list(self._call(rows, "latent"))
            if len(waiting) >= self.given.batch or rows.stop == self.given.images:
                yield from self._decoded(waiting)
                waiting = []

    def _call(self, rows: slice, output: str) -> Sequence[Any]:
        """Return the images of these rows, or their latents [B, 4, H, W]."""
        noise, texts = (whole[rows].to(self.given.device, self.dtype) for whole in (self.noise, self.texts))
        if self.adapter is not None:
            self.adapter.holder.context = context(texts, noise.shape[-2:], PAPER)
        steps, empty = self.given.steps, torch.zeros_like(texts)
        texts_of = {"prompt_embeds": texts, "negative_prompt_embeds": empty}
        return self.pipe(latents=noise, num_inference_steps=steps, output_type=output, **texts_of).images

    def _decoded(self, latents: Sequence[torch.Tensor]) -> list[Image.Image]:
        pixels = self.pipe.vae.decode(torch.stack(list(latents)) / self.pipe.vae.config.scaling_factor).sample
        return self.pipe.image_processor.postprocess(pixels.detach())


def context(texts: torch.Tensor, grid: Sequence[int], config: FusionConfig) -> LayoutContext | None:
    """Return layouts of `INSTANCES` boxes for a batch, whose phrases are cut from the texts [B, 77, D]."""
    images, device = len(texts), texts.device
    rng = torch.Generator().manual_seed(2)
    corner = torch.rand(images, INSTANCES, 2, generator=rng) * 0.4
    boxes = torch.cat([corner, corner + 0.3 + 0.3 * torch.rand(images, INSTANCES, 2, generator=rng)], -1)
    phrases = torch.stack([texts.roll(n, 1) for n in range(INSTANCES)], 1)
    return build_context(
        phrases,
        phrases[:, :, 0],
        boxes.to(device, texts.dtype),
        torch.ones(images, INSTANCES, dtype=torch.bool, device=device),
        (grid[0], grid[1]),
        verbs=texts,
        verb_valid=torch.ones(images, dtype=torch.bool, device=device),
        guidance=True,
        mask_mode=config.mask_mode,
        rngs=slot_generators(config, None, images),
    )


@torch.no_grad()
def run(model: Model, folder: Path) -> float:
    """Make and write all images; return wall seconds until the last file is there."""
    numbered = enumerate(model.images())
    start = time.perf_counter()
    if model.way.beside:
        beside(lambda pair: save(pair, folder), numbered)
    else:
        for pair in numbered:
            save(pair, folder)
    return time.perf_counter() - start  # pixels are on the CPU by then, so the GPU has nothing left to do


def save(pair: tuple[int, Image.Image], folder: Path) -> None:
    """Write an image as PNG."""
    pair[1].save(folder / f"{pair[0]:05d}.png")


def pixels_in(folder: Path) -> np.ndarray:
    """Return the images of a folder, [N, H, W, 3] in 0..255."""
    return np.stack([np.asarray(Image.open(file), dtype=np.int16) for file in sorted(folder.glob("*.png"))])


def measure(way: Way, given: argparse.Namespace, folder: Path) -> tuple[float, float | None]:
    """Run a way; return wall seconds an image and the peak of the GPU's memory in GiB, None on a CPU."""
    folder.mkdir()
    cuda = given.device.startswith("cuda")
    gc.collect()  # the model of the way before
    torch.compiler.reset()
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(given.device)
    model = Model(way, given)
    seconds = min([run(model, folder) for _ in range(given.repeats + 1)][1:])
    return seconds / given.images, torch.cuda.max_memory_allocated(given.device) / 2**30 if cuda else None


def table(given: argparse.Namespace, top: Path) -> Iterator[str]:
    """Yield the lines of the table; a way that fails has a row that says why, and the rest go on."""
    yield "| way | s an image | times faster | GPU GiB | mean difference of a pixel, of 255 |\n|---|---|---|---|---|"
    plain, first = None, None
    for n, way in enumerate(ways(given.compile, given.device.startswith("cuda"))):
        try:
            seconds, peak = measure(way, given, top / str(n))
        except (RuntimeError, ImportError) as error:  # out of memory, or no compiler
            if plain is None:
                raise UsageError(f"Plain diffusers does not run here: {str(error)[:200]}") from error
            yield f"| {way.name} | failed: {' '.join(str(error).split())[:120]} | | | |"
            continue
        images = pixels_in(top / str(n))
        plain, first = (seconds, images) if plain is None or first is None else (plain, first)
        memory = "" if peak is None else f"{peak:.2f}"
        apart = "" if way.layers else f"{np.abs(images - first).mean():.3f}"
        yield f"| {way.name} | {seconds:.4f} | {plain / seconds:.2f} | {memory} | {apart} |"


def main() -> None:
    """Print a row a way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=SIZES, default="sd14")
    parser.add_argument("--precision", choices=PRECISIONS, default="bf16")
    parser.add_argument("--compile", action="store_true", help="also compiled, and on a GPU with CUDA graphs")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8, help="images at once where a way has batches")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    logging.set_verbosity_error()  # diffusers advises on every cast
    try:
        check_device(given.device)
        if given.device == "cpu" and given.size != "tiny":
            raise UsageError("On a CPU this script measures nothing: give --device cpu --size tiny to try it.")
        name = torch.cuda.get_device_name(given.device) if given.device.startswith("cuda") else given.device
        print(f"torch {torch.__version__}, {name}, {given.size}, {given.precision}, {given.steps} steps\n", flush=True)
        with tempfile.TemporaryDirectory() as top:
            for line in table(given, Path(top)):
                print(line, flush=True)
    except UsageError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
