"""What both backends of GroundingDINO share: captions, token spans, image size, decoding, and who is asked what.

The detector is asked one category at a time, as the public COCO-MIG scorer asks it. A box's score is the greatest
probability over the tokens of the category's own words; "[CLS]", the full stop and "[SEP]" never score. So the public
protocol's two thresholds (box .25, text .25) read the same tokens and act as one, the protocol's `score`. Boxes are
kept down to `FLOOR` and as the network gives them, neither clipped nor suppressed: thresholds and NMS belong to the
protocol.

Source: GroundingDINO (Liu et al. 2023, arXiv:2303.05499); how the public scorer asks is in docs/judges.md.
"""

from __future__ import annotations

import contextlib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from typing import Protocol as TypingProtocol

import numpy as np

from radl_bench.errors import BadInput, UsageError
from radl_bench.judges.local_weights import exact
from radl_bench.scoring.protocol import FLOOR, Boxes
from radl_bench.types import Detection

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

SIDE, LONGEST = 800, 1333
"""Pixels of the shorter side, unless the longer one would pass `LONGEST`."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, by channel; Swin was trained on images normalised by them."""


class Query(NamedTuple):
    """Token ids of a caption and the indices of the category's own tokens among them."""

    ids: tuple[int, ...]
    span: tuple[int, ...]


class Network(TypingProtocol):
    """A loaded GroundingDINO: looks at one image, then answers queries about it."""

    at_once: int
    """Queries that are worth asking together."""

    def see(self, pixels: Tensor) -> None:
        """Run the image backbone on one image, [1, 3, H, W] from `pixels_of`."""
        ...

    def ask(self, queries: Sequence[Query]) -> tuple[Tensor, Tensor]:
        """Return raw logits [B, Q, T] and boxes [B, Q, 4] (centre, width, height; fractions) for `at_once` or less."""
        ...

    def forget(self) -> None:
        """Let go of the image."""
        ...


def caption(category: str) -> str:
    """Return the caption that asks for a category: "Traffic Light" -> "traffic light."."""
    return " ".join(category.lower().split()).rstrip(". ") + "."


def make_query(tokenizer: PreTrainedTokenizerBase, category: str) -> Query:
    """Return the query of a category. Raises `UsageError` where the tokenizer finds no word in it."""
    ids = tuple(int(i) for i in tokenizer(caption(category))["input_ids"])
    span = tuple(range(1, len(ids) - 2))  # between "[CLS]" and the full stop before "[SEP]"
    if not span or len(ids) > 256:
        raise UsageError(f"GroundingDINO cannot be asked for '{category[:60]}': give a category of 1 to 250 tokens.")
    return Query(ids, span)


def network_size(width: int, height: int, side: int = SIDE, longest: int = LONGEST) -> tuple[int, int]:
    """Return `(width, height)` in pixels at which the network sees an image, as the original computes it."""
    short, long = min(width, height), max(width, height)
    if long / short * side > longest:
        side = max(1, round(longest * short / long))
    if short == side:
        return width, height
    stretched = max(1, int(side * long / short))
    return (side, stretched) if width < height else (stretched, side)


def pixels_of(image: Image, side: int = SIDE, longest: int = LONGEST) -> Tensor:
    """Return float32 [1, 3, H, W]: the image in RGB, resized bilinearly with PIL and normalised."""
    import torch
    from PIL.Image import Resampling

    rgb = image.convert("RGB")
    size = network_size(*rgb.size, side, longest)
    rgb = rgb if rgb.size == size else rgb.resize(size, Resampling.BILINEAR)
    scaled = torch.from_numpy(np.array(rgb)).permute(2, 0, 1).float() / 255
    return ((scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None])[None]


