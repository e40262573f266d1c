"""What the training-free methods cost: a run with and without each, beside the bound that its own UNet calls set.

    python benchmarks/speed/guidance.py [--steps 20] [--repeats 3]

On the mini base, one image with four instances, CPU-seconds of one thread. The bound of MultiDiffusion is a plain batch
of as many rows as it has regions. That of the others is a plain run, and for each time they measure one forward up to
the last layer they read with a backward from it, of the plain sum of the maps.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch

from radl_model.checkpoints.places import resolve_base
from radl_model.engine import AttentionStore, Engine, Inputs, Layout, LayoutAdapter, Run, Session, Settings, Step
from radl_model.guidance.boxdiff import BoxDiffAdapter
from radl_model.guidance.layout_guidance import LayoutGuidanceAdapter
from radl_model.guidance.multidiffusion import MultiDiffusionAdapter
from radl_model.pipelines.pipeline import RaDLPipeline

PHRASES = ("a red car", "a blue dog", "a green cup", "a white bench")
BOXES = ((0.0, 0.0, 0.4, 0.4), (0.5, 0.1, 0.9, 0.5), (0.1, 0.55, 0.5, 0.95), (0.55, 0.6, 0.95, 1.0))
LAYOUT = Layout("a photo of " + " and ".join(PHRASES), PHRASES, BOXES)


class Kept:
    """An adapter of which the last session and its first step are kept."""

    max_instances = None

    def __init__(self, inner: LayoutAdapter) -> None:
        self.inner, self.attach, self.detach = inner, inner.attach, inner.detach
        self.session: Session | None = None
        self.step: Step | None = None

    def start(self, run: Run) -> Session | None:
        self.session, self.step = self.inner.start(run), Step(run, 0, run.timesteps[0])
        return self.session


class Bench:
    """The mini base on the engine, and runs of it."""

    def __init__(self, steps: int) -> None:
        self.pipe = RaDLPipeline.from_pretrained(resolve_base("mini"))
        self.pipe.set_progress_bar_config(disable=True)
        self.engine, self.settings = Engine(self.pipe), Settings(steps=steps, guidance_scale=4.0)

    def run(self, adapter: LayoutAdapter | None = None, images: int = 1) -> float:
        """CPU-seconds of a run."""
        rngs = [torch.Generator().manual_seed(i) for i in range(images)]
        return timed(lambda: self.engine.denoise([LAYOUT] * images, self.settings, adapter, Inputs(generator=rngs)))

    def measure(self, step: Step, store: AttentionStore) -> float:
        """CPU-seconds of one forward to the last layer of `store` and the backward from there."""
        latents = torch.randn(1, self.pipe.unet.config.in_channels, *step.run.grid)

        def once() -> None:
            with torch.enable_grad():
                z = latents.clone().requires_grad_()
                maps = step.maps(z, store).values()
                torch.autograd.grad(torch.stack([m[..., 1].sum() for m in maps]).sum(), z)

        store.attach(self.pipe.unet)
        return timed(once)


def timed(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def line(bench: Bench, name: str, adapter: LayoutAdapter, repeats: int) -> str:
    """One row of the table: medians over interleaved repeats."""
    kept, runs, bounds, plains = Kept(adapter), [], [], []
    bench.run(kept)
    for _ in range(repeats):
        plains.append(bench.run())
        runs.append(bench.run(kept))
        if isinstance(adapter, MultiDiffusionAdapter):
            count = len(kept.session.regions)
            bounds.append(bench.run(images=count))
        else:
            count = kept.session.measured
            once = statistics.median(bench.measure(kept.step, kept.session.store) for _ in range(5))
            bounds.append(plains[-1] + count * once)
    ratio = statistics.median(a / b for a, b in zip(runs, plains, strict=True))
    over = statistics.median(a / b for a, b in zip(runs, bounds, strict=True))
    return f"| {name} | {count} | {statistics.median(runs):.2f} | {ratio:.2f} | {over:.3f} | <= 1.10 |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(args.steps)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread, mini base, {args.steps} steps\n")
    print(
        "| method | rows or measures | CPU-s | to plain | to its bound | bar |\n|---|---|---|---|---|---|", flush=True
    )
    for name, adapter in (
        ("multidiffusion", MultiDiffusionAdapter(bench.pipe.vae)),
        ("layout-guidance", LayoutGuidanceAdapter(bench.pipe.unet)),
        ("boxdiff", BoxDiffAdapter()),
    ):
        print(line(bench, name, adapter, args.repeats), flush=True)


if __name__ == "__main__":
    main()
