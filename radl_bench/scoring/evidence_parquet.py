"""Evidence of runs that were scored before it was kept in SQLite: Parquet parts, read once and taken over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from radl_bench.errors import BadInput
from radl_bench.scoring.evidence_table import EvidenceTable, Key, Value


def take_over(folder: Path, table: EvidenceTable) -> None:
    """Add the rows of a folder of Parquet parts to a table that has none yet; the folder is left as it is.

    A judge that read the sample filed what it saw under `image:sample`, which becomes the image and the sample.

    Raises:
        BadInput: a part cannot be read, or is of another judge.
    """
    for part in sorted(folder.glob("*.parquet")):
        for key, value in _rows(part, table):
            table.add(key, value)
        table.flush()


def _rows(part: Path, table: EvidenceTable) -> Iterator[tuple[Key, Value]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    keys = [name for name in table.keys if name != "sample"]
    try:
        found = pq.read_table(part)
        signature = (found.schema.metadata or {}).get(b"signature", b"").decode()
        columns = [found.column(name).to_pylist() for name in (*keys, *table.values)]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise BadInput(f"The evidence in {part} cannot be read ({error}). Delete it and score again.") from None
    if signature != table.signature:
        raise BadInput(f"The evidence in {part} is of '{signature}', not '{table.signature}'. Delete this folder.")
    for row in zip(*columns, strict=True):
        image, _, sample = row[0].partition(":")
        rest = (sample,) if "sample" in table.keys else ()
        yield (image, *rest, *row[1 : len(keys)]), tuple(row[len(keys) :])
