"""The cells inside the instances' boxes, packed into one list of rows, and attention on them.

Boxes cover a fraction of the image and everything outside them is masked away, so a branch that works on the packed
rows costs that fraction, and attention within a box the square of it. Instances of like size are padded to a common
length and attended together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from radl_model.layers.attention import KeyValue, additive, attend, split_heads


@dataclass(frozen=True)
class Bucket:
    """Q instances of like size, padded to L cells.

    Attributes:
        pairs: [Q] index of each into the P pairs, or None when the bucket holds all of them in order.
        take: [Q * L] index into the R rows; padding repeats a row of the same instance.
        real: [Q, L], False at the padding.
        mask: [Q, 1, 1, L], keeps attention off the padding; None where there is none.
    """

    pairs: Tensor | None
    take: Tensor
    real: Tensor
    mask: Tensor | None

    def pad(self, rows: Tensor) -> Tensor:
        """[R, C] -> [Q, L, C]."""
        return rows.index_select(0, self.take).unflatten(0, self.real.shape)

    def of(self, keys: KeyValue) -> KeyValue:
        """Keys and values [P, ...] of this bucket's instances."""
        return keys if self.pairs is None else (keys[0][self.pairs], keys[1][self.pairs])


@dataclass(frozen=True)
class Rows:
    """R cells that lie in their instance's box, ordered by instance, then by cell.

    Attributes:
        flat: [R] index into the flattened [P * HW]; cell: [R] index into [HW].
        source: [R] index into the flattened [B * HW] of the images.
        mask: [R, 1] value of the instance mask there, in (0, 1].
        buckets: the instances that have a cell, by size.
        restore: [R] index into the joined, padded rows of all buckets.
        pairs: P, all instances, with a cell or without.
    """

    flat: Tensor
    cell: Tensor
    source: Tensor
    mask: Tensor
    buckets: tuple[Bucket, ...]
    restore: Tensor
    pairs: int

    def attend(self, query: Tensor, keys: KeyValue) -> Tensor:
        """Attention of each row of `query` [R, C] over its instance's keys, each [P, heads, T, d]; [R, C]."""
        return self._joined(query, [attend(b.pad(query), b.of(keys)) for b in self.buckets])

    def attend_within(self, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        """Attention of each row over the rows of the same instance; all [R, C]."""
        done = []
        for bucket in self.buckets:
            keys = split_heads(bucket.pad(key), heads), split_heads(bucket.pad(value), heads)
            done.append(attend(bucket.pad(query), keys, bucket.mask))
        return self._joined(query, done)

    def _joined(self, query: Tensor, done: list[Tensor]) -> Tensor:
        if not done:
            return query
        return torch.cat([d.flatten(0, 1) for d in done]).index_select(0, self.restore)


def build_rows(instance: Tensor, owner: Tensor, buckets: int) -> Rows:
    """Pack the instance masks of a layer.

    Args:
        instance: [P, HW] masks; owner: [P], the image of each.
        buckets: most sizes to tell apart, each twice the one before. More waste less on padding, and launch more
            kernels.
    """
    cells = instance.shape[1]
    flat = (instance > 0).flatten().nonzero().squeeze(1)
    cell = flat % cells
    counts = (instance > 0).sum(1)
    made, at = [], torch.zeros_like(flat)
    starts, offset = counts.cumsum(0) - counts, 0
    for pairs in _by_size(counts.tolist(), buckets):
        index = torch.tensor(pairs, device=flat.device)
        bucket, rows, places = _bucket(index, counts, starts, whole=len(pairs) == len(counts))
        at[rows] = places + offset
        offset += bucket.real.numel()
        made.append(bucket)
    return Rows(
        flat=flat,
        cell=cell,
        source=owner[flat // cells] * cells + cell,
        mask=instance.flatten()[flat][:, None],
        buckets=tuple(made),
        restore=at,
        pairs=len(counts),
    )


def _bucket(index: Tensor, counts: Tensor, starts: Tensor, whole: bool) -> tuple[Bucket, Tensor, Tensor]:
    """A bucket of the instances `index`, the rows it covers, and their places in it."""
    size = counts[index]
    rank = torch.arange(int(size.max()), device=index.device).expand(len(index), -1)
    real = rank < size[:, None]
    take = starts[index][:, None] + torch.where(real, rank, 0)
    mask = None if bool(real.all()) else additive(real)[:, None, None]
    bucket = Bucket(None if whole else index, take.flatten(), real, mask)
    return bucket, take[real], real.flatten().nonzero().squeeze(1)


def _by_size(counts: list[int], buckets: int) -> list[list[int]]:
    """Split instances with a cell into at most `buckets` groups: up to the largest, up to half of it, and so on."""
    largest = max(counts, default=0)
    groups: list[list[int]] = [[] for _ in range(buckets)]
    for pair, count in enumerate(counts):
        if count:
            level = 0
            while level + 1 < buckets and count * 2 ** (level + 1) <= largest:
                level += 1
            groups[level].append(pair)
    return [group for group in groups if group]
