"""What every method costs: a run with and without it, beside the bound that its own forwards and backwards set.

    python benchmarks/speed/overhead.py [--methods radl boxdiff] [--precision fp32 bf16] [--steps 20] [--batch 1]

On the mini base, images with four instances, CPU-seconds of one thread; a row is printed as it is made. A bound:

- layers on the UNet (RaDL, MIGC, GLIGEN), which make as many forwards as a plain run: a plain run, and the matrix
  products, convolutions and attentions that it has beyond a plain one, each measured by itself. That is work which the
  method asks for; masks, softmax over phases, norms, gathering and sums are not in it, and neither is a cold cache. The
  column "work" says how many operations more these products are;
- MultiDiffusion: a plain batch of as many rows as it has regions;
- layout guidance, BoxDiff: a plain run, and for each time they measure one forward up to the last layer they read with
  a backward from it, of the plain sum of the maps;
- LayoutDiffusion, which has a network of its own: two rows of that network an image and a call of the solver.

GLIGEN's layers, and LayoutDiffusion where no weights are there, have random weights: the time does not depend on them.
"Text only" is the plain run itself, and rendered scenes cost no network.
"""

from __future__ import annotations

import argparse
import contextlib
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry, sdpa_flop_count

from radl_bench.mini.train.config import CONFIGS, load_config
from radl_bench.mini.train.layout_diffusion import build
from radl_model.checkpoints.adapters import load_adapter
from radl_model.checkpoints.places import resolve_adapter, resolve_base
from radl_model.engine import AttentionStore, Engine, Inputs, Layout, LayoutAdapter, Run, Session, Settings, Step
from radl_model.gligen.adapter import GligenAdapter
from radl_model.gligen.config import GligenConfig
from radl_model.guidance.boxdiff import BoxDiffAdapter
from radl_model.guidance.layout_guidance import LayoutGuidanceAdapter
from radl_model.guidance.multidiffusion import MultiDiffusionAdapter
from radl_model.layout_diffusion.labels import encode
from radl_model.layout_diffusion.pipeline import sample
from radl_model.pipelines.pipeline import RaDLPipeline

PHRASES = ("a red car", "a blue dog", "a green cup", "a white bench")
NAMES = ("car", "dog", "cup", "bench")
BOXES = ((0.0, 0.0, 0.4, 0.4), (0.5, 0.1, 0.9, 0.5), (0.1, 0.55, 0.5, 0.95), (0.55, 0.6, 0.95, 1.0))
LAYOUT = Layout("a photo of " + " and ".join(PHRASES), PHRASES, BOXES)
EVALUATIONS = 25
ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)
}
"""What the counter of operations does not know: attention on a CPU."""


class Kept:
    """An adapter of which the last session and its first step are kept."""

    def __init__(self, inner: LayoutAdapter) -> None:
        self.inner, self.attach, self.detach = inner, inner.attach, inner.detach
        self.max_instances = inner.max_instances
        self.session: Session | None = None
        self.step: Step | None = None

    def start(self, run: Run) -> Session | None:
        self.session, self.step = self.inner.start(run), Step(run, 0, run.timesteps[0])
        return self.session


class Products(TorchDispatchMode):
    """Counts the products of what runs in it by kind and shapes, and keeps the first call of each."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[tuple[object, ...]] = Counter()
        self.first: dict[tuple[object, ...], tuple[Callable[..., object], tuple[object, ...], dict[str, object]]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        if getattr(func, "_overloadpacket", None) in {*flop_registry, *ATTENTION}:
            key = func, *(tuple(a.shape) if isinstance(a, torch.Tensor) else repr(a) for a in args)
            self.counts[key] += 1
            self.first.setdefault(key, (func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


@runtime_checkable
class Measuring(Protocol):
    """A session that measures maps."""

    measured: int
    store: AttentionStore


class Bench:
    """The mini base on the engine, and runs of `batch` images on it."""

    def __init__(self, steps: int, batch: int) -> None:
        self.pipe = RaDLPipeline.from_pretrained(resolve_base("mini"))
        self.pipe.set_progress_bar_config(disable=True)
        self.engine, self.settings, self.batch = Engine(self.pipe), Settings(steps=steps, guidance_scale=4.0), batch

    def run(self, adapter: LayoutAdapter | None = None, rows: int = 1) -> float:
        """CPU-seconds of a run of `batch` times `rows` images."""
        images = self.batch * rows
        rngs = [torch.Generator().manual_seed(i) for i in range(images)]
        return timed(lambda: self.engine.denoise([LAYOUT] * images, self.settings, adapter, Inputs(generator=rngs)))

    def operations(self, adapter: LayoutAdapter | None = None) -> int:
        """Floating-point operations of a run: those of its matrix products, convolutions and attention."""
        with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
            self.run(adapter)
        return counter.get_total_flops()

    def products(self, adapter: LayoutAdapter) -> float:
        """CPU-seconds of the matrix products, convolutions and attentions that a run has beyond a plain one."""
        with Products() as own:
            self.run(adapter)
        with Products() as plain:
            self.run()
        return sum(n * timed_alone(*own.first[key]) for key, n in (own.counts - plain.counts).items())

    def measure(self, step: Step, store: AttentionStore) -> float:
        """CPU-seconds of one forward to the last layer of `store` and the backward from there."""
        latents = torch.randn(self.batch, self.pipe.unet.config.in_channels, *step.run.grid)

        def once() -> None:
            with torch.enable_grad():
                z = latents.clone().requires_grad_()
                maps = step.maps(z, store).values()
                torch.autograd.grad(torch.stack([m[..., 1].sum() for m in maps]).sum(), z)

        store.attach(self.pipe.unet)
        return timed(once)

    def adapter(self, name: str) -> LayoutAdapter:
        """The method, with shipped weights where it has any."""
        unet = self.pipe.unet
        if name == "gligen":
            own = GligenConfig(**load_config(CONFIGS / "gligen.toml")["gligen"])
            return GligenAdapter.from_unet(unet, own).eval().requires_grad_(False)
        free = {
            "multidiffusion": lambda: MultiDiffusionAdapter(self.pipe.vae),
            "layout-guidance": lambda: LayoutGuidanceAdapter(unet),
            "boxdiff": BoxDiffAdapter,
        }
        return free[name]() if name in free else load_adapter(resolve_adapter("mini", name)).eval()


def timed(call: Callable[[], object]) -> float:
    """CPU-seconds of a call."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


