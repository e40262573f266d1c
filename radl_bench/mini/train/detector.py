"""Stage "detector": the mini detector, trained on fresh random scenes; never on a benchmark's layouts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.crowds import CrowdedSampler
from radl_bench.mini.judges.fcos import SIZE, NetworkSettings, build
from radl_bench.mini.layouts import LayoutSampler
from radl_bench.mini.scenes import render, render_visible
from radl_bench.mini.train.augment import augment
from radl_bench.mini.train.config import DETECTOR, LEARNS, takes, trained
from radl_bench.mini.train.judges import VISIBLE, JudgeSettings, calibrate, save, to_tensor
from radl_bench.types import Sample
from radl_model.train.loop import Loop, LoopConfig

LEVELS = (0.6, 0.8, 1.0, 1.2, 1.5, 2.0)
HELD_OUT = 980_000
_LABEL = {name: label for label, name in enumerate(CATEGORIES)}
Target = dict[str, Tensor]


class Scenes(TypedDict, total=False):
    """Shares of the training scenes: see `CrowdedSampler` and `make_batch`."""

    alike: float
    empty: float


class Extras(TypedDict, total=False):
    """What a config may add: the folder of weights to go on from, and what is drawn."""

    init_from: str
    data: Scenes


class Settings(JudgeSettings, Extras):
    """The content of `configs/detector.toml`."""

    model: NetworkSettings


def target(sample: Sample, visible: NDArray[np.float64]) -> Target:
    """Return boxes [N, 4] in pixels and labels [N] of the instances of which enough can be seen."""
    seen = [i for i, share in zip(sample.instances, visible, strict=True) if share >= VISIBLE]
    boxes = torch.tensor([i.box for i in seen], dtype=torch.float32).reshape(-1, 4) * SIZE
    return {"boxes": boxes, "labels": torch.tensor([_LABEL[i.category] for i in seen], dtype=torch.int64)}


def nothing(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a picture without a thing in it, uint8 [128, 128, 3]: one colour, any, or a background of the world."""
    if rng.random() < 0.5:
        color = rng.choice([0, 255]) * np.ones(3) if rng.random() < 0.3 else rng.integers(0, 256, 3)
        return np.full((SIZE, SIZE, 3), color, np.uint8)
    return render(Sample("nothing", "", ()), int(rng.integers(1 << 31)))


def make_batch(
    step: int, batch_size: int, seed: int = 7, alike: float = 0.0, empty: float = 0.0
) -> tuple[Tensor, list[Target]]:
    """Return augmented fresh scenes [batch_size, 3, 128, 128] in [0, 1] and their targets.

    Args:
        alike: as of `CrowdedSampler`.
        empty: share of pictures without a thing, for which every answer is wrong.
    """
    rng = np.random.default_rng((seed, step))
    layouts = CrowdedSampler(int(rng.integers(1 << 31)), crowded=0.5, alike=alike, level_weights=LEVELS, uncolored=0.05)
    images, targets = [], []
    for _ in range(batch_size):
        if empty and rng.random() < empty:
            images.append(augment(nothing(rng), rng))
            targets.append(target(Sample("nothing", "", ()), np.zeros(0)))
            continue
        sample = layouts.sample()
        image, visible = render_visible(sample, int(rng.integers(1 << 31)))
        images.append(augment(image, rng))
        targets.append(target(sample, visible))
    return to_tensor(images), targets


def loss_fn(module: nn.Module, batch: tuple[Tensor, list[Target]], rng: torch.Generator) -> Tensor:
    """Focal loss + GIoU + centreness, the sum of FCOS."""
    images, targets = batch
    losses: dict[str, Tensor] = module(list(images.unbind()), targets)
    return torch.stack(list(losses.values())).sum()


def held_out(count: int, seed: int = HELD_OUT) -> list[tuple[Sample, NDArray[np.uint8]]]:
    """Return random scenes of level 6 that no training batch holds, not augmented."""
    layouts = LayoutSampler(seed, level_weights=(0, 0, 0, 0, 0, 1), uncolored=0.0, relations=0.0)
    samples = [layouts.sample() for _ in range(count)]
    return [(sample, render(sample, seed + n)) for n, sample in enumerate(samples)]


def new(settings: NetworkSettings, init_from: Path | None = None) -> nn.Module:
    """Return the detector of a config, untrained or with the weights of a folder."""
    module = build(len(CATEGORIES), **settings)
    if init_from is not None:
        state = load_file(str(init_from / "model.safetensors"))
        module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return module


def recall(module: nn.Module, scenes: list[tuple[Sample, NDArray[np.uint8]]]) -> float:
    """Return the share of instances found at score .25 and IoU .5, one to one."""
    from radl_bench.mini.judges.detector import predict
    from radl_bench.scoring.protocol import PROTOCOLS, match_instances

    rule, found = PROTOCOLS["strict"], []
    for sample, image in scenes:
        boxes = {name: b.above(rule.score) for name, b in predict(module, [image], CATEGORIES)[0].items()}
        found += [match.iou >= rule.iou for match in match_instances(sample.instances, boxes, rule)]
    return float(np.mean(found))


def on_sample(module: nn.Module, step: int, settings: NetworkSettings, out: Path) -> dict[str, float]:
    """Calibrate the averaged weights, write them to `out/weights` and return the recall on held-out level 6 scenes."""
    module.eval()
    calibrate(module.backbone, [_normalise(make_batch(n, 32, HELD_OUT)[0]) for n in range(8)])  # type: ignore
    value = recall(module, held_out(100))
    save(module, {"categories": list(CATEGORIES), "network": settings}, out / "weights")
    module.train()
    return {"recall_l6": round(value, 4)}


def _normalise(images: Tensor) -> Tensor:
    return (images - 0.5) / 0.25


@takes(
    "detector",
    needs={"loop", "model"},
    may=LEARNS | {"init_from", "data"},
    tables={"data": Scenes.__optional_keys__, "model": NetworkSettings.__optional_keys__},
)
def train(settings: Settings, out: Path, minutes: float | None) -> None:
    """Train the mini detector; leaves `weights/` for `radl_bench.mini.judges.detector`."""
    torch.manual_seed(settings.get("init_seed", 0))
    config = LoopConfig.from_dict(settings["loop"])
    data: Scenes = settings.get("data", {})
    batch = partial(make_batch, batch_size=config.batch_size, seed=settings.get("data_seed", 7), **data)
    report = partial(on_sample, settings=settings["model"], out=out)
    start = trained(settings["init_from"], *DETECTOR) if "init_from" in settings else None
    loop = Loop(new(settings["model"], start), batch, loss_fn, config, out, report)
    loop.resume()
    loop.run(minutes)
