"""Stage "layout-diffusion": a LayoutDiffusion network of its own size on fresh scenes, from nothing.

Pixels, classes and boxes, as published (Zheng et al., CVPR 2023), on the linear variance-preserving schedule, and a
fifth of the layouts is left out. What differs: the layers predict the velocity (`LayoutDiffusionConfig.velocity`);
times are continuous, since the solver's are; and the variance is not learnt, since the solver does not read it. Colours
are drawn and never told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.layouts import LayoutSampler
from radl_bench.mini.scenes import render
from radl_bench.mini.train.autoencoder import to_tensor
from radl_bench.mini.train.config import LAYOUT_DIFFUSION, LEARNS, takes, trained
from radl_bench.types import Sample
from radl_model.layout_diffusion.config import LayoutDiffusionConfig
from radl_model.layout_diffusion.labels import Encoded, empty, encode
from radl_model.layout_diffusion.network import LayoutDiffusionUNet
from radl_model.layout_diffusion.pipeline import load, sample, save
from radl_model.layout_diffusion.solver import END, START, log_alpha, sigma
from radl_model.train.loop import Loop, LoopConfig

HELD_OUT = 870_000
Batch = tuple[Tensor, Tensor, Tensor]


def build(settings: dict[str, Any]) -> LayoutDiffusionUNet:
    """Return the untrained network: the sprites' 79 classes, three channels out; `settings`: sizes of its config."""
    classes = {"names": list(CATEGORIES), "classes": len(CATEGORIES) + 2, "padding": len(CATEGORIES) + 1}
    return LayoutDiffusionUNet(LayoutDiffusionConfig.from_dict({**settings, **classes, "learned_variance": False}))


class Scenes:
    """Batches of fresh scenes with their layouts.

    Args:
        config: of the network; seed: of the data.
        dropped: share of the layouts that are left out, so that guidance has a direction.
        level_weights: see `LayoutSampler`.
    """

    def __init__(
        self, config: LayoutDiffusionConfig, seed: int, dropped: float = 0.2, level_weights: Sequence[float] = (1,) * 6
    ) -> None:
        self.config, self.seed, self.dropped, self.level_weights = config, seed, dropped, tuple(level_weights)

    def samples(self, step: int, count: int) -> tuple[list[Sample], list[int]]:
        """The scenes of a step and their rendering seeds."""
        rng = np.random.default_rng((self.seed, step))
        layouts = LayoutSampler(int(rng.integers(1 << 31)), level_weights=self.level_weights)
        samples = [layouts.sample() for _ in range(count)]
        return samples, [int(rng.integers(1 << 31)) for _ in samples]

    def make_batch(self, step: int, batch_size: int) -> Batch:
        """Images in -1..1 [B, 3, S, S], classes int64 [B, L] and boxes [B, L, 4]."""
        samples, seeds = self.samples(step, batch_size)
        images = [render(s, seed, self.config.image_size) for s, seed in zip(samples, seeds, strict=True)]
        left_out = np.random.default_rng((self.seed, step, 1)).random(batch_size) < self.dropped
        layouts = [
            empty(self.config) if out else layout_of(s, self.config) for s, out in zip(samples, left_out, strict=True)
        ]
        classes, boxes = torch.stack([e.classes for e in layouts]), torch.stack([e.boxes for e in layouts])
        return to_tensor(np.stack(images)), classes, boxes


def layout_of(sample: Sample, config: LayoutDiffusionConfig) -> Encoded:
    """What the network reads of a sample."""
    return encode([i.category for i in sample.instances], [i.box for i in sample.instances], config)


def loss_fn(module: nn.Module, batch: Batch, rng: torch.Generator, velocity: bool = False) -> Tensor:
    """Mean squared error of the noise, or of the velocity, at stratified times between the solver's ends."""
    images, classes, boxes = batch
    count = len(images)
    times = END + (START - END) * (torch.arange(count) + torch.rand(count, generator=rng)) / count
    noise = torch.randn(images.shape, generator=rng).to(images.device)
    signal = torch.tensor([log_alpha(t) for t in times.tolist()]).exp().view(-1, 1, 1, 1).to(images.device)
    spread = torch.tensor([sigma(t) for t in times.tolist()]).view(-1, 1, 1, 1).to(images.device)
    told = module(signal * images + spread * noise, model_times(times).to(images.device), classes, boxes)
    error = told.float() - noise  # alpha times that of the velocity
    return (error / signal if velocity else error).square().mean()