@torch.no_grad()
def timed_alone(call: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> float:
    """CPU-seconds of a small call, the median of some after the first."""
    return statistics.median([timed(lambda: call(*args, **kwargs)) for _ in range(8)][1:])


def bound_of(bench: Bench, kept: Kept, plain: float) -> tuple[str, float]:
    """What a method did in its last run, and the CPU-seconds that this alone takes."""
    if isinstance(kept.inner, MultiDiffusionAdapter):
        count = len(kept.session.regions) // bench.batch
        return f"{count} rows an image", bench.run(rows=count)
    if isinstance(kept.session, Measuring):
        count = kept.session.measured
        once = statistics.median(bench.measure(kept.step, kept.session.store) for _ in range(5))
        return f"{count} backwards", plain + count * once
    more = bench.operations(kept) / bench.operations() - 1
    return f"{100 * more:.0f} % more operations", plain + bench.products(kept)


def engine_row(bench: Bench, name: str, repeats: int) -> str:
    """A method on the base: medians over interleaved repeats."""
    kept, runs, bounds, plains, what = Kept(bench.adapter(name)), [], [], [], ""
    bench.run(kept)
    for _ in range(repeats):
        plains.append(bench.run())
        runs.append(bench.run(kept))
        what, bound = bound_of(bench, kept, plains[-1])
        bounds.append(bound)
    return row(name, what, runs, plains, bounds)


def pixel_row(bench: Bench, repeats: int) -> str:
    """LayoutDiffusion, 25 calls of the solver as published."""
    network = build(load_config(CONFIGS / "layout-diffusion.toml")["model"]).eval()
    config, rows, runs, plains, bounds = network.config, 2 * bench.batch, [], [], []
    layouts = [encode(NAMES, BOXES, config)] * bench.batch
    classes, boxes = (torch.stack([getattr(e, part) for e in layouts * 2]) for part in ("classes", "boxes"))
    noise, times = torch.randn(rows, 3, config.image_size, config.image_size), torch.full((rows,), 500.0)

    def forwards() -> None:
        with torch.no_grad():
            for _ in range(EVALUATIONS):
                network(noise, times, classes, boxes)

    def run() -> None:
        sample(network, layouts, [torch.Generator().manual_seed(i) for i in range(bench.batch)], EVALUATIONS)

    for turn in range(repeats + 1):
        seconds = bench.run(), timed(run), timed(forwards)
        if turn:  # the first warms up
            for times_of, one in zip((plains, runs, bounds), seconds, strict=True):
                times_of.append(one)
    return row("layout-diffusion", f"{rows * EVALUATIONS} rows", runs, plains, bounds)


def row(name: str, what: str, runs: list[float], plains: list[float], bounds: list[float]) -> str:
    """A line of the table."""
    ratio = statistics.median(a / b for a, b in zip(runs, plains, strict=True))
    over = statistics.median(a / b for a, b in zip(runs, bounds, strict=True))
    return f"{name} | {what} | {statistics.median(runs):.2f} | {ratio:.2f} | {over:.3f} | <= 1.10 |"


ENGINE = ("radl", "migc", "gligen", "multidiffusion", "layout-guidance", "boxdiff")
METHODS = (*ENGINE, "layout-diffusion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--steps", type=int, default=20, help="of the base; LayoutDiffusion always makes 25 calls")
    parser.add_argument("--batch", type=int, default=1, help="images a run")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(args.steps, args.batch)
    print(
        f"torch {torch.__version__}, {platform.machine()}, one thread, mini, {args.steps} steps, batch {args.batch}\n"
    )
    print(
        "| precision | method | work | CPU-s | to plain | to its bound | bar |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    for precision in args.precision:
        low = torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
        with low:
            for name in args.methods:
                made = engine_row(bench, name, args.repeats) if name in ENGINE else pixel_row(bench, args.repeats)
                print(f"| {precision} | {made}", flush=True)


if __name__ == "__main__":
    main()
