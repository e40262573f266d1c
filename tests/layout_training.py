"""A small place to train at: a base of Stable Diffusion v1's shape, drawn photographs, a configuration."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from radl_bench.runs.writer import Shard
from radl_bench.training_set.build import Source, build_layouts
from radl_model.train.program import Program
from radl_model.train.training import Training
from tests.tiny import tiny_pipeline

FUSION = {"context": "channel_tokens", "enhancement": "grid", "relation": True, "slots": 12, "active_fraction": 0.8}


def make_place(folder: Path) -> Path:
    """A tiny base of v1's shape in `base/` and forty drawn photographs of COCO's shape in `set/`."""
    tiny_pipeline().save_pretrained(folder / "base")
    (folder / "coco" / "toy").mkdir(parents=True)
    images, boxes, texts = [], [], []
    for i in range(40):
        rng = np.random.default_rng(i)
        pixels = rng.integers(0, 60, (128, 160, 3), dtype=np.uint8)
        x, y = int(rng.integers(16, 80)), int(rng.integers(0, 60))
        pixels[y : y + 60, x : x + 60, i % 3] = 250
        Image.fromarray(pixels).save(folder / "coco" / "toy" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 160, "height": 128})
        boxes.append({"id": i, "image_id": i, "category_id": 1 + i % 3, "bbox": [x, y, 60, 60]})
        texts.append({"id": i, "image_id": i, "caption": f"a {('red car', 'green dog', 'blue cat')[i % 3]} on grass"})
    names = [{"id": 1, "name": "car"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cat"}]
    content = {"images": images, "annotations": boxes, "categories": names}
    (folder / "coco" / "instances_toy.json").write_text(json.dumps(content))
    (folder / "coco" / "captions_toy.json").write_text(json.dumps({"annotations": texts}))
    list(build_layouts(Source(folder / "coco", "toy"), folder / "set", Shard(), size=16))
    return folder


def config(place: Path, steps: int = 6, **loop: object) -> dict[str, object]:
    settings = {"steps": steps, "batch_size": 4, "lr": 1e-3, "warmup": 2, "precision": "no", "log_every": 1}
    return {
        "base": str(place / "base"),
        "data": str(place / "set"),
        "fusion": FUSION,
        "loss": {"phrase_dropout": 0.2},
        "samples": {"side": 128},
        "loop": {**settings, **loop},
    }


def trained(place: Path, out: Path, **changes: object) -> dict[str, torch.Tensor]:
    training = Training(Program.from_dict(config(place, **changes)), out)
    assert training.run()
    return parameters(out)


def parameters(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoint.pt", weights_only=True)["parameters"]


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]
