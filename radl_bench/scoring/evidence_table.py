"""A table of measured values on disk: Parquet parts, a small index in memory, and a few parts at hand.

Memory holds eight bytes of hash and eight of place a key, whatever the values weigh, so the evidence of a large run is
read as it is needed and in the order in which it was written.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radl_bench.errors import BadInput
from radl_bench.files import remove_leftovers, replacing

_FLUSH = 4096  # rows a Parquet part
_PARTS = 8  # parts held at once

Key = tuple[str, ...]


class EvidenceTable:
    """A table of measured values by key, in Parquet parts of one folder; rows are added, never changed.

    Args:
        folder: where the parts lie; made at the first flush.
        signature: the judge's; it is written into every part, and a part of another signature is refused.
        keys, values: the columns, in order. A key column holds strings, a value column numbers or lists of numbers.
        flush_rows: rows a part; fewer where a row is large.

    Raises:
        BadInput: a part cannot be read, or is of another judge.
    """

    def __init__(
        self, folder: Path, signature: str, keys: Sequence[str], values: Sequence[str], flush_rows: int = _FLUSH
    ) -> None:
        self.folder, self.signature, self.keys, self.values = folder, signature, tuple(keys), tuple(values)
        self._flush_rows = flush_rows
        self._pending: dict[Key, tuple[Any, ...]] = {}
        self._parts: list[Path] = []
        self._held: OrderedDict[int, list[_Column]] = OrderedDict()
        self._hashes, self._places = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        remove_leftovers(folder)
        for part in sorted(folder.glob("*.parquet")):
            columns = self._read(part, self.keys)
            self._index(part, zip(*(c.to_pylist() for c in columns), strict=True))

    def __contains__(self, key: Key) -> bool:
        return key in self._pending or self._place(key) is not None

    def __getitem__(self, key: Key) -> tuple[Any, ...]:
        """Return the values of a key, lists as lists; raises `KeyError` for one that was never measured."""
        if key in self._pending:
            return self._pending[key]
        place = self._place(key)
        if place is None:
            raise KeyError(key)
        part, row = divmod(place, 1 << 32)
        return tuple(column[row] for column in self._part(part))

    def add(self, key: Key, value: tuple[Any, ...]) -> None:
        """Keep `value` under `key`; it reaches the disk with the next flush."""
        self._pending[key] = value
        if len(self._pending) >= self._flush_rows:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last flush as a new part, atomically."""
        if not self._pending:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = [*zip(*self._pending, strict=True), *zip(*self._pending.values(), strict=True)]
        table = pa.table({name: list(column) for name, column in zip(self.keys + self.values, columns, strict=True)})
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{uuid.uuid4().hex[:12]}.parquet"
        with replacing(part) as written:
            pq.write_table(table.replace_schema_metadata({"signature": self.signature}), written)
        self._index(part, self._pending)
        self._pending.clear()

    def _index(self, part: Path, keys: Iterable[Key]) -> None:
        hashes = np.fromiter((_hash(key) for key in keys), np.uint64)
        places = (len(self._parts) << 32) + np.arange(len(hashes))
        self._parts.append(part)
        hashes, places = np.concatenate([self._hashes, hashes]), np.concatenate([self._places, places])
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._places = hashes[order], places[order]

    def _place(self, key: Key) -> int | None:
        wanted = np.uint64(_hash(key))
        at = int(np.searchsorted(self._hashes, wanted))
        found = at < len(self._hashes) and self._hashes[at] == wanted
        return int(self._places[at]) if found else None

    def _part(self, number: int) -> list[_Column]:
        if number not in self._held:
            self._held[number] = [_Column(column) for column in self._read(self._parts[number], self.values)]
            if len(self._held) > _PARTS:
                self._held.popitem(last=False)
        self._held.move_to_end(number)
        return self._held[number]

    def _read(self, part: Path, names: Sequence[str]) -> list[Any]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(part, columns=list(names))
            signature = (table.schema.metadata or {}).get(b"signature", b"").decode()
            columns = [table.column(name).combine_chunks() for name in names]
        except (pa.ArrowException, OSError, KeyError) as error:
            raise BadInput(f"The evidence in {part} cannot be read ({error}). Delete it and score again.") from error
        if signature != self.signature:
            raise BadInput(f"The evidence in {part} is of '{signature}', not '{self.signature}'. Delete this folder.")
        return columns


class _Column:
    """A value column as numpy arrays: numbers, or lists of numbers with their offsets."""

    def __init__(self, column: Any) -> None:
        import pyarrow as pa

        self.offsets: np.ndarray | None = None
        if pa.types.is_list(column.type):
            self.offsets = column.offsets.to_numpy()
            column = column.values
        # a part in which all lists are empty has no type of its own
        self.numbers = np.zeros(0) if pa.types.is_null(column.type) else column.to_numpy(zero_copy_only=False)

    def __getitem__(self, row: int) -> Any:
        if self.offsets is None:
            return self.numbers[row].item()
        return self.numbers[self.offsets[row] : self.offsets[row + 1]].tolist()


def _hash(key: Key) -> int:
    # 64 bits: two of a million keys collide with a chance of 3e-8
    return int.from_bytes(hashlib.blake2b("\0".join(key).encode(), digest_size=8).digest(), "little")