def model_times(times: Tensor) -> Tensor:
    """The network's time, 0 to 999, of the schedule's, as `pipeline.sample` gives it."""
    return (1000 * (times - 1 / 1000)).clamp(min=0)


def held_out_loss(module: nn.Module, scenes: Scenes, count: int = 64) -> float:
    """The loss on scenes that no training sees, always the same, every layout told."""
    held = Scenes(scenes.config, HELD_OUT, 0.0, scenes.level_weights)
    with torch.no_grad():
        loss = partial(loss_fn, velocity=scenes.config.velocity)
        parts = [loss(module, held.make_batch(n, 16), torch.Generator().manual_seed(n)) for n in range(count // 16)]
    return float(torch.stack(parts).mean())


def sheet(module: LayoutDiffusionUNet, scenes: Scenes, count: int = 8) -> Image.Image:
    """Held-out scenes in the first row, what the network draws of their layouts below."""
    held = Scenes(scenes.config, HELD_OUT + 1, 0.0, scenes.level_weights)
    samples, seeds = held.samples(0, count)
    generators = [torch.Generator().manual_seed(n) for n in range(count)]
    made = sample(module, [layout_of(s, held.config) for s in samples], generators)
    drawn = ((made + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    real = [render(s, seed, held.config.image_size) for s, seed in zip(samples, seeds, strict=True)]
    return Image.fromarray(np.vstack([np.hstack(real), np.hstack(list(drawn))]))


def on_sample(
    out: Path, config: LoopConfig, scenes: Scenes, module: LayoutDiffusionUNet, step: int
) -> dict[str, float]:
    """Write `out/layout-diffusion` as it ships, and a sheet; return the held-out loss."""
    module.eval()
    loss = round(held_out_loss(module, scenes), 5)
    folder = out / "layout-diffusion"
    save(module, folder)
    (folder / "scale.json").write_text(json.dumps({"scale": "mini"}) + "\n", "utf-8")
    (folder / "README.md").write_text(card(module, config, scenes, step, loss), "utf-8")
    sheet(module, scenes).save(out / f"sheet-{step:06d}.png")
    module.train()
    return {"held_out": loss}


def card(module: LayoutDiffusionUNet, config: LoopConfig, scenes: Scenes, step: int, loss: float) -> str:
    """The model card, Markdown."""
    shape, count = module.config, sum(p.numel() for p in module.parameters())
    return f"""# LayoutDiffusion for the mini world

The network of LayoutDiffusion (Zheng et al., CVPR 2023), of {count / 1e6:.1f} M parameters, for scenes of
the sprite world at {shape.image_size} x {shape.image_size} pixels: {len(shape.names)} classes and their boxes in,
pixels out. It reads neither caption nor colour. Weights in half precision.

- **Use:** `radl-bench generate BENCHMARK --method layout-diffusion --model mini`; images are enlarged to twice the
  side.
- **Not for:** anything but the sprite world; its numbers are always labelled mini.
- **Licence:** Apache-2.0, like the package; sprites: see `NOTICE`.
- **Training:** `radl-train layout-diffusion`, {step:,} of {config.steps:,} steps of {config.batch_size} fresh scenes of
  seed {scenes.seed}, never a benchmark's; a share of {scenes.dropped:g} of the layouts left out; weights averaged.
- **Held-out loss:** {loss:.4f}, the mean squared error of the {"velocity" if shape.velocity else "noise"} on 64 scenes.
"""


@takes("layout-diffusion", needs={"loop", "model", "data_seed"}, may=LEARNS | {"init_from", "dropped", "level_weights"})
def train(settings: dict[str, Any], out: Path, minutes: float | None) -> None:
    """Train the network; leaves `layout-diffusion/`, a folder that `generate --method layout-diffusion` reads."""
    torch.manual_seed(settings.get("init_seed", 0))
    config = LoopConfig.from_dict(settings["loop"])
    module = build(settings["model"]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if "init_from" in settings:
        module.load_state_dict(load(trained(settings["init_from"], *LAYOUT_DIFFUSION)).state_dict())
    scenes = Scenes(
        module.config, settings["data_seed"], settings.get("dropped", 0.2), settings.get("level_weights", (1,) * 6)
    )
    batch = partial(scenes.make_batch, batch_size=config.batch_size)
    loss = partial(loss_fn, velocity=module.config.velocity)
    loop = Loop(module, batch, loss, config, out, partial(on_sample, out, config, scenes))
    loop.resume()
    loop.run(minutes)
