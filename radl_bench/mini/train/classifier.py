"""Stage "classifier": tells which class and colour an image with a single thing shows; the ruler of the base.

It measures "top-1 of single things, text only". It is trained on other seeds than the encoder that the base is aligned
with, on images treated as `augment` does, and takes no part in any training or benchmark.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.layouts import LayoutSampler
from radl_bench.mini.scenes import render
from radl_bench.mini.train.augment import augment
from radl_bench.mini.train.autoencoder import to_tensor
from radl_bench.mini.train.config import LEARNS, takes
from radl_bench.mini.train.judges import calibrate, save
from radl_bench.types import COLORS
from radl_model.train.loop import Loop, LoopConfig

HELD_OUT = 975_000
UNCOLOURED = len(COLORS)
Batch = tuple[Tensor, Tensor, Tensor]


class ThingClassifier(nn.Module):
    """Images [B, 3, H, W] in [-1, 1] -> logits of the class [B, 79] and of the colour [B, 8].

    Each cell of 8 pixels votes, and says how much its vote counts: a large ground does not average a small thing away.
    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for after, stride in ((1, 2), (1, 1), (2, 2), (3, 1), (4, 2), (6, 1), (8, 1)):
            after *= width
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.GELU()]
            before = after
        self.features = nn.Sequential(*layers)
        self.vote = nn.Conv2d(before, 2, 1)
        self.kind, self.color = nn.Linear(before, len(CATEGORIES)), nn.Linear(before, UNCOLOURED + 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        cells = self.features(images)
        weight = self.vote(cells).float().flatten(2).softmax(-1).to(cells.dtype)
        pooled = torch.einsum("bkn,bcn->bkc", weight, cells.flatten(2))
        return self.kind(pooled[:, 0]).float(), self.color(pooled[:, 1]).float()


def make_batch(step: int, batch_size: int, seed: int, treat: bool = True, whole: float | None = None) -> Batch:
    """Single things, class and colour; three batches of four hold 64 px images, the others 128 px ones."""
    rng = np.random.default_rng((seed, step))
    side = 128 if step % 4 == 3 else 64
    count = batch_size if side == 64 else batch_size // 2
    share = (0.6 if side == 64 else 0.0) if whole is None else whole
    layouts = LayoutSampler(int(rng.integers(1 << 31)), level_weights=(1,), whole=share)
    samples = [layouts.sample() for _ in range(count)]
    images = [render(sample, int(rng.integers(1 << 31)), side) for sample in samples]
    if treat:
        images = [augment(image, rng) for image in images]
    things = [sample.instances[0] for sample in samples]
    kind = torch.tensor([CATEGORIES.index(t.category) for t in things])
    color = torch.tensor([COLORS.index(t.color) if t.color else UNCOLOURED for t in things])
    return to_tensor(np.stack(images)), kind, color


def loss_fn(module: nn.Module, batch: Batch, rng: torch.Generator) -> Tensor:
    """Cross-entropy of class and colour, labels smoothed."""
    images, kind, color = batch
    told_kind, told_color = module(images)
    return cross_entropy(told_kind, kind, label_smoothing=0.05) + 0.3 * cross_entropy(told_color, color)


def accuracy(module: nn.Module, count: int = 512) -> dict[str, float]:
    """Share told right, held out and untreated: whole things at 64 px, things of any size at 128 px."""
    found = {}
    for name, step, whole in (("whole", 0, 1.0), ("any size", 3, 0.0)):
        size = count if step == 0 else 2 * count
        images, kind, color = make_batch(step, size, HELD_OUT, treat=False, whole=whole)
        with torch.no_grad():
            told = [module(part) for part in images.split(64)]
        found[f"{name} class"] = float((torch.cat([t[0] for t in told]).argmax(1) == kind).float().mean())
        found[f"{name} colour"] = float((torch.cat([t[1] for t in told]).argmax(1) == color).float().mean())
    return found


def on_sample(out: Path, width: int, seed: int, module: nn.Module, step: int) -> dict[str, float]:
    """Calibrate the average's norms, write `out/classifier` and return the accuracy."""
    module.eval()
    calibrate(module, [make_batch(n, 128, seed + 1)[0] for n in range(4)])
    measured = {name: round(value, 4) for name, value in accuracy(module).items()}
    save(module, {"width": width, "accuracy": measured}, out / "classifier")
    module.train()
    return measured


def load(folder: Path) -> ThingClassifier:
    """The trained classifier, frozen, in float32."""
    classifier = ThingClassifier(json.loads((folder / "config.json").read_text())["width"])
    state = load_file(folder / "model.safetensors")
    classifier.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return classifier.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


@takes("classifier", needs={"loop", "width", "data_seed"}, may=LEARNS)
def train(settings: dict[str, Any], out: Path, minutes: float | None) -> None:
    """Train the classifier; leaves `classifier/`."""
    torch.manual_seed(settings.get("init_seed", 0))
    config = LoopConfig.from_dict(settings["loop"])
    width, seed = settings["width"], settings["data_seed"]
    module = ThingClassifier(width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = partial(make_batch, batch_size=config.batch_size, seed=seed)
    loop = Loop(module, batch, loss_fn, config, out, partial(on_sample, out, width, seed))
    loop.resume()
    loop.run(minutes)
