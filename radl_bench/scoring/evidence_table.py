"""A table of measured values on disk: one SQLite file, found by exact keys.

What was added waits in memory until `flush`, or until it has waited `PATIENCE` seconds, and is then written in one
short transaction: a kill loses that much and no more, other processes are never kept waiting, and memory holds neither
the keys nor the values of what is written.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from radl_bench.errors import BadInput, RadlBenchError
from radl_bench.files import no_room

PATIENCE = 20.0
"""Seconds for which a measured value may wait before it is written."""

_TYPES = {"number": "REAL", "whole": "INTEGER", "text": "TEXT", "doubles": "BLOB", "floats": "BLOB"}
_ARRAYS: dict[str, np.dtype[Any]] = {"doubles": np.dtype("<f8"), "floats": np.dtype("<f4")}
_FULL, _IO = "disk is full", "disk I/O error"  # what SQLite says; Python 3.10 has no number for it
_NEWER = "SELECT rowid, * FROM evidence WHERE rowid > ? ORDER BY rowid"
_BUSY = 60.0  # seconds to wait for another process that writes

Key: TypeAlias = tuple[str, ...]
Cell: TypeAlias = "float | int | str | np.ndarray"
Value: TypeAlias = "tuple[Cell, ...]"
Row: TypeAlias = "tuple[Cell | bytes, ...]"
"""A key and its values as they lie on disk."""


class EvidenceTable:
    """Measured values by key, of one judge; rows are added, never changed.

    Args:
        file: made at the first flush; None keeps the table in memory.
        signature: the judge's; a file of another signature is refused.
        keys: columns of text.
        values: column -> "number", "whole", "text", "doubles" (float64 [n]) or "floats" (float32 [n]).
        facts: what else a reader has to know about the judge; kept beside the signature.

    Raises:
        BadInput: the file cannot be read, or is of another judge.
    """

    def __init__(
        self,
        file: Path | None,
        signature: str,
        keys: Sequence[str],
        values: Mapping[str, str],
        facts: Mapping[str, bool] | None = None,
    ) -> None:
        self.file, self.signature, self.keys, self.values = file, signature, tuple(keys), dict(values)
        self.facts = dict(facts or {})
        self._pending: dict[Key, Value] = {}
        self._since = time.monotonic()
        self._base: sqlite3.Connection | None = None
        where = " AND ".join(f'"{key}" = ?' for key in self.keys)
        self._select = f"SELECT {', '.join(f'{chr(34)}{v}{chr(34)}' for v in self.values)} FROM evidence WHERE {where}"
        if file is None or file.is_file():
            self._open()

    def __contains__(self, key: Key) -> bool:
        return key in self._pending or self._row(key) is not None

    def __getitem__(self, key: Key) -> Value:
        """Return the values of a key, lists as arrays; raises `KeyError` for one that was never measured."""
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def get(self, key: Key) -> Value | None:
        """Return the values of a key, lists as arrays; None for one that was never measured."""
        if key in self._pending:
            return self._pending[key]
        row = self._row(key)
        if row is None:
            return None
        return tuple(_unpacked(v, kind) for v, kind in zip(row, self.values.values(), strict=True))

    def __iter__(self) -> Iterator[Key]:
        """Yield the keys that are on disk."""
        columns = ", ".join(f'"{key}"' for key in self.keys)
        yield from () if self._base is None else self._base.execute(f"SELECT {columns} FROM evidence")

    def add(self, key: Key, value: Value) -> None:
        """Keep `value` under `key`; it reaches the disk with the next flush, or after `PATIENCE` seconds."""
        if not self._pending:
            self._since = time.monotonic()
        self._pending[key] = value
        if time.monotonic() - self._since >= PATIENCE:
            self.flush()

    def flush(self) -> None:
        """Write what was added since the last flush: all of it, or nothing when the process is killed meanwhile."""
        if not self._pending:
            return
        kinds = tuple(self.values.values())
        rows = [(*k, *(_packed(v, t) for v, t in zip(vs, kinds, strict=True))) for k, vs in self._pending.items()]
        self._write("INSERT OR REPLACE", rows)
        self._pending.clear()

    def since(self, mark: int) -> tuple[list[Row], int]:
        """Return the rows written after `mark`, at first 0, and the mark for the next call."""
        found = [] if self._base is None else list(self._base.execute(_NEWER, (mark,)))
        return [row[1:] for row in found], max([mark, *(row[0] for row in found)])

    def put(self, rows: Sequence[Row]) -> None:
        """Write rows of another table of the same judge; a key that is there keeps its values."""
        self._write("INSERT OR IGNORE", rows)

    def close(self) -> None:
        """Let go of the file."""
        if self._base is not None:
            self._base.close()
            self._base = None

    def _write(self, how: str, rows: Sequence[Row]) -> None:
        base = self._base or self._open()
        marks = ", ".join("?" * (len(self.keys) + len(self.values)))
        try:
            with base:  # one transaction
                base.executemany(f"{how} INTO evidence VALUES ({marks})", rows)
        except sqlite3.Error as error:
            size = sum(len(cell) for row in rows for cell in row if isinstance(cell, (bytes, str)))
            raise self._failed(error, size) from None

    def _open(self) -> sqlite3.Connection:
        try:
            if self.file is not None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            base = sqlite3.connect(self.file or ":memory:", timeout=_BUSY)
            with base:
                self._prepare(base)
        except (sqlite3.Error, OSError, ValueError) as error:
            raise self._failed(error) from None
        self._base = base
        return base

    def _prepare(self, base: sqlite3.Connection) -> None:
        columns = [f'"{key}" TEXT NOT NULL' for key in self.keys]
        columns += [f'"{name}" {_TYPES[kind]}' for name, kind in self.values.items()]
        keys = ", ".join(f'"{key}"' for key in self.keys)
        if base.execute("SELECT 1 FROM sqlite_master WHERE name = 'judge'").fetchone() is None:
            base.execute("BEGIN IMMEDIATE")  # several processes may make it at once; what is there needs no lock
        base.execute("CREATE TABLE IF NOT EXISTS judge (signature TEXT NOT NULL, facts TEXT NOT NULL)")
        base.execute(f"CREATE TABLE IF NOT EXISTS evidence ({', '.join(columns)}, PRIMARY KEY ({keys}))")
        found = base.execute("SELECT signature, facts FROM judge").fetchone()
        if found is None:
            base.execute("INSERT INTO judge VALUES (?, ?)", (self.signature, json.dumps(self.facts)))
        elif found[0] != self.signature:
            raise BadInput(f"The evidence in {self.file} is of '{found[0]}', not '{self.signature}'. Delete it.")
        else:
            self.facts = json.loads(found[1])

    def _failed(self, error: Exception, size: int | None = None) -> RadlBenchError:
        """Return what an error of the file means; `size` is what was to be written, in bytes."""
        if self.file is not None and _FULL in str(error):
            return no_room(self.file, size)
        if _IO in str(error):  # what a full disk is called while the file is being made
            what = (
                f"cannot be read or written ({error}): the disk is full, a quota is reached, or it fails. Make room, or"
            )
            return BadInput(f"The evidence in {self.file} {what} delete the file, and score again.")
        return BadInput(f"The evidence in {self.file} cannot be read ({error}). Delete it and score again.")

    def _row(self, key: Key) -> tuple[Cell | bytes, ...] | None:
        if self._base is None:
            return None
        try:
            found: tuple[Cell | bytes, ...] | None = self._base.execute(self._select, key).fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from None
        return found


def _packed(value: Cell, kind: str) -> Cell | bytes:
    return np.asarray(value, _ARRAYS[kind]).tobytes() if kind in _ARRAYS else value


def _unpacked(value: Cell | bytes, kind: str) -> Cell:
    if isinstance(value, bytes):
        return np.frombuffer(value, _ARRAYS[kind])
    return value
