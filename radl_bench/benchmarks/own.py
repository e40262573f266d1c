"""A benchmark of one's own out of one file: JSON Lines, CSV or COCO JSON.

The file can be passed wherever a benchmark is asked for, or be made a versioned benchmark (`new_benchmark`). Either
way all of it is read and checked first, and everything that is wrong is told at once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from radl_bench.benchmarks.importers import samples_bytes, write_benchmark
from radl_bench.benchmarks.own_colors import as_table
from radl_bench.benchmarks.own_files import Read, read_coco, read_csv, read_jsonl
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.parsing import is_file, shown
from radl_bench.types import Benchmark, OwnColor, Sample

READERS: dict[str, Callable[[Path, bool, Sequence[OwnColor]], Read]] = {
    ".jsonl": read_jsonl,
    ".csv": read_csv,
    ".json": read_coco,
}
"""Ending of a file -> its reader."""

METRICS: Mapping[str, Mapping[str, object]] = {"success": {}, "iou": {}, "average_precision": {}, "clip_score": {}}
"""What is measured on any layout."""

RELATION: Mapping[str, object] = {"score": 0.25, "nms": 0.5, "margin": 0.05, "gap": 0.2}
"""Thresholds of the relations, those of DrawBench."""

UNSTATED = "unstated"


@dataclass(frozen=True)
class Made:
    """A benchmark that was written: its folder, its samples, and what is to be said about them."""

    folder: Path
    samples: tuple[Sample, ...]
    notes: tuple[str, ...]


def is_bare(name_or_path: str | Path) -> bool:
    """Say whether a benchmark is given as a file of samples."""
    path = Path(name_or_path)
    return path.suffix.lower() in READERS and is_file(path.expanduser())


def read_own(file: Path, *, free_phrases: bool = False, colors: Sequence[OwnColor] = ()) -> Read:
    """Return the samples of a file, and what was left out of it.

    Raises:
        UsageError: the ending of the file is not known.
        MissingData: there is no such file.
        BadInput: samples are not as described (`samples.parse_samples`); every problem is a line of the message.
    """
    if file.suffix.lower() not in READERS:
        raise UsageError(f"{file} is not a file of samples. Give one that ends in {', '.join(READERS)}.")
    if not is_file(file):
        raise MissingData(f"There is no file {file}.")
    read = READERS[file.suffix.lower()](file, free_phrases, colors)
    if read.problems:
        number = f"{len(read.problems)} problem{'s' * (len(read.problems) > 1)}"
        raise BadInput(f"{file} has {number}; nothing was written.\n" + "\n".join(read.problems))
    return read


def load_file(file: Path) -> Benchmark:
    """Return the benchmark of a bare file: the usual metrics, version "1", one image a sample, 512 pixels.

    Its sum is that of its samples as `samples.jsonl` holds them, so a CSV and the benchmark made of it have the same.
    """
    samples = read_own(file).samples
    return Benchmark(
        name=_name(file.stem),
        version="1",
        samples=samples,
        samples_sha256=sha256(samples_bytes(samples)).hexdigest(),
        images_per_sample=1,
        resolution=512,
        metrics=_metrics(samples),
        license=UNSTATED,
        citation=UNSTATED,
        description=f"Samples of {file.name}",
        folder=file,
        colors=samples[0].colors,
    )


def new_benchmark(
    file: Path,
    *,
    name: str | None = None,
    out: Path | None = None,
    version: str = "1",
    license: str = UNSTATED,
    citation: str = UNSTATED,
    description: str | None = None,
    images_per_sample: int = 1,
    resolution: int = 512,
    free_phrases: bool = False,
    colors: Sequence[OwnColor] = (),
) -> Made:
    """Write a benchmark folder with the samples of a file, sums included.

    Args:
        file: JSON Lines, CSV or COCO JSON, see `own_files`.
        name: lower-case letters, digits, dots and dashes; that of the file when not given.
        out: folder to write; `benchmarks/NAME` of the user's data folder when not given.
        free_phrases: take phrases that do not name their category.
        colors: colours beside the seven.

    Raises:
        UsageError: the name belongs to a packaged benchmark, or to one with other samples and the same version.
        BadInput, MissingData: as `read_own`; nothing is written then.
    """
    from radl_model.home import data_home

    read = read_own(file, free_phrases=free_phrases, colors=colors)
    name = name or _name(file.stem)
    folder = out or data_home() / "benchmarks" / name
    fields: dict[str, object] = {
        "name": name,
        "version": version,
        "license": license,
        "citation": citation,
        "description": description or f"Samples of {file.name}",
        "images_per_sample": images_per_sample,
        "resolution": resolution,
    }
    fields |= {"phrases": "free"} if free_phrases else {}
    fields |= {"colors": as_table(colors)} if colors else {}
    _check_version(folder, fields, read.samples)
    write_benchmark(folder, read.samples, fields, _metrics(read.samples))
    return Made(folder, read.samples, (*read.notes, *_notes(read.samples)))


def _check_version(folder: Path, fields: Mapping[str, object], samples: Sequence[Sample]) -> None:
    """Refuse to change samples under a name and version that runs may know."""
    from radl_bench.benchmarks.toml import read_toml

    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", str(fields["name"])):
        raise UsageError(
            f"A benchmark's name is lower-case letters, digits, dots and dashes, not {fields['name']!r:.60}."
        )
    if not (folder / "benchmark.toml").is_file():
        return
    there = read_toml(folder / "benchmark.toml")
    same = there["samples_sha256"] == sha256(samples_bytes(samples)).hexdigest()
    if not same and there["version"] == fields["version"]:
        raise UsageError(
            f"{folder} holds version {there['version']} with other samples. Give --version for the changed set, or "
            "another --name."
        )


def _name(stem: str) -> str:
    name = re.sub(r"[^a-z0-9.]+", "-", stem.lower()).strip("-.")
    if not name:
        raise UsageError(f"The file name {shown(stem)} gives no name for a benchmark. Rename the file, or give --name.")
    return name


def _metrics(samples: Sequence[Sample]) -> dict[str, dict[str, object]]:
    metrics = {name: dict(table) for name, table in METRICS.items()}
    if any(measured for _, measured in _relations(samples)):
        metrics["relation"] = dict(RELATION)
    return metrics


def _relations(samples: Sequence[Sample]) -> Iterator[tuple[str, bool]]:
    """Yield each relation's words, and whether a rule measures them."""
    from radl_bench.scoring.metrics.relation import canonical

    for sample in samples:
        yield from ((relation.predicate, canonical(relation.predicate) is not None) for relation in sample.relations)


def _notes(samples: Sequence[Sample]) -> Iterator[str]:
    free = Counter(words for words, measured in _relations(samples) if not measured)
    if free:
        named = ", ".join(f"'{words}'" for words in sorted(free)[:5]) + (", ..." if len(free) > 5 else "")
        yield f"{sum(free.values())} relations have words that no rule measures ({named}); only the prompts have them."
    attributes = sum(len(i.attributes) for sample in samples for i in sample.instances)
    if attributes:
        yield f"{attributes} attributes: Local CLIP reads them in their phrases; no other built-in score checks them."
