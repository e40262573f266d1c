"""Reader of COCO-MIG annotation files (`mig_bench_anno.yaml` of the MIGC project and re-sampled files like it).

A re-sampled file in JSON is read as `importers.resampled` says. The YAML maps a prompt to its phrases and their boxes,
plus the index of the entry under the name `coco_id`:

    a photo of a red car and a blue dog:
      a blue dog:
      - [0.1, 0.2, 0.5, 0.9]
      a red car:
      - [0.5, 0.5, 1.0, 0.8]
      coco_id: '17'
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from radl_bench.benchmarks.importers import write_benchmark
from radl_bench.benchmarks.importers.public_files import leave_out, load_yaml, quoted, read_box, read_index
from radl_bench.benchmarks.importers.resampled import Label, is_resampled, read_resampled
from radl_bench.errors import BadInput
from radl_bench.files import file_sha256
from radl_bench.parsing import shown
from radl_bench.types import COLORS, Instance, Sample
from radl_model.home import data_home

PUBLIC_SHA256 = "25165519b657f7d0a8dedea5b05b6aaf8afdb043d9e9b30e3d4f57c60b467b76"
"""The published file of 800 prompts and 3,200 instances."""

METRICS: dict[str, dict[str, Any]] = {
    "success": {"iou": 0.5, "coverage": 0.2},
    "iou": {},
    "average_precision": {},
    "clip_score": {},
}

FIELDS = {
    "name": "coco-mig-public",
    "version": "1",
    "license": "non-commercial research only (terms of the MIGC project); boxes from COCO annotations, CC BY 4.0",
    "citation": "Zhou et al., MIGC: Multi-Instance Generation Controller for Text-to-Image Synthesis, CVPR 2024",
    "images_per_sample": 1,
    "resolution": 512,
}


def import_coco_mig(
    file: Path, home: Path | None = None, skipped: list[str] | None = None
) -> tuple[Path, tuple[Sample, ...]]:
    """Keep a COCO-MIG annotation file as the benchmark `coco-mig-public` in the user's data folder.

    Args:
        file: the annotation file, YAML or JSON.
        home: the data folder, `data_home()` when not given.
        skipped: takes the problems of prompts, which are then left out; None to import none where there is a problem.

    Returns:
        The benchmark's folder and its samples, ordered by index; instances keep the order of the file.

    Raises:
        MissingData: there is no such file.
        BadInput: the file is not a COCO-MIG annotation file; the message names the line, or every prompt at fault.
    """
    if is_resampled(file):
        samples = tuple(read_resampled(file, colored_label, skipped)[0])
    else:
        samples = tuple(read_annotations(file, skipped))
    fields = FIELDS | {"description": f"Imported from {file.name} (sha256 {file_sha256(file)})"}
    folder = (home or data_home()) / "benchmarks" / "coco_mig_public"
    write_benchmark(folder, samples, fields, METRICS)
    return folder, samples


def is_public_file(file: Path) -> bool:
    """Say whether `file` is the published annotation file, byte by byte."""
    return file_sha256(file) == PUBLIC_SHA256


def read_annotations(file: Path, skipped: list[str] | None = None) -> list[Sample]:
    """Read a COCO-MIG annotation file; samples are ordered by their index in the set.

    Boxes are xyxy fractions of the un-squared COCO image, as in the file. Arguments and errors as in `import_coco_mig`.
    """
    entries = load_yaml(file)
    if not isinstance(entries, dict) or not entries:
        raise BadInput(f"{file} is not a COCO-MIG annotation file: it should map prompts to phrases with boxes.")
    samples: dict[int, Sample] = {}
    problems = []
    for prompt, entry in entries.items():
        try:
            index, sample = _read_entry(prompt, entry, file)
            if index in samples:
                raise BadInput(f"{file}: coco_id {index} is given twice, the second time at the prompt '{prompt}'.")
            samples[index] = sample
        except BadInput as error:
            problems.append(str(error))
    leave_out(problems, skipped, len(samples))
    return [samples[index] for index in sorted(samples)]


def _read_entry(prompt: Any, entry: Any, file: Path) -> tuple[int, Sample]:
    where = f"{file}, prompt {quoted(prompt)}"
    if not isinstance(prompt, str) or not prompt.strip() or not isinstance(entry, dict):
        raise BadInput(f"{where}: an entry should be a prompt with a table of phrases.")
    index = read_index(entry.get("coco_id"))
    if index is None:
        raise BadInput(
            f"{where}: 'coco_id' should be the index of the entry, a whole number of at most nine digits, not "
            f"{shown(entry.get('coco_id'))}."
        )
    phrases = {phrase: boxes for phrase, boxes in entry.items() if phrase != "coco_id"}
    instances = tuple(i for phrase, boxes in phrases.items() for i in _read_phrase(phrase, boxes, where))
    if not instances:
        raise BadInput(f"{where}: it has no phrase with a box.")
    return index, Sample(f"public-{index:06d}", prompt, instances)


def colored_label(label: str) -> Label | None:
    """Return class and colour of "a COLOUR CLASS"; None for another text."""
    words = label.split()
    return (" ".join(words[2:]), words[1]) if len(words) > 2 and words[1] in COLORS else None


def _read_phrase(phrase: Any, boxes: Any, where: str) -> Iterator[Instance]:
    named = colored_label(phrase) if isinstance(phrase, str) else None
    if named is None:
        raise BadInput(
            f"{where}: the phrase {quoted(phrase)} should read 'a COLOUR CLASS', with one of {', '.join(COLORS)}."
        )
    if not isinstance(boxes, list):
        raise BadInput(f"{where}: the phrase {quoted(phrase)} should have a list of boxes.")
    for box in boxes:
        yield Instance(phrase, *named, read_box(box, phrase, where))
