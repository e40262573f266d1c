"""Stage "encoder": a small network that says what lies where, whose features the base is aligned with.

It reads clean scenes and tells of each cell of 16 pixels which class and colour it shows and where in the thing's box
it lies. A UNet on latents of factor 8 has cells of this size in its middle. No metric and no judge uses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.layouts import LayoutSampler
from radl_bench.mini.scenes import render
from radl_bench.mini.train.autoencoder import to_tensor
from radl_bench.mini.train.config import LEARNS, takes
from radl_bench.mini.train.judges import calibrate, save
from radl_bench.types import COLORS, Sample
from radl_model.train.loop import Loop, LoopConfig

STRIDE = 16
SIDE = 64
GROUND, UNCOLOURED = len(CATEGORIES), len(COLORS)
LEVELS = (4, 1.5, 1)
HELD_OUT = 985_000
_STRIDES = (2, 1, 2, 1, 2, 1, 2, 1)


class SceneEncoder(nn.Module):
    """Images [B, 3, H, W] in [-1, 1] -> features [B, 6 width, H / 16, W / 16]; `told` reads the cells off them."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (width, width, 2 * width, 2 * width, 4 * width, 4 * width, 6 * width, 6 * width)
        layers: list[nn.Module] = []
        before = 3
        for after, stride in zip(widths, _STRIDES, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
            before = after
        self.width = before
        self.features = nn.Sequential(*layers)
        self.register_buffer("centre", torch.zeros(1, before, 1, 1))
        self.head = nn.Conv2d(before, GROUND + 1 + UNCOLOURED + 1 + 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)

    def layers(self, images: Tensor) -> list[Tensor]:
        """Features at half, a quarter, an eighth and a sixteenth of the side, each after its last layer."""
        kept = []
        for index, layer in enumerate(self.features):
            images = layer(images)
            if index % 6 == 5:  # two convolutions of three layers each
                kept.append(images)
        return kept

    def goal(self, images: Tensor) -> Tensor:
        """Features less their mean, of length one in each cell: what a base is aligned with."""
        return normalize(self(images).float() - self.centre, dim=1)

    def told(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the class [B, 80, h, w] and of the colour [B, 8, h, w], and the place in the box [B, 2, h, w]."""
        a, b, c = self.head(self(images)).float().split((GROUND + 1, UNCOLOURED + 1, 2), dim=1)
        return a, b, c


def cell_targets(samples: Sequence[Sample], side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Class and colour int64 [B, side, side] and place float32 [B, 2, side, side] of what each cell shows.

    A cell shows the smallest thing whose box holds its centre: small things are drawn last. The place is x and y in the
    thing's box, 0 to 1; 0 on the ground.
    """
    kind = np.full((len(samples), side, side), GROUND)
    color = np.full_like(kind, UNCOLOURED)
    place = np.zeros((len(samples), 2, side, side), np.float32)
    y, x = np.meshgrid(*[(np.arange(side) + 0.5) / side] * 2, indexing="ij")
    for n, sample in enumerate(samples):
        for thing in sorted(sample.instances, key=lambda i: -(i.box[2] - i.box[0]) * (i.box[3] - i.box[1])):
            x0, y0, x1, y1 = thing.box
            inside = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
            kind[n][inside] = CATEGORIES.index(thing.category)
            color[n][inside] = COLORS.index(thing.color) if thing.color else UNCOLOURED
            place[n, :, inside] = np.stack([(x - x0) / (x1 - x0), (y - y0) / (y1 - y0)], -1)[inside]
    return torch.from_numpy(kind), torch.from_numpy(color), torch.from_numpy(place)


Batch = tuple[Tensor, tuple[Tensor, Tensor, Tensor]]


def make_batch(step: int, batch_size: int, seed: int) -> Batch:
    """Fresh scenes [B, 3, 64, 64] and their cells."""
    rng = np.random.default_rng((seed, step))
    layouts = LayoutSampler(int(rng.integers(1 << 31)), level_weights=LEVELS, whole=0.5)
    samples = [layouts.sample() for _ in range(batch_size)]
    images = np.stack([render(sample, int(rng.integers(1 << 31)), SIDE) for sample in samples])
    return to_tensor(images), cell_targets(samples, SIDE // STRIDE)


def loss_fn(module: nn.Module, batch: Batch, rng: torch.Generator) -> Tensor:
    """Cross-entropy of class and colour, and the absolute error of the place on things."""
    images, (kind, color, place) = batch
    told_kind, told_color, told_place = module(images)
    thing = (kind != GROUND)[:, None]
    error = ((told_place - place).abs() * thing).sum() / (2 * thing.sum()).clamp(min=1)
    return cross_entropy(told_kind, kind) + cross_entropy(told_color, color) + error


class _Told(nn.Module):
    """The encoder with `told` as its forward, so that the loop's autocast covers it."""

    def __init__(self, encoder: SceneEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.encoder.told(images)


def accuracy(module: nn.Module, count: int = 512) -> dict[str, float]:
    """Share of the cells on things of which class and colour are told, held out."""
    images, (kind, color, _) = make_batch(0, count, HELD_OUT)
    with torch.no_grad():
        told_kind, told_color, _ = module(images)
    thing = kind != GROUND
    return {
        "class": float((told_kind.argmax(1) == kind)[thing].float().mean()),
        "colour": float((told_color.argmax(1) == color)[thing].float().mean()),
    }


def on_sample(out: Path, width: int, seed: int, module: nn.Module, step: int) -> dict[str, float]:
    """Calibrate the average's norms, write `out/encoder` and return the accuracy."""
    module.eval()
    calibrate(module, [make_batch(n, 128, seed + 1)[0] for n in range(3)])
    measured = {name: round(value, 4) for name, value in accuracy(module).items()}
    encoder: SceneEncoder = module.encoder  # type: ignore[assignment]
    with torch.no_grad():
        encoder.centre = encoder(make_batch(0, 512, seed + 1)[0]).mean((0, 2, 3), keepdim=True)
    save(encoder, {"width": width}, out / "encoder")
    module.train()
    return measured


def load(folder: Path) -> SceneEncoder:
    """The trained encoder, frozen, in float32."""
    import json

    encoder = SceneEncoder(json.loads((folder / "config.json").read_text())["width"])
    state: dict[str, Any] = load_file(folder / "model.safetensors")
    encoder.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return encoder.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


@takes("encoder", needs={"loop", "width", "data_seed"}, may=LEARNS)
def train(settings: dict[str, Any], out: Path, minutes: float | None) -> None:
    """Train the encoder; leaves `encoder/`."""
    torch.manual_seed(settings.get("init_seed", 0))
    config = LoopConfig.from_dict(settings["loop"])
    width, seed = settings["width"], settings["data_seed"]
    module = _Told(SceneEncoder(width)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = partial(make_batch, batch_size=config.batch_size, seed=seed)
    loop = Loop(module, batch, loss_fn, config, out, partial(on_sample, out, width, seed))
    loop.resume()
    loop.run(minutes)
