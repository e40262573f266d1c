"""Which image a file of a folder is: by its own name, or by a table; whatever can be read in two ways is refused."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radl_bench.errors import BadInput, MissingData
from radl_bench.parsing import is_file, shown
from radl_bench.runs.image_checks import few
from radl_bench.runs.image_folder import OVERLAY, ImageFolder, repeated
from radl_bench.runs.store import ImageKey
from radl_bench.types import Benchmark

_NUMBER = re.compile(r"(.+)_([0-9]{1,10})", re.DOTALL)


@dataclass
class Named:
    """The file of each image, as a path relative to the folder, and sentences about the files that are none."""

    files: dict[ImageKey, Path]
    notes: list[str] = field(default_factory=list)


def by_name(folder: ImageFolder, benchmark: Benchmark, all_ids: Collection[str]) -> Named:
    """Find the images whose files are called `<sample_id>` or `<sample_id>_<k>`, in any subfolder.

    Args:
        all_ids: ids of the whole benchmark, of which `benchmark` may be a part.

    Raises:
        BadInput: two files are the same image, or a name is that of two images.
    """
    wanted, known = {sample.id for sample in benchmark.samples}, set(all_ids)
    found: dict[ImageKey, list[Path]] = {}
    strangers, left_out = list(folder.others), []
    for file in folder.files:
        key = _key(file, known)
        if key is None:
            strangers.append(file)
        elif key[0] not in wanted:
            left_out.append(file)
        else:
            found.setdefault(key, []).append(file)
    _refuse_twins(found, folder.folder)
    files, notes = _counted_from_0({key: files[0] for key, files in found.items()}, benchmark.images_per_sample)
    said = {
        "belong to samples that were not asked for, left out": left_out,
        f"belong to no sample of {benchmark.name}": sorted(strangers),
    }
    return Named(files, [*folder.notes(), *(f"{_few(names)} {what}." for what, names in said.items() if names), *notes])


def by_table(folder: ImageFolder, table: Path, benchmark: Benchmark, all_ids: Collection[str]) -> Named:
    """Find the images that a CSV lists, with the columns `file`, `sample_id` and optionally `k`.

    Raises:
        MissingData: the table cannot be read.
        BadInput: a line of it is wrong.
    """
    wanted, known = {sample.id for sample in benchmark.samples}, set(all_ids)
    given: dict[ImageKey, Path] = {}
    left_out = []
    for number, row in _read_table(table):
        key, file = _entry(row, folder.folder, known, f"{table}, line {number}")
        if key in given:
            raise BadInput(f"{table}, line {number}: image {key[1]} of '{key[0]}' was given before.")
        if key[0] in wanted:
            given[key] = file
        else:
            left_out.append(file)
    there = {key: file for key, file in given.items() if is_file(folder.folder / file)}
    files, notes = _counted_from_0(there, benchmark.images_per_sample)
    absent = [file for key, file in given.items() if key not in there]
    said = {
        f"in {table} but not in {folder.folder}": absent,
        "belong to samples that were not asked for, left out": left_out,
        f"stand for more than one image in {table}": [Path(f) for f in repeated(map(str, there.values()))],
    }
    whole = [f"{_few(names)} {what}." for what, names in said.items() if names] + notes
    return Named(files, whole + _not_in_table(folder, table, {*there.values(), *left_out}))


def _key(file: Path, known: set[str]) -> ImageKey | None:
    match = _NUMBER.fullmatch(file.stem)
    numbered = (match[1], int(match[2])) if match and match[1] in known else None
    if numbered is None:
        return (file.stem, 0) if file.stem in known else None
    if file.stem in known:
        raise BadInput(
            f"{shown(str(file))} can be read as image {numbered[1]} of '{numbered[0]}' and as image 0 of "
            f"'{file.stem}'. Name it {file.stem}_0{file.suffix}, or use --map."
        )
    return numbered


def _refuse_twins(found: Mapping[ImageKey, list[Path]], folder: Path) -> None:
    twins = [files for files in found.values() if len(files) > 1]
    if twins:
        pairs = [" = ".join(map(str, files)) for files in twins]
        raise BadInput(
            f"{few(pairs, 'image has', 'images have')} several files in {folder}. Leave one of each, or use --map."
        )


def _counted_from_0(files: Mapping[ImageKey, Path], usual: int) -> tuple[dict[ImageKey, Path], list[str]]:
    """Return the images with numbers from 0 on, and a note where the files count from 1 or have seeds for numbers.

    Numbers stay where 0 is among them and they are below `usual`, or all of them up to the last are some sample's.
    """
    of: dict[str, list[int]] = {}
    for sample, number in sorted(files):
        of.setdefault(sample, []).append(number)
    numbers = sorted({number for _, number in files})
    most = max(map(len, of.values()), default=0)
    together = most == len(numbers)  # one sample has them all, so they mean the same for all
    if not numbers or (numbers[0] == 0 and (numbers[-1] < usual or (together and numbers[-1] == most - 1))):
        return dict(files), []
    rank = {(s, n): (numbers if together else own).index(n) for s, own in of.items() for n in own}
    counted = {(sample, rank[sample, number]): file for (sample, number), file in files.items()}
    listed = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    read_as = "image 0" if most == 1 else f"images 0 to {most - 1}"
    return counted, [
        f"The files are numbered {listed} (from 1, or by seed?); they are read as {read_as} of each sample."
    ]


def _not_in_table(folder: ImageFolder, table: Path, listed: Collection[Path]) -> list[str]:
    """Say which images the table leaves out, and which overlays it takes for images."""
    said = {
        f"named like an overlay but listed in {table}, taken as they are": [
            f for f in sorted(listed) if f.name.startswith(OVERLAY)
        ],
        "skipped as overlays": [f for f in folder.overlays if f not in listed],
        f"not listed in {table}, left out": [f for f in folder.files if f not in listed],
    }
    return [f"{_few(names)} {what}." for what, names in said.items() if names]


def _read_table(table: Path) -> list[tuple[int, Mapping[str, Any]]]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            rows: list[tuple[int, Mapping[str, Any]]] = [(reader.line_num, row) for row in reader]
            columns = [(name or "").strip() for name in reader.fieldnames or ()]
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, OSError):
            raise MissingData(f"{table} cannot be read ({error.strerror}).") from error
        raise BadInput(f"{table} is not a CSV file in UTF-8 ({error}).") from error
    if not {"file", "sample_id"} <= set(columns):
        raise BadInput(f"{table} needs a first line with the columns file,sample_id and optionally k.")
    twice = repeated(columns)
    if twice:
        raise BadInput(f"{table}, line 1: the column '{twice[0]}' is given twice.")
    if not rows:
        raise BadInput(f"{table} lists no image below its first line.")
    return [(number, dict(zip(columns, row.values(), strict=False))) for number, row in rows]


def _entry(row: Mapping[str, Any], folder: Path, known: set[str], where: str) -> tuple[ImageKey, Path]:
    sample, name, k = (str(row.get(key) or "").strip() for key in ("sample_id", "file", "k"))
    if sample not in known:
        raise BadInput(f"{where}: the benchmark has no sample {shown(sample)}; its ids look like '{min(known)}'.")
    if not re.fullmatch(r"\d{0,10}", k, re.ASCII):
        raise BadInput(f"{where}: k must be a number from 0, not {shown(k)}.")
    return (sample, int(k or 0)), _inside(folder, name, where)


def _inside(folder: Path, name: str, where: str) -> Path:
    """Return the path of a listed file relative to its folder; backslashes are slashes where there is no such name."""
    written = [name] if "\\" not in name or is_file(folder / name) else [name.replace("\\", "/")]
    try:
        file = (folder / written[0]).resolve()
        if name and file.is_relative_to(folder.resolve()):
            return file.relative_to(folder.resolve())
    except (OSError, ValueError):
        pass
    raise BadInput(f"{where}: {shown(name)} is not a file inside {folder}.")


def _few(files: Iterable[Path]) -> str:
    return few([file.as_posix() for file in files])
