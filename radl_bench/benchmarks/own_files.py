"""Readers of files of samples. Each reads all of its file and returns samples, problems with their lines, and notes.

CSV: a line an instance. Columns: `id` (of the sample; its lines need not stand together), `category`, `x0`, `y0`, `x1`,
`y1`; optionally `width` and `height` (then the box is in pixels of such an image), `phrase` (made of attributes, colour
and category when empty), `prompt` (once a sample is enough; made of the phrases when empty), `color`, `attributes`
(joined by ;), and `relation` ("left of 1": this instance to that with the index 1 of its sample, counted from 0; joined
by ;). Lines that start with # are left out.

COCO JSON: an annotation file with images, categories and annotations; a sample an image, crowds left out.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from radl_bench.benchmarks.samples import checked_sample, find_problems, parse_samples
from radl_bench.errors import BadInput, did_you_mean
from radl_bench.parsing import shown
from radl_bench.types import OwnColor, Sample

REQUIRED = ("id", "category", "x0", "y0", "x1", "y1")
OPTIONAL = ("prompt", "phrase", "color", "attributes", "relation", "width", "height")
_RELATION = re.compile(r"\s*(.*?\S)\s+(\d{1,6})\s*")


@dataclass
class Read:
    """What a file holds."""

    samples: tuple[Sample, ...] = ()
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class _Draft:
    """A sample of a CSV on its way: the line it starts at, and what its lines say."""

    line: int
    prompt: str = ""
    instances: list[dict[str, object]] = field(default_factory=list)
    relations: list[list[object]] = field(default_factory=list)


def read_jsonl(file: Path, free_phrases: bool, colors: Sequence[OwnColor]) -> Read:
    """Read JSON Lines, see `samples.parse_samples`."""
    data = file.read_bytes()
    problems = find_problems(data, str(file), free_phrases=free_phrases, colors=colors)
    return (
        Read((), problems)
        if problems
        else Read(parse_samples(data, str(file), free_phrases=free_phrases, colors=colors))
    )


def read_csv(file: Path, free_phrases: bool, colors: Sequence[OwnColor]) -> Read:
    """Read a CSV, see the head of this module."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Read((), [f"{file}: byte {error.start + 1} is not UTF-8."])
    table = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        columns = [name.strip() for name in table.fieldnames or ()]
    except csv.Error as error:
        return Read((), [f"{file}, line 1: not CSV ({error})."])
    table.fieldnames = columns
    problems = list(_columns(columns, str(file)))
    if problems:
        return Read((), problems)
    drafts: dict[str, _Draft] = {}
    try:
        for row in table:
            if str(row["id"]).startswith("#"):
                continue
            where = f"{file}, line {table.line_num}"
            try:
                _take(row, drafts, table.line_num, free_phrases, colors)
            except ValueError as error:
                problems.append(f"{where}: {str(error).removeprefix('instance 0: ')}.")
    except csv.Error as error:
        return Read((), [*problems, f"{file}, line {table.line_num}: not CSV ({error})."])
    if not drafts and not problems:
        problems.append(f"{file} holds no sample; expected a line an instance under the names of the columns.")
    samples: list[Sample] = []
    for sample_id, draft in drafts.items():  # what a line alone cannot tell: relations, ids that differ in case alone
        try:
            samples.append(checked_sample(_row(sample_id, draft), free_phrases=free_phrases, colors=colors))
        except ValueError as error:
            problems += [f"{file}, line {draft.line}: {error}."] * (not problems)
    return Read(tuple(samples), [*problems, *_twice(samples, str(file))])


def read_coco(file: Path, free_phrases: bool, colors: Sequence[OwnColor]) -> Read:
    """Read an annotation file of COCO's form, see the head of this module."""
    from radl_bench.benchmarks.builders.coco import read_images

    try:
        images = read_images(file)
    except BadInput as error:
        return Read((), [str(error)])
    samples, problems, empty = [], [], 0
    for image in images.values():
        things = [thing for thing in image.things if not thing.crowd]
        if not things:
            empty += 1
            continue
        stem = Path(image.file_name).stem
        instances = [_instance(t.category, None, (), "") | {"box": list(t.box)} for t in things]
        row = _row(
            stem if re.fullmatch(r"[A-Za-z0-9][\w.-]{0,127}", stem, re.ASCII) else str(image.id),
            _Draft(0, "", instances),
        )
        try:
            samples.append(checked_sample(row, free_phrases=free_phrases, colors=colors))
        except ValueError as error:
            problems.append(f"{file}, image {image.id}: {error}.")
    if not samples and not problems:
        problems.append(f"{file} has no image with an object.")
    notes = [f"{empty} images have no object and were left out."] if empty else []
    return Read(tuple(samples), [*problems, *_twice(samples, str(file))], notes)