def decode(logits: np.ndarray, boxes: np.ndarray, span: Sequence[int], floor: float = FLOOR) -> Boxes:
    """Return what a category scored, by falling score.

    Args:
        logits: [Q, T], raw; T is at least the last index of `span` + 1.
        boxes: [Q, 4], centre x, centre y, width, height as fractions.
        span: indices of the category's own tokens.
        floor: least score that is kept, 0..1.
    """
    best = logits[:, list(span)].max(axis=1).astype(np.float64)
    scores = 1 / (1 + np.exp(-np.clip(best, -500, 500)))
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= floor]
    center, half = boxes[order, :2].astype(np.float64), boxes[order, 2:].astype(np.float64) / 2
    return Boxes(np.concatenate([center - half, center + half], axis=1), scores[order])


class GroundingDetector(ABC):
    """The part of a detector that is the same for both backends; a subclass gives `signature`, `tokenizer`, `network`.

    Args:
        side, longest: see `network_size`.
    """

    signature: str

    def __init__(self, side: int = SIDE, longest: int = LONGEST) -> None:
        self.side, self.longest = side, longest
        self._queries: dict[str, Query] = {}

    @property
    @abstractmethod
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """BERT's tokenizer."""

    @property
    @abstractmethod
    def network(self) -> Network:
        """The loaded network."""

    def detect(self, images: Sequence[Image], queries: Sequence[Sequence[str]]) -> list[list[Detection]]:
        """Return the detections (score >= `FLOOR`) of the asked categories, one list an image.

        The backbone runs once an image, however many categories are asked for and however often it is among `images`;
        no category is asked twice about an image. Boxes may reach a little over the image's edge.

        Raises:
            MissingWeights: the weights or the vocabulary are not on this machine.
            UsageError: a category without a word.
        """
        keys = [_key(image) for image in images]
        wanted: dict[str, dict[str, None]] = {key: {} for key in keys}
        for key, names in zip(keys, queries, strict=True):
            wanted[key].update(dict.fromkeys(names))
        pictures = dict(zip(keys, images, strict=True))
        found = {key: self._look(image, list(wanted[key])) for key, image in pictures.items()}
        asked = zip(keys, queries, strict=True)
        return [[d for name in dict.fromkeys(names) for d in found[key][name]] for key, names in asked]

    def _look(self, image: Image, names: Sequence[str]) -> dict[str, list[Detection]]:
        if not names:
            return {}
        queries = [self._query(name) for name in names]
        found: list[Boxes] = []
        with exact(), seeing(self.network, pixels_of(image, self.side, self.longest)) as network:
            for start in range(0, len(queries), network.at_once):
                some = queries[start : start + network.at_once]
                logits, boxes = (answer.float().cpu().numpy() for answer in network.ask(some))
                found += [decode(logits[n], boxes[n], query.span) for n, query in enumerate(some)]
        return {name: list(_detections(name, boxes)) for name, boxes in zip(names, found, strict=True)}

    def _query(self, name: str) -> Query:
        if name not in self._queries:
            self._queries[name] = make_query(self.tokenizer, name)
        return self._queries[name]


@contextlib.contextmanager
def seeing(network: Network, pixels: Tensor) -> Iterator[Network]:
    """Show an image to the network, and have it forgotten at the end."""
    network.see(pixels)
    try:
        yield network
    finally:
        network.forget()


def load_tokenizer(vocabulary: str | Path) -> PreTrainedTokenizerBase:
    """Return BERT's uncased tokenizer from its `vocab.txt`. Raises `BadInput` where it is another vocabulary."""
    from transformers import BertTokenizer

    tokenizer = BertTokenizer(vocab=str(vocabulary))
    special = tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", ".", "?"])
    if special != [101, 102, 1012, 1029]:  # both libraries' models are built on these ids
        raise BadInput(f"{vocabulary} is not the vocabulary of bert-base-uncased (its special tokens are {special}).")
    return tokenizer


def _key(image: Image) -> str:
    return hashlib.sha256(f"{image.mode}{image.size}".encode() + image.tobytes()).hexdigest()


def _detections(name: str, found: Boxes) -> Iterator[Detection]:
    for box, score in zip(found.boxes.tolist(), found.scores.tolist(), strict=True):
        yield Detection(name, (box[0], box[1], box[2], box[3]), score)
