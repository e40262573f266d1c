"""Batches of a training set of layouts: any step's samples, cropped, encoded, with the boxes moved along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from radl_model.errors import BadInput
from radl_model.train.batch import AdapterBatch, TextBank
from radl_model.train.cache import Cache, KeptTexts
from radl_model.train.crop import Placed, crop_pixels, place_boxes, row_image
from radl_model.train.draws import Part
from radl_model.train.encoding import drawn, moments
from radl_model.train.layout_rows import LayoutRow, RowOrder, count_rows, read_rows, shard_files

EMPTY_SHARE = 0.1
"""Prompts that are emptied, for guidance without a classifier."""


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

    cache: Cache | None = None

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
        places = [self._place(number) for number in numbers]
        rows = [self.row(number) for number in numbers]
        placed = [place_boxes(row.width, row.height, row.boxes, self.rules.side) for row in rows]
        keep = [np.random.default_rng((self.seed, n, 1)).random() >= self.rules.empty_share for n in numbers]
        latents = drawn(self._said(rows, places), self.vae.config, numbers, self.seed)
        boxes, valid, phrases = self._slots(rows, placed)
        verbs = [row.verbs for row in rows]
        return AdapterBatch(
            latents=latents,
            prompt_ids=self.ids([row.caption if kept else "" for row, kept in zip(rows, keep, strict=True)]),
            phrase_ids=self.ids(phrases).unflatten(0, valid.shape),
            boxes=boxes,
            valid=valid,
            verb_ids=self.ids(verbs),
            verb_valid=torch.tensor([bool(v) for v in verbs]),
            weights=torch.ones(len(rows), 1, *latents.shape[-2:]),
        ).to(latents.device)

    def _said(self, rows: Sequence[LayoutRow], places: Sequence[tuple[int, int]]) -> Tensor:
        """What the autoencoder says of the rows, from the cache where there is one."""
        if self.cache is not None:
            return self.cache.said(places).to(self.device)
        return moments(self.vae, torch.stack([crop_pixels(row_image(row), self.rules.side) for row in rows]))

    @property
    def device(self) -> torch.device:
        """Where the batches are: with the text encoder."""
        return next(self.texts.text_encoder.parameters()).device

    def use_cache(self, cache: Cache) -> None:
        """Take latents and text states from a filled cache from now on; images are not read any more."""
        self.cache, self.texts.kept = cache, KeptTexts(cache)
        self._window.cache_clear()

    def _place(self, number: int) -> tuple[int, int]:
        """Shard and row of what is visited as the `number`-th since the training began."""
        epoch, position = divmod(number, len(self.order))
        shard, row = self._flat(epoch)[position]
        return int(shard), int(row)

    def row(self, number: int) -> LayoutRow:
        """What is visited as the `number`-th since the training began; with a cache, its image is left out."""
        shard, row = self._place(number)
        first = row // self.order.window * self.order.window
        return self._window(shard, first)[row - first]

    def _visits(self, epoch: int) -> np.ndarray:
        """Shard and row of every visit of an epoch, int32 [N, 2]."""
        visits = [np.column_stack((np.full(len(rows), shard), rows)) for shard, rows in self.order.epoch(epoch)]
        return np.concatenate(visits).astype(np.int32)

    def _rows(self, shard: int, first: int) -> list[LayoutRow]:
        return list(islice(read_rows(self.files[shard], first, images=self.cache is None), self.order.window))

    def ids(self, texts: list[str]) -> Tensor:
        """Token ids [M, T] of texts."""
        return self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids

    def _slots(self, rows: Sequence[LayoutRow], placed: Sequence[Placed]) -> tuple[Tensor, Tensor, list[str]]:
        shape = (len(rows), self.rules.instances)
        boxes, valid = torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(*shape, 1), torch.zeros(shape, dtype=torch.bool)
        phrases: list[str] = []
        for index, (row, crop) in enumerate(zip(rows, placed, strict=True)):
            kept = list(zip(crop.boxes, crop.kept, strict=True))[: self.rules.instances]
            if kept:
                boxes[index, : len(kept)] = torch.tensor([box for box, _ in kept])
                valid[index, : len(kept)] = True
            phrases += [row.phrases[n] for _, n in kept] + [""] * (self.rules.instances - len(kept))
        return boxes, valid, phrases
