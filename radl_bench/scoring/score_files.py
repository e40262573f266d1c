"""Files of a scoring beside scores.json: the rows, image by image, and the draws of the scores that have none."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from radl_bench.files import replace_file, replacing
from radl_bench.scoring.metrics import Row, View


def write_draws(file: Path, draws: Mapping[str, np.ndarray]) -> None:
    """Write the bootstrap draws of the scores without rows, float64 [resamples] by `metric@level`, atomically."""
    stream = io.BytesIO()
    np.savez(stream, **dict(draws))  # type: ignore[arg-type]
    replace_file(file, stream.getvalue())


class RowWriter:
    """Writes rows.parquet image by image and puts it in place only when the block ends well."""

    COLUMNS = ("sample_id", "k", "instance", "level", "metric", "value", "reason")

    def __init__(self, file: Path) -> None:
        self.file, self._place = file, ExitStack()
        self._rows: list[tuple[Any, ...]] = []

    def __enter__(self) -> RowWriter:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text, whole = pa.string(), pa.int32()
        types = (text, whole, whole, whole, text, pa.float64(), text)
        self._schema = pa.schema(list(zip(self.COLUMNS, types, strict=True)))
        self._writer = pq.ParquetWriter(self._place.enter_context(replacing(self.file)), self._schema)
        return self

    def write(self, view: View, rows: Sequence[Row]) -> None:
        """Add the rows of an image."""
        sample = view.sample
        self._rows += [(sample.id, view.k, r.instance, sample.level, r.metric, r.value, r.reason) for r in rows]
        if len(self._rows) >= 10_000:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = [list(c) for c in zip(*self._rows, strict=True)] or [[] for _ in self.COLUMNS]
        self._writer.write_table(pa.table(dict(zip(self.COLUMNS, columns, strict=True)), schema=self._schema))
        self._rows.clear()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
        self._place.__exit__(kind, error, at)
