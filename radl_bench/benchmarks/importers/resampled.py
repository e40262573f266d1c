"""Reader of re-sampled layouts, COCO-Position as ConsistCompose published it and what MIG_Bench's resampler writes.

The file, `.json` or `.jsonl`, is one JSON object that maps the index of a layout to its caption and segments; boxes are
xyxy fractions, and other keys are passed over:

    {"17": {"caption": "a cat on a couch", "image_id": 397133,
            "segment": [{"bbox": [0.1, 0.2, 0.5, 0.9], "label": "a cat"}]}}

A label reads "a CLASS" for COCO-Position and "a COLOUR CLASS" for COCO-MIG.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from radl_bench.benchmarks.builders.coco_position import FIELDS as FULL_FIELDS
from radl_bench.benchmarks.builders.coco_position import METRICS
from radl_bench.benchmarks.importers import write_benchmark
from radl_bench.benchmarks.importers.public_files import leave_out, quoted, read_box, read_index
from radl_bench.errors import BadInput, MissingData
from radl_bench.files import file_sha256, replace_file
from radl_bench.parsing import is_file, read_json, shown
from radl_bench.types import Instance, Sample
from radl_model.home import data_home
from radl_model.verbs.extract import extract_verbs

IDS = "image_ids.txt"
FIELDS: dict[str, Any] = FULL_FIELDS | {
    "name": "coco-position-public",
    "license": "not stated for the layouts; boxes and captions from COCO annotations, CC BY 4.0",
    "citation": "Shi et al., ConsistCompose: Unified Multimodal Layout Control for Image Composition, CVPR 2026; "
    + str(FULL_FIELDS["citation"]),
}

Label = tuple[str, "str | None"]
"""Class and colour that a label names."""


def import_coco_position(
    file: Path, home: Path | None = None, skipped: list[str] | None = None
) -> tuple[Path, tuple[Sample, ...]]:
    """Keep a file of re-sampled layouts as the benchmark `coco-position-public` in the user's data folder.

    The COCO ids of the layouts are kept beside it as `image_ids.txt`, where every layout has one.

    Args:
        file: the file of layouts.
        home: the data folder, `data_home()` when not given.
        skipped: takes the problems of layouts, which are then left out; None to import none where there is a problem.

    Returns:
        The benchmark's folder and its samples, ordered by index; instances keep the order of the file.

    Raises:
        MissingData: there is no such file.
        BadInput: the file is not one of re-sampled layouts; the message names every problem with its index.
    """
    samples, ids = read_resampled(file, plain_label, skipped)
    samples = [replace(sample, verbs=extract_verbs(sample.prompt)) for sample in samples]
    fields = FIELDS | {"description": f"Imported from {file.name} (sha256 {file_sha256(file)})"}
    folder = (home or data_home()) / "benchmarks" / "coco_position_public"
    write_benchmark(folder, samples, fields, METRICS)
    (folder / IDS).unlink(missing_ok=True)  # of an earlier import
    if None not in ids:
        replace_file(folder / IDS, "".join(f"{key}\n" for key in ids).encode())
    return folder, tuple(samples)


def is_resampled(file: Path) -> bool:
    """Say whether a file is meant as re-sampled layouts: by the end of its name, or a brace at its start."""
    if file.suffix.lower() in (".json", ".jsonl"):
        return True
    if not is_file(file):
        return False
    with file.open("rb") as stream:
        return stream.read(1000).lstrip().startswith(b"{")


def plain_label(label: str) -> Label | None:
    """Return the class of "a CLASS", whose colour is free; None for another text."""
    match = re.fullmatch(r"\s*an?\s+(\S.*?)\s*", label)
    return (match[1], None) if match else None


def read_resampled(
    file: Path, read_label: Callable[[str], Label | None], skipped: list[str] | None = None
) -> tuple[list[Sample], list[int | None]]:
    """Return the samples of a file, ordered by index, and the COCO id of each, None where the file has none.

    Arguments and errors as in `import_coco_position`; `read_label` gives class and colour of a label, None for a bad
    one.
    """
    found: dict[int, tuple[Sample, int | None]] = {}
    problems: list[str] = []
    for key, entry in _entries(file).items():
        index, said = read_index(key), list[str]()
        if index is None:
            said = [f"{file}, layout {quoted(key)}: the key should be a whole number of at most nine digits."]
        elif index in found:
            said = [f"{file}, layout {quoted(key)}: the index {index} is given twice."]
        else:
            layout = _read_entry(index, entry, read_label, f"{file}, layout {index}", said)
            if layout is not None:
                found[index] = layout
        problems += said
    leave_out(problems, skipped, len(found))
    ordered = [found[index] for index in sorted(found)]
    return [sample for sample, _ in ordered], [image_id for _, image_id in ordered]


def _entries(file: Path) -> dict[str, Any]:
    if not is_file(file):
        raise MissingData(f"There is no file {file}. Give the path of a file of re-sampled layouts.")
    try:
        entries = read_json(file.read_bytes())
    except ValueError as error:  # also bytes that are not UTF-8
        raise BadInput(f"{file} is not one JSON object of layouts: {error}.") from None
    if not isinstance(entries, dict) or not entries:
        raise BadInput(f"{file} is no file of layouts: it should be one JSON object that maps indices to layouts.")
    return entries


def _read_entry(
    index: int, entry: object, read_label: Callable[[str], Label | None], where: str, said: list[str]
) -> tuple[Sample, int | None] | None:
    """Return a layout; None, with its problems in `said`, for one that has any."""
    if not isinstance(entry, dict):
        said.append(f"{where}: it should be an object with 'caption' and 'segment', not {shown(entry)}.")
        return None
    caption, segments = entry.get("caption"), entry.get("segment")
    if not isinstance(caption, str) or not caption.strip():
        said.append(f"{where}: 'caption' should be a text, not {shown(caption)}.")
    if not isinstance(segments, list) or not segments:
        said.append(f"{where}: 'segment' should be a list of at least one box with its label.")
        segments = []
    image_id = read_index(entry["image_id"]) if entry.get("image_id") is not None else None
    if image_id is None and entry.get("image_id") is not None:
        said.append(f"{where}: 'image_id' should be a whole number, not {shown(entry['image_id'])}.")
    instances = []
    for place, segment in enumerate(segments):
        try:
            instances.append(_instance(segment, read_label, f"{where}, segment {place}"))
        except BadInput as error:
            said.append(str(error))
    return None if said else (Sample(f"public-{index:06d}", str(caption), tuple(instances)), image_id)


def _instance(segment: object, read_label: Callable[[str], Label | None], where: str) -> Instance:
    label = segment.get("label") if isinstance(segment, dict) else None
    named = read_label(label) if isinstance(label, str) else None
    if not isinstance(segment, dict) or not isinstance(label, str) or named is None:
        form = "a CLASS" if read_label is plain_label else "a COLOUR CLASS"
        raise BadInput(f"{where}: it should have a 'bbox' and a 'label' that reads '{form}', not {quoted(label)}.")
    return Instance(label, *named, read_box(segment.get("bbox"), label, where))
