"""Files of a scoring: one folder a judge set and protocol, `scores/<protocol>-<hash8>/` in the run.

    scores.json              the scores, and the names of the two files below that belong to them
    rows-<sha8>.parquet      every score image by image, with its reason
    parts-<sha8>.npz         what a paired test of the scores without rows (AP, FID, KID) needs, by `<metric>/<name>`

Rows and parts are written under names of their own content first; then scores.json is replaced, which names them. So
they change together or not at all, whenever the process is killed. Older runs have one `scores/` with scores.json and
rows.parquet, and are read as they are.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from radl_bench.downloads.download import file_sha256
from radl_bench.files import locked, replace_file
from radl_bench.scoring.metrics import Row, View

_OLD = {"rows": "rows.parquet", "parts": "parts.npz"}  # names in scores without `files`


def scores_key(content: Mapping[str, Any]) -> str:
    """Return `<protocol>-<hash8>`: judges, protocol, thresholds and options that a scores.json was made with."""
    judges = content.get("judges", {})
    signatures = {role: j.get("signature") if isinstance(j, Mapping) else j for role, j in judges.items()}
    what = {key: content.get(key) for key in ("protocol", "thresholds", "parameters")} | {"judges": signatures}
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return f"{content.get('protocol', 'unknown')}-{digest[:8]}"


def part_of(file: Path, content: Mapping[str, Any], part: str) -> Path:
    """Return the file of the "rows" or "parts" that belong to a scores.json; it need not be there."""
    name = str(content.get("files", {}).get(part) or _OLD[part])
    return file.with_name(Path(name).name)  # content is data, and must not lead a reader anywhere else


def read_parts(file: Path) -> dict[str, dict[str, np.ndarray]]:
    """Return the arrays of the parts by metric, {} without such a file; raises `ValueError` for a broken one."""
    found: dict[str, dict[str, np.ndarray]] = {}
    if not file.is_file():  # older scores have none
        return found
    try:
        with np.load(file, allow_pickle=False) as arrays:
            for name in arrays.files:
                metric, _, array = name.partition("/")
                found.setdefault(metric, {})[array] = arrays[name]
    except (OSError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from None
    return found


@contextlib.contextmanager
def scoring_into(folder: Path) -> Iterator[ScoreWriter]:
    """Open a scores folder for writing, alone; another process that scores the same waits.

    What an earlier process left half written is removed, and so is what no scores.json names any more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock"):
        _remove(folder.glob(".*.part"))
        _remove(folder.parent.glob(".*.part"))
        try:
            yield ScoreWriter(folder)
        finally:
            _remove(folder.glob(".*.part"))


class ScoreWriter:
    """Writes one scoring: first the rows, then everything else with `finish`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = RowWriter(folder / f".rows.{os.getpid()}.part")

    def finish(self, content: Mapping[str, object], parts: Mapping[str, np.ndarray]) -> Path:
        """Put rows, parts and scores in place of the earlier ones at once; returns the scores.json."""
        stream = io.BytesIO()
        np.savez_compressed(stream, **dict(parts))  # type: ignore[arg-type]
        names = {
            "rows": f"rows-{file_sha256(self.rows.file)[:8]}.parquet",
            "parts": f"parts-{hashlib.sha256(stream.getvalue()).hexdigest()[:8]}.npz",
        }
        _sync(self.rows.file)
        os.replace(self.rows.file, self.folder / names["rows"])
        replace_file(self.folder / names["parts"], stream.getvalue())
        file = self.folder / "scores.json"
        text = json.dumps({**content, "files": names}, indent=2, ensure_ascii=False, allow_nan=False)
        replace_file(file, (text + "\n").encode())
        left = (file for of in ("rows-*.parquet", "parts-*.npz", "draws-*.npz") for file in self.folder.glob(of))
        _remove(part for part in left if part.name not in names.values())
        return file


class RowWriter:
    """Writes the rows image by image; a block that ends badly leaves no file."""

    COLUMNS = ("sample_id", "k", "instance", "level", "metric", "value", "reason")

    def __init__(self, file: Path) -> None:
        self.file = file
        self._rows: list[tuple[Any, ...]] = []

    def __enter__(self) -> RowWriter:
        import pyarrow as pa
        import pyarrow.parquet as pq

        text, whole = pa.string(), pa.int32()
        types = (text, whole, whole, whole, text, pa.float64(), text)
        self._schema = pa.schema(list(zip(self.COLUMNS, types, strict=True)))
        self._writer = pq.ParquetWriter(self.file, self._schema)
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
        if kind is not None:
            self.file.unlink(missing_ok=True)


def _remove(files: Iterator[Path]) -> None:
    for file in list(files):
        file.unlink(missing_ok=True)


def _sync(file: Path) -> None:
    with open(file, "rb") as stream:
        os.fsync(stream.fileno())
