"""What the layout layers cost: UNet steps with and without them, interleaved in one process, as a table.

    python benchmarks/speed/layers.py                     # Stable Diffusion v1.4's size, random weights
    python benchmarks/speed/layers.py --size tiny         # the same on a small UNet, in seconds

A step is one UNet call with guidance (two rows an image) on 64 x 64 latents, and costs CPU-seconds of one thread, so
that other work on the machine counts little. Shown are the smallest of the repeats and the median ratio of neighbours;
rows are printed as they are made. RaDL and MIGC (`--methods`) are the published settings with random weights.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention import GatedSelfAttentionDense
from diffusers.models.embeddings import GLIGENTextBoundingboxProjection
from transformers import CLIPTextConfig, CLIPTextModel

from radl_model.adapters.adapter import FusionAdapter
from radl_model.adapters.wording import slot_generators
from radl_model.gligen.adapter import GligenAdapter
from radl_model.gligen.layers import attention_arguments
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import LayoutContext, build_context
from radl_model.layers.variants import MIGC, PAPER
from radl_model.pipelines.sd14 import TEXT, TOKENS, UNET, VAE

TINY = {**UNET, "sample_size": 16, "cross_attention_dim": 32, "block_out_channels": (32, 32, 64, 64)}
SIZES = {"sd14": UNET, "tiny": TINY}
METHODS = {"radl": PAPER, "migc": MIGC}
BARS = {"active": 1.10, "inactive": 1.00, "memory": 1.10, "bound": 1.10}


@dataclass(frozen=True)
class Row:
    """A line of the table: CPU-seconds of the smallest repeat, ratio to the reference, peak bytes."""

    what: str
    seconds: float | None
    ratio: float
    bar: float | None
    peak: int | None = None


class Bench:
    """A UNet of a size (a key of `SIZES`) with an adapter, and steps on them with so many boxes an image."""

    def __init__(self, size: str, instances: int) -> None:
        torch.manual_seed(0)
        if size == "sd14":  # these lie in memory all through a run, so they belong to its peak
            self.held = CLIPTextModel(CLIPTextConfig(**TEXT)), AutoencoderKL(**VAE)
        self.unet = UNet2DConditionModel(**SIZES[size]).eval().requires_grad_(False)
        self.side = self.unet.config.sample_size
        self.width = self.unet.config.cross_attention_dim
        self.instances, self.config = instances, PAPER
        self.adapter: FusionAdapter | None = None

    def attach(self, config: FusionConfig) -> None:
        """Make the layers with these settings."""
        self.config = config
        self.adapter = FusionAdapter.from_unet(self.unet, self.config).eval().requires_grad_(False)
        self.adapter.attach(self.unet)

    def context(self, images: int) -> LayoutContext | None:
        """Layouts of `images` images, all different, boxes of a tenth to a third of the area."""
        rng = torch.Generator().manual_seed(1)
        shape = (images, self.instances)
        corner = torch.rand(*shape, 2, generator=rng) * 0.4
        boxes = torch.cat([corner, corner + 0.3 + 0.3 * torch.rand(*shape, 2, generator=rng)], -1)
        texts = torch.randn(*shape, TOKENS, self.width, generator=rng)
        return build_context(
            texts,
            texts[:, :, 0],
            boxes,
            torch.ones(shape, dtype=torch.bool),
            (self.side, self.side),
            verbs=texts[:, 0],
            verb_valid=torch.ones(images, dtype=torch.bool),
            guidance=True,
            mask_mode=self.config.mask_mode,
            rngs=slot_generators(self.config, None, images),
        )

    def inputs(self, images: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rng = torch.Generator().manual_seed(2)
        latents = torch.randn(2 * images, 4, self.side, self.side, generator=rng)
        return latents, torch.tensor(500), torch.randn(2 * images, TOKENS, self.width, generator=rng)

    def drop(self) -> None:
        """Let go of the layers."""
        self.switch(attached=False)
        self.adapter = None
        gc.collect()

    def switch(self, attached: bool) -> None:
        """Put the layers into the UNet, or take them out."""
        (self.adapter.attach if attached else self.adapter.detach)(self.unet)

    @torch.no_grad()
    def step(self, inputs: Any, context: LayoutContext | None = None) -> float:
        """CPU-seconds of one UNet call with `context` bound."""
        if self.adapter is not None:
            self.adapter.holder.context = context
        return timed(lambda: self.unet(*inputs))


def step_rows(bench: Bench, method: str, repeats: int) -> Iterator[Row]:
    """Plain, inactive and active steps of one image, in turn, and what their memory reaches."""
    one = bench.inputs(1)
    bench.step(one)
    plain_peak = peak_of(lambda: bench.step(one))
    bench.attach(METHODS[method])
    on, off = bench.context(1), bench.context(1)
    off.active = False
    first = bench.step(one, on)
    active_peak = peak_of(lambda: bench.step(one, on))
    calls = {"plain": None, "inactive": off, "active": on}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats):
        for name in np.roll(list(calls), turn):
            bench.switch(name != "plain")
            times[name].append(bench.step(one, calls[name]))
    bench.drop()
    plain = min(times["plain"])
    yield Row("plain", plain, 1.0, None, plain_peak)
    for name in ("inactive", "active"):
        peak = active_peak if name == "active" else None
        yield Row(f"{method}, {name}", min(times[name]), paired(times[name], times["plain"]), BARS[name], peak)
    yield Row(f"{method}, active, first of a run", first, first / plain, None)
    if plain_peak is not None and active_peak is not None:
        yield Row(f"{method}, peak memory to plain", None, active_peak / plain_peak, BARS["memory"])


def gligen_rows(bench: Bench, repeats: int) -> Iterator[Row]:
    """Steps with GLIGEN's layers, ours and diffusers' own in the same places, against plain ones.

    Diffusers' do the arithmetic that the method asks for and nothing beside it, so ours may cost a tenth more.
    """
    unet, one = bench.unet, bench.inputs(1)
    ours = GligenAdapter.from_unet(unet).eval().requires_grad_(False)
    count, rng = ours.settings.slots, torch.Generator().manual_seed(3)
    texts, boxes = torch.randn(2, count, bench.width, generator=rng), torch.rand(2, count, 4, generator=rng)
    valid = torch.arange(count).expand(2, -1) < torch.tensor([[0], [bench.instances]])
    theirs = DiffusersLayers(unet, ours)
    arguments = {"boxes": boxes, "masks": valid.float(), "positive_embeddings": texts}
    calls = {
        "plain": (None, {}),
        "GLIGEN, layers off": (ours, {}),
        "GLIGEN, diffusers' layers": (theirs, {"cross_attention_kwargs": {"gligen": arguments}}),
        "GLIGEN": (ours, {"cross_attention_kwargs": attention_arguments(ours.ground(texts, boxes, valid))}),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name in np.roll(list(calls), turn):
            layers, extra = calls[name]
            if layers is not None:
                layers.attach(unet)
            seconds = timed(lambda extra=extra: unet(*one, **extra))
            if layers is not None:
                layers.detach(unet)
            times[name] += [seconds] if turn else []  # the first turn warms up
    ratios = {name: paired(own, times["plain"]) for name, own in times.items()}
    bars = {"GLIGEN, layers off": BARS["inactive"], "GLIGEN": BARS["bound"] * ratios["GLIGEN, diffusers' layers"]}
    yield from (Row(name, min(times[name]), ratios[name], bars.get(name)) for name in calls if name != "plain")


class DiffusersLayers:
    """Diffusers' gated layers and position net where an adapter of ours would put its own, with random weights."""

    def __init__(self, unet: torch.nn.Module, like: GligenAdapter) -> None:
        width = like.config["text_dim"]
        self.layers = {
            name: GatedSelfAttentionDense(s["channels"], width, s["heads"], s["channels"] // s["heads"]).eval()
            for name, s in like.config["sizes"].items()
        }
        self.net = GLIGENTextBoundingboxProjection(width, width).eval()

    def attach(self, unet: torch.nn.Module) -> None:
        vars(unet)["position_net"] = self.net
        for name, layer in self.layers.items():
            vars(unet.get_submodule(name))["fuser"] = layer

    def detach(self, unet: torch.nn.Module) -> None:
        del vars(unet)["position_net"]
        for name in self.layers:
            del vars(unet.get_submodule(name))["fuser"]


@torch.no_grad()
def timed(call: Callable[[], object]) -> float:
    """CPU-seconds of a call."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def paired(some: list[float], others: list[float]) -> float:
    """Median ratio of the steps of one turn."""
    return statistics.median(a / b for a, b in zip(some, others, strict=True))


def batch_rows(bench: Bench, methods: Sequence[str], images: int, repeats: int) -> Iterator[Row]:
    """`images` of different layouts against one, in turn: of the plain UNet, whose ratio is the bar, and of methods.

    A method's are first steps of a run, in which its caches (keys and values of the phrases, masks) are filled too.
    """
    one, many = bench.inputs(1), bench.inputs(images)
    bar = None
    for method in (None, *methods):
        if method is not None:
            bench.attach(METHODS[method])
        singles, batches = [], []
        for _ in range(repeats):
            singles.append(bench.step(one, bench.context(1) if method else None))
            batches.append(bench.step(many, bench.context(images) if method else None))
        ratio = paired(batches, singles)
        name = f"{method}, {images} layouts, first of a run" if method else f"plain, {images} images"
        yield Row(name, min(batches), ratio, bar)
        bar = bar or ratio
        if method is not None:
            bench.drop()


def peak_of(call: Callable[[], object]) -> int | None:
    """Peak resident bytes while `call` runs; None where the system does not let a process reset its peak."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed before is no part of the peak
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    try:
        reset.write_text("5")
    except OSError:
        return None
    call()
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def line(row: Row, precision: str) -> str:
    """The row as Markdown."""
    seconds = "" if row.seconds is None else f"{row.seconds:.2f}"
    bar = "" if row.bar is None else f"<= {row.bar:.2f}"
    peak = "" if row.peak is None else f"{row.peak / 2**30:.2f}"
    return f"| {precision} | {row.what} | {seconds} | {row.ratio:.3f} | {bar} | {peak} |"


def rows_of(bench: Bench, args: argparse.Namespace) -> Iterator[Row]:
    """What was asked for, as it is made."""
    fusing = [method for method in args.methods if method in METHODS]
    if "step" in args.what:
        for method in fusing:
            yield from step_rows(bench, method, args.repeats)
        if "gligen" in args.methods:
            yield from gligen_rows(bench, args.repeats)
    if "batch" in args.what and fusing:
        yield from batch_rows(bench, fusing, args.batch, args.repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="sd14")
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--methods", nargs="+", choices=(*METHODS, "gligen"), default=[*METHODS, "gligen"])
    parser.add_argument("--what", nargs="+", choices=("step", "batch"), default=["step", "batch"])
    parser.add_argument("--batch", type=int, default=4, help="images of a batch")
    parser.add_argument("--instances", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread, {args.size}, {args.instances} instances\n")
    print("| precision | step | CPU-s | ratio | bar | peak GiB |")
    print("|---|---|---|---|---|---|", flush=True)
    for precision in args.precision:
        low = torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
        with low:
            bench = Bench(args.size, args.instances)
            for row in rows_of(bench, args):
                print(line(row, precision), flush=True)
        del bench
        gc.collect()


if __name__ == "__main__":
    main()
