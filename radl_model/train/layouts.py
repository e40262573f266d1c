"""Batches of a training set of layouts: any step's samples, cropped, encoded, with the boxes moved along."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision.transforms.v2.functional as vision
from PIL import Image, ImageOps
from torch import Tensor

from radl_model.errors import BadInput
from radl_model.train.batch import AdapterBatch, TextBank
from radl_model.train.draws import Part
from radl_model.train.layout_rows import LayoutRow, RowOrder, count_rows, read_rows, shard_files

KEPT_SHARE = 0.5
"""A box of which the crop leaves less than this share is left out: its phrase would speak of what is not there."""

EMPTY_SHARE = 0.1
"""Prompts that are emptied, for guidance without a classifier."""


class Cropped(NamedTuple):
    """A square of an image: pixels [3, S, S] in -1..1, boxes xyxy as fractions of it, which instances stay."""

    pixels: Tensor
    boxes: list[tuple[float, float, float, float]]
    kept: list[int]


def centre_crop(image: Image.Image, boxes: Sequence[Sequence[float]], side: int) -> Cropped:
    """Scale the shorter side to `side` pixels, cut the middle square out, and move the boxes with it."""
    width, height = image.size
    scale = side / min(width, height)
    wide, high = max(side, round(width * scale)), max(side, round(height * scale))
    left, top = (wide - side) // 2, (high - side) // 2
    square = image.resize((wide, high), Image.Resampling.LANCZOS).crop((left, top, left + side, top + side))
    pixels = vision.pil_to_tensor(square).float() / 127.5 - 1
    moved, kept = [], []
    for number, (x0, y0, x1, y1) in enumerate(boxes):
        whole = (
            (x0 * wide - left) / side,
            (y0 * high - top) / side,
            (x1 * wide - left) / side,
            (y1 * high - top) / side,
        )
        inside = (max(whole[0], 0.0), max(whole[1], 0.0), min(whole[2], 1.0), min(whole[3], 1.0))
        if inside[0] < inside[2] and inside[1] < inside[3] and _area(inside) >= KEPT_SHARE * _area(whole):
            moved.append(inside)
            kept.append(number)
    return Cropped(pixels, moved, kept)


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


@dataclass(frozen=True)
class Rules:
    """How a row becomes a sample.

    Attributes:
        side: pixels of the square that is cut out of the image.
        instances: slots of a batch; the largest are kept.
        empty_share: share of the prompts that are emptied.
    """

    side: int = 512
    instances: int = 6
    empty_share: float = EMPTY_SHARE


class LayoutBatches:
    """Batches out of the shards of a folder; a batch is a function of (seed, step, part).

    Every image is visited once an epoch, see `RowOrder`. A window of rows is held in memory, never the set.

    Args:
        folder: the training set.
        parts: with `vae`, `text_encoder` and `tokenizer`, frozen.
        batch_size: samples a step over all processes.

    Raises:
        MissingData: there are no shards, or one is broken.
        BadInput: the set holds fewer images than a step needs.
    """

    def __init__(self, folder: Path, parts: Any, rules: Rules, batch_size: int, seed: int) -> None:
        self.files, self.rules, self.batch_size, self.seed = shard_files(folder), rules, batch_size, seed
        self.order = RowOrder([count_rows(file) for file in self.files], seed)
        if len(self.order) < batch_size:
            raise BadInput(f"{folder} holds {len(self.order)} images; a step takes {batch_size}. Lower batch_size.")
        self.vae = parts.vae.requires_grad_(False).eval()
        self.tokenizer, self.texts = parts.tokenizer, TextBank(parts.text_encoder)
        self._flat = lru_cache(maxsize=2)(self._visits)
        self._window = lru_cache(maxsize=4)(self._rows)

    def fingerprint(self) -> str:
        """Of the set: names, sizes and numbers of rows of its shards."""
        parts = [(f.name, f.stat().st_size, rows) for f, rows in zip(self.files, self.order.sizes, strict=True)]
        return sha256(repr(parts).encode()).hexdigest()[:16]

    def make_batch(self, step: int, part: Part) -> AdapterBatch:
        """Return the samples of a part of a step."""
        numbers = range(step * part.total + part.start, step * part.total + part.stop)
        rows = [self._at(number) for number in numbers]
        cropped = [centre_crop(_image(row), row.boxes, self.rules.side) for row in rows]
        keep = [np.random.default_rng((self.seed, n, 1)).random() >= self.rules.empty_share for n in numbers]
        latents = self._encode(torch.stack([c.pixels for c in cropped]), numbers)
        boxes, valid, phrases = self._slots(rows, cropped)
        verbs = [row.verbs for row in rows]
        return AdapterBatch(
            latents=latents,
            prompt_ids=self._ids([row.caption if kept else "" for row, kept in zip(rows, keep, strict=True)]),
            phrase_ids=self._ids(phrases).unflatten(0, valid.shape),
            boxes=boxes,
            valid=valid,
            verb_ids=self._ids(verbs),
            verb_valid=torch.tensor([bool(v) for v in verbs]),
            weights=torch.ones(len(rows), 1, *latents.shape[-2:]),
        ).to(latents.device)

    def _at(self, number: int) -> LayoutRow:
        """The row that is visited as the `number`-th since the training began."""
        epoch, position = divmod(number, len(self.order))
        shard, row = (int(value) for value in self._flat(epoch)[position])
        first = row // self.order.window * self.order.window
        return self._window(shard, first)[row - first]

    def _visits(self, epoch: int) -> np.ndarray:
        """Shard and row of every visit of an epoch, int32 [N, 2]."""
        visits = [np.column_stack((np.full(len(rows), shard), rows)) for shard, rows in self.order.epoch(epoch)]
        return np.concatenate(visits).astype(np.int32)

    def _rows(self, shard: int, first: int) -> list[LayoutRow]:
        return list(islice(read_rows(self.files[shard], first), self.order.window))

    def _ids(self, texts: list[str]) -> Tensor:
        return self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids

    def _slots(self, rows: Sequence[LayoutRow], cropped: Sequence[Cropped]) -> tuple[Tensor, Tensor, list[str]]:
        shape = (len(rows), self.rules.instances)
        boxes, valid = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(*shape, 1), torch.zeros(shape, dtype=torch.bool)
        phrases: list[str] = []
        for index, (row, crop) in enumerate(zip(rows, cropped, strict=True)):
            kept = list(zip(crop.boxes, crop.kept, strict=True))[: self.rules.instances]
            if kept:
                boxes[index, : len(kept)] = torch.tensor([box for box, _ in kept])
                valid[index, : len(kept)] = True
            phrases += [row.phrases[n] for _, n in kept] + [""] * (self.rules.instances - len(kept))
        return boxes, valid, phrases

    @torch.no_grad()
    def _encode(self, pixels: Tensor, numbers: Sequence[int]) -> Tensor:
        """Latents as the UNet sees them; those of a KL autoencoder are drawn, by the number of the visit."""
        parameter = next(self.vae.parameters())
        encoded = self.vae.encode(pixels.to(parameter.device, parameter.dtype))
        if hasattr(encoded, "latents"):
            return encoded.latents.float() * self.vae.config.scaling_factor
        mean, deviation = encoded.latent_dist.mean.float(), encoded.latent_dist.std.float()
        shape = tuple(mean.shape[1:])
        noise = [np.random.default_rng((self.seed, n, 2)).standard_normal(shape, dtype=np.float32) for n in numbers]
        drawn = mean + deviation * torch.from_numpy(np.stack(noise)).to(mean)
        return drawn * self.vae.config.scaling_factor


def _image(row: LayoutRow) -> Image.Image:
    try:
        with Image.open(io.BytesIO(row.image), formats=("JPEG", "PNG", "WEBP", "BMP")) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # decoders of damaged files raise whatever they like
        raise BadInput(
            f"The image {row.id} of the training set cannot be read ({error}). Build the set again."
        ) from None
