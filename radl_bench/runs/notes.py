"""What is to be said of a run's images: remarks in their rows, and sizes that are not as expected."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from radl_bench.runs import image_import
from radl_bench.runs.image_checks import as_scored, few, notes_of_equals, notes_of_sizes
from radl_bench.runs.image_reading import BLACK, PLAIN
from radl_bench.runs.scale import MINI, scale_of_manifest
from radl_bench.runs.store import RunFolder
from radl_bench.runs.writer import ImageRow
from radl_bench.text import safe
from radl_bench.types import MINI_SIDE, Benchmark

_UNGUIDED = re.compile(r"\bNo guidance for (\d+) of \d+ instances\b")


def notes_of(path: Path, benchmark: Benchmark, rows: Iterable[ImageRow] | None = None) -> list[str]:
    """Return sentences on the images of a run, made or imported; those of an import are the ones it recorded.

    `rows` are the run's, read where they are not given.

    Raises:
        MissingData, BadInput: there is no run, or it cannot be read.
    """
    if (path / image_import.RECORD).is_file():
        return image_import.notes_of(path)
    run = RunFolder.open(path)
    made = [row for row in (run.rows() if rows is None else rows) if row["status"] == "ok"]
    sizes = {f"{row['sample_id']}_{row['k']}": size for row in made if (size := _size(row))}
    return [*_remarks(made), *notes_of_equals(_contents(made)), *notes_of_sizes(sizes, _as_expected(run, benchmark))]


def _contents(rows: Iterable[ImageRow]) -> dict[str, str]:
    """Return the sha256 of images by name, without those whose remark says that they show nothing."""
    return {
        f"{row['sample_id']}_{row['k']}": str(row["sha256"])
        for row in rows
        if not {BLACK, PLAIN} & {*(row.get("note") or "").split("; ")}
    }


def unguided_of(rows: Iterable[ImageRow], benchmark: Benchmark) -> dict[str, int] | None:
    """Return how many instances of a run's images got no guidance, `n` of `of`; None where no image's row tells of any.

    Methods write it as the sentence "No guidance for 2 of 6 instances" into the note of an image.
    """
    levels = {sample.id: sample.level for sample in benchmark.samples}
    made = [row for row in rows if row["status"] == "ok" and row["sample_id"] in levels]
    told = [int(n) for row in made for n in _UNGUIDED.findall(row.get("note") or "")]
    return {"n": sum(told), "of": sum(levels[row["sample_id"]] for row in made)} if told else None


def sizes_of(run: RunFolder, benchmark: Benchmark, rows: Iterable[ImageRow]) -> str:
    """Return the sizes of a run's images as a signature has them ("256x256"), "" where they are as expected.

    What is expected is the side at which the benchmark is defined, or that of the embedded world's own scenes.
    """
    found = {size for row in rows if row["status"] == "ok" and (size := _size(row))}
    side = _as_expected(run, benchmark).resolution
    if found <= {(side, side)}:
        return ""
    shown = [f"{width}x{height}" for width, height in sorted(found)]
    return ",".join(shown) if len(shown) <= 3 else f"{len(shown)} sizes"


def _as_expected(run: RunFolder, benchmark: Benchmark) -> Benchmark:
    """Return the benchmark with the name and the side that images of this run are held to."""
    mini = scale_of_manifest(run.manifest) == MINI
    return replace(benchmark, name="the mini world", resolution=MINI_SIDE) if mini else benchmark


def _size(row: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = row.get("width"), row.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _remarks(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each kind of remark, naming images."""
    named: dict[str, list[str]] = {}
    for row in rows:
        for remark in dict.fromkeys((row.get("note") or "").split("; ")):
            if remark:
                named.setdefault(remark, []).append(f"{row['sample_id']}_{row['k']}")
    alike: dict[str, list[str]] = {}
    for remark in named:
        alike.setdefault(re.sub(r"\d+", "#", remark.partition(":")[0]), []).append(remark)
    return [_sentence([(remark, named[remark]) for remark in remarks]) for remarks in alike.values()]


def _sentence(remarks: list[tuple[str, list[str]]]) -> str:
    """Return one sentence for remarks that begin alike but for their numbers; the first is quoted, cut if long."""
    names = list(dict.fromkeys(name for _, of in remarks for name in of))
    first, others = safe(as_scored(remarks[0][0])).rstrip("."), len(remarks) - 1
    if others and len(first) > 150:
        first = first[:147] + "..."
    return f"{few(names, 'image')} {first}" + (f"; {others} more of this kind." if others else ".")
