"""The training set of layouts on disk: Parquet shards of `LayoutRow`, read as a stream.

One file is one shard; its rows are small enough to be held, a set is not. Whoever writes a set (`radl-bench data build
layouts`, or a script of one's own) writes these columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radl_model.errors import MissingData
from radl_model.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

PATTERN = "layouts-*.parquet"


@dataclass(frozen=True)
class LayoutRow:
    """One image with its caption and instances.

    Attributes:
        id: of the image, once in a set.
        image: the file as it was found (JPEG, PNG, WebP); width, height: its pixels, upright.
        caption: global prompt.
        phrases, categories, boxes: of the instances, largest first; boxes xyxy as fractions of the image.
        sources: where each phrase comes from: "caption" (its noun phrase), "class" (the class name), or "located" (a
            noun phrase whose box a detector found).
        verbs: relation text of the caption, "" for none.
        license: of the image, as its source states it; "" for unknown.
        sha256: of `image`.
    """

    id: str
    image: bytes
    width: int
    height: int
    caption: str
    phrases: list[str]
    categories: list[str]
    boxes: list[list[float]]
    sources: list[str]
    verbs: str
    license: str
    sha256: str


@lru_cache(maxsize=1)
def schema() -> pa.Schema:
    """Columns of a shard."""
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    kinds = {"image": pa.binary(), "width": pa.int32(), "height": pa.int32(), "boxes": pa.list_(pa.list_(pa.float64()))}
    kinds |= dict.fromkeys(("phrases", "categories", "sources"), texts)
    return pa.schema([(name, kinds.get(name, text)) for name in LayoutRow.__dataclass_fields__])


def write_rows(file: Path, rows: Sequence[LayoutRow]) -> None:
    """Write a shard; it is there whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema())
    with replacing(file) as part:
        pq.write_table(table, part, row_group_size=64)  # a reader holds one group at a time


def shard_files(folder: Path) -> list[Path]:
    """Return the shards of a set in order; raises `MissingData` when there is none."""
    files = sorted(folder.glob(PATTERN))
    if not files:
        raise MissingData(
            f"There are no training layouts ({PATTERN}) in {folder}. Run: radl-bench data build layouts --coco DIR "
            f"--out {folder}"
        )
    return files


def read_rows(file: Path, start: int = 0, images: bool = True) -> Iterator[LayoutRow]:
    """Yield the rows of a shard from number `start` on, a row group in memory at a time.

    Args:
        images: read the images too; without, `image` is empty.

    Raises:
        MissingData: the file is no shard of this kind.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [name for name in schema().names if images or name != "image"]
    try:
        with pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                size = parquet.metadata.row_group(group).num_rows
                if start >= size:
                    start -= size
                    continue
                for record in parquet.read_row_group(group, columns=columns).to_pylist()[start:]:
                    yield LayoutRow(**{"image": b"", **record})
                start = 0
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError, KeyError, TypeError) as error:
        raise MissingData(f"{file} is no shard of training layouts ({error}). Build the set again.") from None


def count_rows(file: Path) -> int:
    """Number of rows of a shard, out of its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.read_metadata(file).num_rows)
    except (pa.ArrowInvalid, OSError) as error:
        raise MissingData(f"{file} is no shard of training layouts ({error}). Build the set again.") from None


class RowOrder:
    """The order in which an epoch visits the rows of a set: shards shuffled, rows shuffled inside of a window.

    A function of (seed, epoch) alone, so that any position can be found again. Only one shard's row numbers are held.

    Args:
        sizes: rows of each shard.
        window: rows that are shuffled among each other; images held at a time.
    """

    def __init__(self, sizes: Sequence[int], seed: int, window: int = 256) -> None:
        self.sizes, self.seed, self.window = list(sizes), seed, window

    def __len__(self) -> int:
        return sum(self.sizes)

    def epoch(self, number: int) -> Iterator[tuple[int, list[int]]]:
        """Yield (shard, row numbers in the order to visit them), one window at a time."""
        rng = np.random.default_rng((self.seed, number))
        for shard in rng.permutation(len(self.sizes)).tolist():
            for first in range(0, self.sizes[shard], self.window):
                rows = np.arange(first, min(first + self.window, self.sizes[shard]))
                yield shard, rng.permutation(rows).tolist()
