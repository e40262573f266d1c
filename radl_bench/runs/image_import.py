"""Images made elsewhere become a run: a folder of them, named by sample or mapped by a table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.files import file_sha256, replace_file
from radl_bench.parsing import read_json
from radl_bench.runs.image_checks import PictureChecks, few
from radl_bench.runs.image_folder import read_folder
from radl_bench.runs.image_names import by_name, by_table
from radl_bench.runs.image_reading import BadImage, read_image
from radl_bench.runs.store import ImageKey, RunFolder
from radl_bench.schema import problem_of
from radl_bench.types import Benchmark

RECORD = "import.json"
"""File of an imported run: which file each image came from, and what was odd."""

_READING = "reading 2"  # how files become pixels; part of a run's identity, so that a new way gives a new run


@dataclass(frozen=True)
class Imported:
    """The run that was made, the number of images in it, and sentences about what was odd in the folder."""

    run: Path
    pictures: int
    notes: tuple[str, ...]


def import_images(
    folder: Path,
    benchmark: Benchmark,
    *,
    name: str | None = None,
    table: Path | None = None,
    out: Path = Path("runs"),
    source: str | None = None,
    scale: str | None = None,
) -> Imported:
    """Copy a folder of images into a run of a generator called `name`, as RGB PNG.

    Args:
        folder: its files, and those of its subfolders, are `<sample_id>.png` or `<sample_id>_<k>.png` (png, jpg, jpeg,
            webp, bmp); `anno_*` and hidden ones are skipped. Numbers that start at 1, or are seeds, are counted from 0.
        benchmark: the samples the images were made for, the whole or a part of it.
        name: name of the method in reports; the folder's name when not given.
        table: a CSV with the columns `file`, `sample_id` and optionally `k`, for files named otherwise.
        out: folder of the runs; source: folder of a benchmark that is not known by name.
        scale: the world of the images, "mini" or "paper"; None where nobody says it (`runs.scale`).

    A sample without an image becomes a failed image, so that it counts. A folder whose content changed is a new run.
    The run's `import.json` keeps the names of the files and the notes.

    Raises:
        MissingData: no such folder, or no image in it belongs to the benchmark.
        BadInput: a line of the table is wrong, two files are the same image, or a name is that of two images.
    """
    found, ids = read_folder(folder), _all_ids(benchmark, source)
    named = by_table(found, table, benchmark, ids) if table else by_name(found, benchmark, ids)
    files, notes = {key: folder / file for key, file in named.files.items()}, named.notes
    if not files:
        example = benchmark.samples[0].id
        raise MissingData(f"No image in {folder} belongs to {benchmark.name}. Name them {example}_0.png or use --map.")
    label = _label(name or folder.resolve().name)
    generator: dict[str, Any] = {
        "name": label,
        "revision": _revision(files),
        "model": None,
        "params": {},
        "weights_sha256": None,
    }
    run = RunFolder.create(
        out,
        benchmark,
        generator,
        images_per_sample=max(k for _, k in files) + 1,
        seeds={"policy": "unknown", "base": None},
        source=source,
        scale=scale,
    )
    notes += _copy(run, benchmark, files)
    run.update_status()
    sources = {f"{sample}_{k}": file.relative_to(folder).as_posix() for (sample, k), file in sorted(files.items())}
    replace_file(run.path / RECORD, (json.dumps({"sources": sources, "notes": notes}, indent=2) + "\n").encode())
    return Imported(run.path, len(files), tuple(notes))


def sources_of(run: Path) -> dict[str, str]:
    """Return the file that each image `<sample_id>_<k>` of an imported run came from; empty for other runs."""
    return _record(run / RECORD, _age(run / RECORD))[0]


def notes_of(run: Path) -> list[str]:
    """Return what was odd when the images of a run were imported; empty for other runs."""
    return _record(run / RECORD, _age(run / RECORD))[1]


def _age(file: Path) -> int:
    return file.stat().st_mtime_ns if file.is_file() else 0


@lru_cache(maxsize=8)
def _record(file: Path, age: int) -> tuple[dict[str, str], list[str]]:
    """Read a record; `age` is part of the call so that a changed file is read again."""
    if not age:
        return {}, []
    try:
        data = read_json(file.read_bytes())
        problem = problem_of(data, {"sources": (dict,), "notes": (list,)})
        if problem or any(type(text) is not str for text in (*data["sources"].values(), *data["notes"])):
            raise ValueError(problem or "its sources and notes must be texts")
        return data["sources"], data["notes"]
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read ({error}). Import the images again with --images.") from error


def _label(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{name!a} is not text that a report can show. Give another --name.") from None
    return name


def _all_ids(benchmark: Benchmark, source: str | None) -> list[str]:
    """Return the ids of the whole benchmark, of which this may be a part."""
    whole = load_benchmark(source or benchmark.name) if benchmark.filter else benchmark
    return [sample.id for sample in whole.samples]


def _revision(files: Mapping[ImageKey, Path]) -> str:
    """Return a hash of which file stands for which image, so that a changed folder is another run."""
    whole = hashlib.sha256(_READING.encode())
    for (sample, k), file in sorted(files.items()):
        whole.update(f"{sample}\0{k}\0{file_sha256(file)}\n".encode())
    return whole.hexdigest()[:12]


def _copy(run: RunFolder, benchmark: Benchmark, files: Mapping[ImageKey, Path]) -> list[str]:
    done, checks = run.done(), PictureChecks(benchmark)
    absent, broken = [], []
    with run.writer() as writer:
        for sample in benchmark.samples:
            for k in range(run.manifest["benchmark"]["images_per_sample"]):
                file = files.get((sample.id, k))
                if file is None:
                    absent.append(f"{sample.id}_{k}")
                    if (sample.id, k) not in done:
                        writer.write_failure(sample.id, k, None, "no image was given", 0.0)
                    continue
                try:
                    rgb, remarks = read_image(file)
                    checks.look(file.name, sample, rgb, remarks)
                    if (sample.id, k) not in done:
                        writer.write_image(sample.id, k, None, rgb, 0.0)
                except BadImage as error:
                    broken.append(file.name)
                    writer.write_failure(sample.id, k, None, f"{file.name} cannot be used: {error}", 0.0)
    said = {"missing, counted as failed": absent, "cannot be read as an image, counted as failed": broken}
    return [f"{few(names)} {what}." for what, names in said.items() if names] + checks.notes()
