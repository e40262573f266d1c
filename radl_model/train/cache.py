"""Latents and text states of a training set, encoded once and kept on disk in float16.

Beside a shard `layouts-00000.parquet` of the set stand, in the folder of the cache, `latents-00000.npy` (what the
autoencoder says of each row's middle square), `texts-00000.npz` (digests of the shard's texts) and
`states-00000.npy`, `pooled-00000.npy` (what the text encoder says of them). They are mapped, never read whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from radl_model.errors import BadInput, UsageError
from radl_model.files import replace_file, replacing
from radl_model.train.crop import crop_pixels, row_image
from radl_model.train.encoding import ENCODED_AT_ONCE, moments
from radl_model.train.layout_rows import LayoutRow, count_rows, read_rows

SETTINGS = "settings.json"
AT_ONCE = 64
"""Texts that are encoded together."""
Ids = Callable[[list[str]], Tensor]


class Cache:
    """The cache of a set in `folder`; `fill` makes what is missing, one shard after the other.

    Args:
        files: shards of the set.
        settings: what latents and states depend on (`fingerprint_of`); another cache in the folder is refused.

    Raises:
        UsageError: the folder holds the cache of another set, base or side.
    """

    def __init__(self, folder: Path, files: Sequence[Path], settings: dict[str, object]) -> None:
        self.folder, self.files = folder, list(files)
        self.latents: dict[int, np.ndarray] = {}
        folder.mkdir(parents=True, exist_ok=True)
        note, now = folder / SETTINGS, json.loads(json.dumps(settings))
        if note.is_file():
            old = json.loads(note.read_text())
            differ = sorted(key for key in now if old.get(key) != now[key])
            if differ:
                raise UsageError(f"{folder} caches something else ({', '.join(differ)} differ). Use another 'cache'.")
        else:
            replace_file(note, json.dumps(now, indent=2).encode())

    def file(self, kind: str, shard: int) -> Path:
        """The file of a shard; the text files of a set are made last, so that a shard with them is complete."""
        return self.folder / f"{kind}-{shard:05d}.{'npz' if kind == 'texts' else 'npy'}"

    def fill(self, vae: Any, side: int, text_encoder: nn.Module, ids: Ids, share: tuple[int, int]) -> Iterator[int]:
        """Make the missing shards of a share (index, of how many), and yield the number of each as it is there."""
        for shard in range(share[0], len(self.files), share[1]):
            if not self.file("latents", shard).is_file():
                self._fill_latents(shard, vae, side)
            if not self.file("texts", shard).is_file():
                self._fill_texts(shard, text_encoder, ids)
            yield shard

    def _fill_latents(self, shard: int, vae: Any, side: int) -> None:
        rows, made, at = read_rows(self.files[shard]), None, 0
        with replacing(self.file("latents", shard)) as part:
            while some := list(islice(rows, ENCODED_AT_ONCE)):
                said = moments(vae, torch.stack([crop_pixels(row_image(row), side) for row in some]))
                if made is None:
                    shape = (count_rows(self.files[shard]), *said.shape[1:])
                    made = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape)
                made[at : at + len(some)] = said.half().cpu().numpy()
                at += len(some)
            if made is None:  # a shard of which every image was left out
                made = np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=(0, 1, 1, 1))
            made.flush()

    def _fill_texts(self, shard: int, encoder: nn.Module, ids: Ids) -> None:
        texts = sorted({"", *texts_of(read_rows(self.files[shard], images=False))})
        keys, states, pooled = [], [], []
        device = next(encoder.parameters()).device
        for first in range(0, len(texts), AT_ONCE):
            tokens = ids(texts[first : first + AT_ONCE])
            with torch.no_grad():
                out = encoder(tokens.to(device))
            keys += digests(tokens)
            states.append(out.last_hidden_state.half().cpu().numpy())
            pooled.append(out.pooler_output.half().cpu().numpy())
        for kind, parts in (("states", states), ("pooled", pooled)):
            with replacing(self.file(kind, shard)) as part, part.open("wb") as stream:
                np.save(stream, np.concatenate(parts))
        with replacing(self.file("texts", shard)) as part, part.open("wb") as stream:
            np.savez(stream, keys=np.frombuffer(b"".join(keys), np.uint64).reshape(-1, 2))

    def said(self, places: Iterable[tuple[int, int]]) -> Tensor:
        """What the autoencoder says of the rows at (shard, row), see `encoding.moments`; float32."""
        return torch.from_numpy(np.stack([self._mapped(shard)[row] for shard, row in places]).astype(np.float32))

    def _mapped(self, shard: int) -> np.ndarray:
        if shard not in self.latents:
            self.latents[shard] = _map(self.file("latents", shard))
        return self.latents[shard]


class KeptTexts:
    """The text states of a cache by token ids.

    Args:
        cache: filled.
    """

    def __init__(self, cache: Cache) -> None:
        self.states = [_map(cache.file("states", shard)) for shard in range(len(cache.files))]
        self.pooled = [_map(cache.file("pooled", shard)) for shard in range(len(cache.files))]
        self.places: dict[bytes, tuple[int, int]] = {}
        for shard in range(len(cache.files)):
            with np.load(cache.file("texts", shard)) as content:
                for row, key in enumerate(content["keys"]):
                    self.places.setdefault(key.tobytes(), (shard, row))

    def find(self, ids: Tensor) -> tuple[Tensor, Tensor] | None:
        """[M, T] ids -> states [M, T, D] and pooled [M, D] in float32, or None where one is not kept."""
        places = [self.places.get(key) for key in digests(ids)]
        known = [place for place in places if place is not None]
        if not known or len(known) < len(places):
            return None
        states = np.stack([self.states[shard][row] for shard, row in known]).astype(np.float32)
        pooled = np.stack([self.pooled[shard][row] for shard, row in known]).astype(np.float32)
        return torch.from_numpy(states).to(ids.device), torch.from_numpy(pooled).to(ids.device)


def texts_of(rows: Iterable[LayoutRow]) -> Iterator[str]:
    """Every text of some rows that a training may encode."""
    for row in rows:
        yield from (row.caption, row.verbs, *row.phrases)


def digests(ids: Tensor) -> list[bytes]:
    """A key of 16 bytes for each row of token ids."""
    rows = ids.cpu().numpy().astype(np.int32)
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]


def _map(file: Path) -> np.ndarray:
    try:
        mapped: np.ndarray = np.load(file, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} of the cache cannot be read ({error}). Delete it, and run the same again.") from None
    return mapped
