"""Build a training set of layouts in shards: resumable, in parts, with a datasheet when the last shard is there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from radl_bench import __version__
from radl_bench.benchmarks.builders.coco import CocoImage, annotation_file, read_images
from radl_bench.errors import MissingData, UsageError
from radl_bench.files import file_sha256, replace_file
from radl_bench.parsing import read_json
from radl_bench.runs.writer import Shard
from radl_bench.training_set.folder import METADATA, read_folder
from radl_bench.training_set.locating import Locator, make_locator
from radl_bench.training_set.rows import RowMaker, Rules
from radl_model.train.layout_rows import write_rows
from radl_model.verbs import extract_verbs

SETTINGS, DATASHEET = "settings.json", "datasheet.json"


@dataclass(frozen=True)
class Source:
    """Where the images and their annotations are.

    Attributes:
        coco: folder of COCO: `instances_<split>.json` in it or in `annotations/`, captions beside it.
        split: train2014, train2017, val2017, ...
        folder: of the photographs; `coco/<split>` by default.
        rules: see `Rules`.
        images: a folder of images with captions instead of COCO, see `folder.py`; `rules.locate` finds its boxes.
        device: of the detector.
    """

    coco: Path | None = None
    split: str = "train2014"
    folder: Path | None = None
    rules: Rules = field(default_factory=Rules)
    images: Path | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if (self.coco is None) == (self.images is None):
            raise UsageError("Say where the images are: --coco DIR for COCO, or --images DIR for any folder.")
        if self.images is not None and not self.rules.locate:
            raise UsageError("A folder of images has no boxes. Say who finds them: --locate grounding-dino.")
        if self.rules.locate and self.rules.captions == "labels":
            raise UsageError("--locate looks for what captions speak of; with --captions labels there are none.")

    @property
    def photographs(self) -> Path:
        return self.folder or self.images or self.annotations / self.split

    @property
    def annotations(self) -> Path:
        """The folder of COCO."""
        assert self.coco is not None
        return self.coco


def build_layouts(source: Source, out: Path, part: Shard, size: int = 2048) -> Iterator[tuple[int, int]]:
    """Write the shards of a set that belong to a part; shards that are there are kept.

    Args:
        part: of several machines; shard s is made by part s modulo their number.
        size: images a shard before any is left out.

    Yields:
        (shards of this part done, of how many). When every shard of the set is there, the datasheet is written.

    Raises:
        MissingData: no annotations, or no folder of photographs.
        MissingWeights: those of the detector that locates.
        UsageError: the folder holds a set with other settings.
    """
    images = _images(source)
    if not source.photographs.is_dir():
        raise MissingData(f"There is no folder of photographs {source.photographs}. Name it with --photographs DIR.")
    out.mkdir(parents=True, exist_ok=True)
    _same_settings(out / SETTINGS, {**asdict(source.rules), "split": source.split, "size": size, "images": len(images)})
    starts = range(0, len(images), size)
    mine = [number for number in range(len(starts)) if number % part.count == part.index]
    locator = None
    for done, number in enumerate(mine, 1):
        if not _counts(out, number).is_file():
            if source.rules.locate and locator is None:
                locator = make_locator(source.rules.locate, source.rules.extractor, source.device)
            _write(out, number, images[starts[number] : starts[number] + size], source, locator)
        yield done, len(mine)
    counts = [_counts(out, number) for number in range(len(starts))]
    if all(file.is_file() for file in counts):
        _datasheet(out, source, counts)


def _images(source: Source) -> list[CocoImage]:
    if source.images is not None:
        return read_folder(source.images)
    captions = (
        None if source.rules.captions == "labels" else annotation_file(source.annotations, "captions", source.split)
    )
    found = read_images(annotation_file(source.annotations, "instances", source.split), captions)
    return [found[key] for key in sorted(found)]


def _read_files(source: Source) -> list[Path]:
    """The files of captions and boxes behind a set."""
    if source.images is not None:
        return [file for file in (source.images / METADATA,) if file.is_file()]
    kinds = ("instances",) if source.rules.captions == "labels" else ("instances", "captions")
    return [annotation_file(source.annotations, kind, source.split) for kind in kinds]


def _same_settings(file: Path, settings: dict[str, object]) -> None:
    if not file.exists():
        return replace_file(file, json.dumps(settings, indent=2).encode())
    old = read_json(file.read_bytes())
    if old != settings:
        differ = ", ".join(sorted(k for k in settings if not isinstance(old, dict) or old.get(k) != settings[k]))
        raise UsageError(f"{file.parent} holds a training set made with other settings ({differ}). Use another --out.")
    return None


def _counts(out: Path, number: int) -> Path:
    return out / f"counts-{number:05d}.json"


def _write(out: Path, number: int, images: Sequence[CocoImage], source: Source, locator: Locator | None) -> None:
    """Write one shard and, after it, what was left out of it: a shard with its counts is complete."""
    verbs = partial(extract_verbs, extractor=source.rules.extractor)
    maker = RowMaker(source.photographs, source.rules, verbs, locator)
    rows = [row for image in images if (row := maker.row(image)) is not None]
    file = out / f"layouts-{number:05d}.parquet"
    write_rows(file, rows)
    content = {
        "images": len(rows),
        "instances": sum(len(row.boxes) for row in rows),
        "read": len(images),
        "relations": sum(bool(row.verbs) for row in rows),
        "licenses": Counter(row.license or "not stated" for row in rows),
        "phrases": maker.phrases,
        "left_out": +maker.counts,
        "sha256": file_sha256(file),
    }
    replace_file(_counts(out, number), json.dumps(content, indent=2).encode())


def _datasheet(out: Path, source: Source, counts: Sequence[Path]) -> None:
    """Sum the counts of all shards; the result says what is in the set and what was left out."""
    parts = [json.loads(file.read_text()) for file in counts]
    sums = {key: sum(part[key] for part in parts) for key in ("read", "images", "instances", "relations")}
    merged = {
        key: dict(sum((Counter(part[key]) for part in parts), Counter[str]()).most_common())
        for key in ("phrases", "left_out", "licenses")
    }
    sheet = {
        "schema_version": 1,
        "built_by": f"radl-bench {__version__}",
        "split": source.split if source.images is None else "a folder of images",
        "rules": asdict(source.rules),
        **sums,
        **merged,
        "sources": {file.name: file_sha256(file) for file in _read_files(source)},
        "shards": {f"layouts-{number:05d}.parquet": part["sha256"] for number, part in enumerate(parts)},
    }
    replace_file(out / DATASHEET, (json.dumps(sheet, indent=2, ensure_ascii=False) + "\n").encode())


def read_datasheet(out: Path) -> dict[str, object] | None:
    """Return the datasheet of a complete set; None while shards are missing."""
    file = out / DATASHEET
    if not file.is_file():
        return None
    sheet = read_json(file.read_bytes())
    return sheet if isinstance(sheet, dict) else None
