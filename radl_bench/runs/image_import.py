"""Pictures made elsewhere become a run: a folder of images, named by sample or mapped by a table."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from radl_bench.errors import BadInput, MissingData
from radl_bench.files import replace_file
from radl_bench.runs.image_checks import PictureChecks, few
from radl_bench.runs.store import ImageKey, RunFolder
from radl_bench.types import Benchmark

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
RECORD = "import.json"
"""File of an imported run: which file each image came from, and what was odd."""

_OVERLAY = "anno_"  # pictures with boxes drawn on, which some scripts write beside the images


@dataclass(frozen=True)
class Imported:
    """The run that was made, the number of pictures in it, and sentences about what was odd in the folder."""

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
    """Copy a folder of pictures into a run of a generator called `name`, as RGB PNG.

    Args:
        folder: its files are `<sample_id>.png` or `<sample_id>_<k>.png` (png, jpg, jpeg, webp); `anno_*` is skipped.
        benchmark: the samples the pictures were made for.
        name: name of the method in reports; the folder's name when not given.
        table: a CSV with the columns `file`, `sample_id` and optionally `k`, for files named otherwise.
        out: folder of the runs; source: folder of a benchmark that is not known by name.
        scale: the world of the images, "mini" or "paper"; None where nobody says it (`runs.scale`).

    A sample without a picture becomes a failed image, so that it counts. A folder whose content changed is a new run.
    The run's `import.json` keeps the names of the files and the notes.

    Raises:
        MissingData: no such folder, or no picture in it belongs to the benchmark.
        BadInput: a line of the table is wrong.
    """
    if not folder.is_dir():
        raise MissingData(f"There is no folder {folder}.")
    files, notes = _by_table(folder, table, benchmark) if table else _by_name(folder, benchmark)
    if table:
        notes += _not_in_table(folder, table, files.values())
    if not files:
        example = benchmark.samples[0].id
        raise MissingData(
            f"No picture in {folder} belongs to {benchmark.name}. Name them {example}_0.png or use --map."
        )
    label = name or folder.resolve().name
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
    """Return what was odd when the pictures of a run were imported; empty for other runs."""
    return _record(run / RECORD, _age(run / RECORD))[1]


def _age(file: Path) -> int:
    return file.stat().st_mtime_ns if file.is_file() else 0


@lru_cache(maxsize=8)
def _record(file: Path, age: int) -> tuple[dict[str, str], list[str]]:
    """Read a record; `age` is part of the call so that a changed file is read again."""
    if not age:
        return {}, []
    try:
        data = json.loads(file.read_text("utf-8"))
        return dict(data["sources"]), list(data["notes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{file} cannot be read ({error}). Import the pictures again with --images.") from error


def _by_name(folder: Path, benchmark: Benchmark) -> tuple[dict[ImageKey, Path], list[str]]:
    known = {sample.id for sample in benchmark.samples}
    files: dict[ImageKey, Path] = {}
    overlays, strangers, twins = [], [], []
    for file in sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")):
        key = _key(file.stem, known) if file.suffix.lower() in SUFFIXES else None
        if file.name.startswith(_OVERLAY):
            overlays.append(file.name)
        elif key is None:
            strangers.append(file.name)
        elif files.setdefault(key, file) != file:
            twins.append(file.name)
    said = {
        "skipped as overlays": overlays,
        f"belong to no sample of {benchmark.name}": strangers,
        "name an image that another file has": twins,
    }
    return files, [f"{few(names)} {what}." for what, names in said.items() if names]


def _not_in_table(folder: Path, table: Path, files: Iterable[Path]) -> list[str]:
    """Say which pictures the table leaves out, and which overlays it takes for pictures."""
    listed = set(files)
    overlays = sorted(f.name for f in listed if f.name.startswith(_OVERLAY))
    others = sorted(f.name for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and f not in listed)
    drawn, rest = (
        [name for name in others if name.startswith(_OVERLAY) is wanted and not name.startswith(".")]
        for wanted in (True, False)
    )
    said = {
        f"named like an overlay but listed in {table}, taken as they are": overlays,
        "skipped as overlays": drawn,
        f"not listed in {table}, left out": rest,
    }
    return [f"{few(names)} {what}." for what, names in said.items() if names]


def _key(stem: str, known: set[str]) -> ImageKey | None:
    if stem in known:
        return stem, 0
    match = re.fullmatch(r"(.+)_(\d{1,4})", stem)
    return (match[1], int(match[2])) if match and match[1] in known else None


def _by_table(folder: Path, table: Path, benchmark: Benchmark) -> tuple[dict[ImageKey, Path], list[str]]:
    known = {sample.id for sample in benchmark.samples}
    files: dict[ImageKey, Path] = {}
    given: set[ImageKey] = set()
    absent = []
    for number, row in _read_table(table):
        key, file = _entry(row, folder, known, f"{table}, line {number}")
        if key in given:
            raise BadInput(f"{table}, line {number}: image {key[1]} of '{key[0]}' was given before.")
        given.add(key)
        if file.is_file():
            files[key] = file
        else:
            absent.append(file.name)
    return files, [f"{few(absent)} in {table} but not in {folder}."] if absent else []


def _read_table(table: Path) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            rows: list[tuple[int, Mapping[str, Any]]] = [(reader.line_num, row) for row in reader]
    except OSError as error:
        raise MissingData(f"{table} cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{table} is no CSV in UTF-8 ({error}).") from error
    if not {"file", "sample_id"} <= set(reader.fieldnames or ()):
        raise BadInput(f"{table} needs a first line with the columns file,sample_id and optionally k.")
    return rows


def _entry(row: Mapping[str, Any], folder: Path, known: set[str], where: str) -> tuple[ImageKey, Path]:
    sample, name, k = (str(row.get(key) or "").strip() for key in ("sample_id", "file", "k"))
    if sample not in known:
        raise BadInput(f"{where}: the benchmark has no sample '{sample}'; its ids look like '{min(known)}'.")
    if not re.fullmatch(r"\d{0,4}", k, re.ASCII):
        raise BadInput(f"{where}: k must be a number from 0, not '{k}'.")
    file = folder / name
    if not name or not file.resolve().is_relative_to(folder.resolve()):
        raise BadInput(f"{where}: '{name}' is no file inside {folder}.")
    return (sample, int(k or 0)), file


def _revision(files: Mapping[ImageKey, Path]) -> str:
    """Return a hash of which picture stands for which image, so that a changed folder is another run."""
    whole = hashlib.sha256()
    for (sample, k), file in sorted(files.items()):
        whole.update(f"{sample}\0{k}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()[:12]


def _copy(run: RunFolder, benchmark: Benchmark, files: Mapping[ImageKey, Path]) -> list[str]:
    from PIL import Image

    done, checks = run.done(), PictureChecks(benchmark)
    absent, broken = [], []
    with run.writer() as writer:
        for sample in benchmark.samples:
            for k in range(run.manifest["benchmark"]["images_per_sample"]):
                file = files.get((sample.id, k))
                if file is None:
                    absent.append(f"{sample.id}_{k}")
                    if (sample.id, k) not in done:
                        writer.write_failure(sample.id, k, None, "no picture was given", 0.0)
                    continue
                try:
                    with Image.open(file) as image:
                        checks.look(file.name, sample, image)
                        if (sample.id, k) not in done:
                            writer.write_image(sample.id, k, None, image.convert("RGB"), 0.0)
                except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                    broken.append(file.name)
                    why = f"{file.name} is no picture ({type(error).__name__})"
                    writer.write_failure(sample.id, k, None, why, 0.0)
    said = {"missing, counted as failed": absent, "cannot be read as a picture, counted as failed": broken}
    return [f"{few(names)} {what}." for what, names in said.items() if names] + checks.notes()