def _columns(columns: Sequence[str], where: str) -> Iterator[str]:
    for name in REQUIRED:
        if name not in columns:
            yield f"{where}, line 1: there is no column '{name}'; a CSV needs {', '.join(REQUIRED)}."
    for name in columns:
        if name not in (*REQUIRED, *OPTIONAL):
            yield f"{where}, line 1: {did_you_mean(name, (*REQUIRED, *OPTIONAL), 'column')}"
    for name in sorted({name for name in columns if columns.count(name) > 1}):
        yield f"{where}, line 1: the column '{name}' is there twice."
    if ("width" in columns) != ("height" in columns):
        yield f"{where}, line 1: 'width' and 'height' go together."


def _take(
    row: Mapping[str | None, object],
    drafts: dict[str, _Draft],
    line: int,
    free_phrases: bool,
    colors: Sequence[OwnColor],
) -> None:
    """Add a line to its sample; raises `ValueError` with what is wrong with the line alone."""
    if None in row or None in row.values():
        raise ValueError(f"it has {'more' if None in row else 'fewer'} cells than there are columns")
    cell = {str(name): str(value).strip() for name, value in row.items()}
    attributes = tuple(word.strip() for word in cell.get("attributes", "").split(";") if word.strip())
    instance = _instance(cell["category"], cell.get("color") or None, attributes, cell.get("phrase", ""))
    instance["box"] = _box(cell)
    draft = drafts.setdefault(cell["id"], _Draft(line))
    prompt = cell.get("prompt", "")
    if prompt and draft.prompt and prompt != draft.prompt:
        raise ValueError(f"the prompt is another one than in an earlier line of {shown(cell['id'])}")
    draft.prompt = draft.prompt or prompt
    draft.instances.append(instance)
    for text in filter(None, (part.strip() for part in cell.get("relation", "").split(";"))):
        match = _RELATION.fullmatch(text)
        if not match:
            raise ValueError(f"the relation {shown(text)} must be words and the index of another instance: left of 1")
        draft.relations.append([len(draft.instances) - 1, match[1], int(match[2])])
    alone = _row(cell["id"], _Draft(line, prompt, [instance]))
    checked_sample(alone, free_phrases=free_phrases, colors=colors)


def _instance(category: str, color: str | None, attributes: Sequence[str], phrase: str) -> dict[str, object]:
    from radl_bench.judges.templates import with_articles

    words = " ".join([*attributes, *([color] if color else []), category])
    instance: dict[str, object] = {
        "phrase": phrase or with_articles(f"a {words}"),
        "category": category,
        "color": color,
    }
    return instance | ({"attributes": list(attributes)} if attributes else {})


def _box(cell: Mapping[str, str]) -> list[float]:
    numbers = {name: _number(cell, name) for name in ("x0", "y0", "x1", "y1")}
    if cell.get("width") or cell.get("height"):
        width, height = _number(cell, "width"), _number(cell, "height")
        if width <= 0 or height <= 0:
            raise ValueError("'width' and 'height' must be more than 0")
        return [round(value / (width if name[0] == "x" else height), 6) for name, value in numbers.items()]
    if max(numbers.values()) > 1:
        raise ValueError("the box is in pixels; add the columns width and height, or write fractions of the side")
    return list(numbers.values())


def _number(cell: Mapping[str, str], name: str) -> float:
    try:
        return float(cell[name])
    except ValueError:
        raise ValueError(f"'{name}' must be a number, not {shown(cell[name])}") from None


def _row(sample_id: str, draft: _Draft) -> dict[str, object]:
    prompt = draft.prompt or "a photo of " + " and ".join(str(i["phrase"]) for i in draft.instances)
    return {"id": sample_id, "prompt": prompt, "instances": draft.instances, "relations": draft.relations}


def _twice(samples: Sequence[Sample], where: str) -> Iterator[str]:
    """Ids become file names, and some file systems do not tell "A" from "a"."""
    seen: dict[str, str] = {}
    for sample in samples:
        first = seen.setdefault(sample.id.casefold(), sample.id)
        if first is not sample.id:
            yield f"{where}: the ids '{first}' and '{sample.id}' are one file name on some systems; make ids unique."
