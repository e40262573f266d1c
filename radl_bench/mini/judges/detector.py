"""The mini detector: FCOS trained on the mini world, for its 79 classes in images of 128 pixels.

Its figures are in `weights/detector/README.md`. It knows drawings of the mini world and nothing else: on
photographs its answers mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from radl_bench.errors import UsageError, did_you_mean
from radl_bench.mini.judges.common import SIDE, MiniJudge, square
from radl_bench.runs.image_reading import constant
from radl_bench.scoring.protocol import Boxes
from radl_bench.types import Detection

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import nn

WEIGHTS = Path(__file__).parent / "weights" / "detector"


def predict(model: nn.Module, images: Sequence[np.ndarray], categories: Sequence[str]) -> list[dict[str, Boxes]]:
    """Return what the network sees: for each image uint8 [128, 128, 3] the boxes of every class it found.

    Boxes are fractions by falling score; scores are at least 0.05 and boxes of a class overlap by IoU 0.65 at most.
    """
    import torch

    with torch.inference_mode():
        tensors = [torch.from_numpy(image).permute(2, 0, 1).float() / 255 for image in images]
        output = model(tensors)
    found = []
    for result in output:
        labels = result["labels"].numpy()
        boxes, scores = result["boxes"].double().numpy() / SIDE, result["scores"].double().numpy()
        found.append({categories[c]: Boxes(boxes[labels == c], scores[labels == c]) for c in np.unique(labels)})
    return found


class MiniDetector(MiniJudge["nn.Module"]):
    """Detector of the sprite world: FCOS, trained on its 79 classes (`weights/detector`).

    Args:
        weights: folder with `config.json` and `model.safetensors`.

    Raises:
        MissingWeights: the folder has no weights.
    """

    title = "mini detector"
    packages = ("torch", "torchvision", "safetensors")
    companions: ClassVar = {"segmenter": "mini"}
    thresholds: ClassVar[dict[str, float]] = {"score": 0.21}
    """The lowest at which things of a wrong class pass in less than 3 % (`radl_bench.mini.train.floor`)."""

    def __init__(self, weights: Path = WEIGHTS) -> None:
        super().__init__(weights)
        self.signature = f"mini-fcos@{self.sha8}+contest+nms.65+blank"

    def _build(self) -> nn.Module:
        """The config holds `categories`, in the order of the labels, and `network`, the arguments of the builder."""
        from radl_bench.mini.judges.fcos import build

        return build(len(self.config["categories"]), **self.config["network"])

    def detect(self, images: Sequence[Image], queries: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """Return the detections (score >= `FLOOR`) of the asked categories, one list an image.

        An image of one colour throughout shows nothing, so nothing is found in it.

        Raises:
            UsageError: a category that the mini world cannot draw, for which silence would read as a miss.
        """
        categories: list[str] = self.config["categories"]
        self._check({name for wanted in queries for name in wanted})
        found = predict(self.model, [square(image) for image in images], categories) if images else []
        # on one colour the network sees ghosts: 800 black images had an AP50 of 3.6 on COCO-MIG
        found = [{} if constant(image.convert("RGB")) else boxes for image, boxes in zip(images, found, strict=True)]
        return [_detections(boxes, wanted) for boxes, wanted in zip(found, queries, strict=True)]

    def _check(self, asked: Iterable[str]) -> None:
        known = self.config["categories"]
        for name in sorted(asked):
            if name not in known:
                hint = did_you_mean(name, known, "class of the mini detector")
                raise UsageError(f"{hint} It judges the mini world alone; choose another with --detector.")


def _detections(found: dict[str, Boxes], wanted: Sequence[str]) -> list[Detection]:
    return [
        Detection(name, (float(box[0]), float(box[1]), float(box[2]), float(box[3])), float(score))
        for name in dict.fromkeys(wanted)
        if name in found
        for box, score in zip(found[name].boxes, found[name].scores, strict=True)
    ]
