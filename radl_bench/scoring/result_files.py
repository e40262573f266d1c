"""Detections and masks that were made elsewhere: reading files of COCO results.

A file is JSON, a list of entries or an object with the lists `annotations`, and optionally `images` and `categories`:

    {"image_id": 17 or "a.jpg", "category_id": 3, "bbox": [x, y, width, height], "score": 0.9, "segmentation": ...}

`file` (or `file_name`) may stand for `image_id` and `category` for `category_id`; ids of classes are COCO's where the
file has no `categories`. Boxes are pixels of the picture, or of the `width` and `height` that `images` gives it.
A picture is known by the name of the file it was imported from, by `<sample_id>_<k>`, by `<sample_id>` for k = 0, or,
for whole numbers, by the number that its file's name is ("000000005001.jpg" is 5001).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from radl_bench.benchmarks.coco_classes import COCO_CLASSES
from radl_bench.errors import BadInput, MissingData
from radl_bench.judges.checks import problem_of_score
from radl_bench.runs.image_import import SUFFIXES, few, sources_of
from radl_bench.runs.images import Picture

PREFIX = "file:"
"""`file:PATH` as the name of a detector or segmenter means a results file."""

Name = str | int


@dataclass(frozen=True)
class Entry:
    """One result: class, box xywh in pixels or None, score, and the segmentation as the file has it."""

    category: str
    bbox: tuple[float, float, float, float] | None
    score: float
    segmentation: Any = None


@dataclass
class ResultFile:
    """The entries of a file by the name of their picture; `sizes` are (width, height) where the file gives them."""

    path: Path
    sha256: str
    entries: dict[Name, list[Entry]] = field(default_factory=dict)
    sizes: dict[Name, tuple[int, int]] = field(default_factory=dict)

    def name_of(self, picture: Picture) -> Name | None:
        """Return the name under which the file has this picture, or None."""
        return next((name for name in names_of(picture) if name in self.entries or name in self.sizes), None)

    def of(self, picture: Picture) -> list[Entry]:
        """Return the entries of a picture."""
        name = self.name_of(picture)
        return [] if name is None else self.entries.get(name, [])

    def boxes(self, picture: Picture, size: tuple[int, int]) -> np.ndarray:
        """Return float64 [N, 4], the xyxy boxes of the entries in fractions, not clipped; NaN for one without a box."""
        name = self.name_of(picture)
        width, height = self.sizes.get(name, size) if name is not None else size
        rows = [e.bbox or (math.nan,) * 4 for e in self.of(picture)]
        xywh = np.array(rows, float).reshape(-1, 4) / (width, height, width, height)
        return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)

    def notes(self, pictures: Sequence[Picture], what: str) -> list[str]:
        """Return sentences about pictures without entries and entries without a picture."""
        matched = {self.name_of(p) for p in pictures}
        bare = [f"{p.sample.id}_{p.k}" for p in pictures if p.problem is None and self.name_of(p) is None]
        strangers = [str(name) for name in self.entries if name not in matched]
        out = []
        if bare:
            out.append(f"{few(bare, 'picture')} without any {what} in {self.path.name}; nothing is found there.")
        if strangers:
            out.append(f"{few(strangers, 'name')} in {self.path.name} of no picture of this run; left out.")
        return out


def read_results(path: Path) -> ResultFile:
    """Read a file of COCO results; see the module for its forms.

    Raises:
        MissingData: there is no such file.
        BadInput: it is not a file of results; the sentence names the entry.
    """
    try:
        content = path.read_bytes()
        data = json.loads(content)
    except OSError as error:
        raise MissingData(f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON ({error}).") from error
    rows, images, classes = _parts(data, path)
    file = ResultFile(path, hashlib.sha256(content).hexdigest())
    names = {i: _name(image.get("file_name", i), f"{path}, image {i}") for i, image in images.items()}
    for i, image in images.items():
        if _is_size(image.get("width")) and _is_size(image.get("height")):
            file.sizes[names[i]] = image["width"], image["height"]
    for number, row in enumerate(rows):
        where = f"{path}, entry {number}"
        if not isinstance(row, dict):
            raise BadInput(f"{where}: it must be an object with image_id, category_id, bbox and score.")
        name = row.get("file", row.get("file_name", row.get("image_id")))
        key = names[name] if isinstance(name, str | int) and name in names else _name(name, where)
        file.entries.setdefault(key, []).append(_entry(row, classes, where))
    return file


def names_of(picture: Picture) -> list[Name]:
    """Return the names by which a file may know a picture, the surest first."""
    own = f"{picture.sample.id}_{picture.k}"
    source = sources_of(picture.path.parent.parent).get(own) if picture.path is not None else None
    stems = [*([_stem(source)] if source else []), own, *([picture.sample.id] if picture.k == 0 else [])]
    return [*stems, *(int(stem) for stem in stems if stem.isdecimal())]


def _parts(data: Any, path: Path) -> tuple[list[Any], dict[Any, dict[str, Any]], Mapping[int, str]]:
    if isinstance(data, list):
        return data, {}, COCO_CLASSES
    rows = data.get("annotations", data.get("detections")) if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise BadInput(f"{path} is no file of COCO results: it should be a list of detections.")
    images, classes = (_by_id(data.get(key, []), key, path) for key in ("images", "categories"))
    return rows, images, {i: str(c.get("name")) for i, c in classes.items()} or COCO_CLASSES


def _by_id(rows: Any, what: str, path: Path) -> dict[Any, dict[str, Any]]:
    if not isinstance(rows, list) or not all(isinstance(r, dict) and isinstance(r.get("id"), str | int) for r in rows):
        raise BadInput(f"{path}: '{what}' should be a list of objects with an id.")
    return {row["id"]: row for row in rows}


def _entry(row: dict[str, Any], classes: Mapping[int, str], where: str) -> Entry:
    category, number, score = row.get("category"), row.get("category_id"), row.get("score", 1.0)
    if category is None:
        if not isinstance(number, int) or number not in classes:
            raise BadInput(f"{where}: no class has the id {number!r}. Give 'category' as a name.")
        category = classes[number]
    if not isinstance(category, str) or not category.strip():
        raise BadInput(f"{where}: 'category' must be a name, not {category!r}.")
    problem = problem_of_score(score) if isinstance(score, int | float) and not isinstance(score, bool) else None
    if problem or not _is_number(score):
        what, remedy = problem or (f"gave {score!r} for a score", "a score is a number from 0 to 1")
        raise BadInput(f"{where}: the file {what.replace('gave', 'gives', 1)}; {remedy}.")
    box = row.get("bbox")
    ok = box is None or (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)) and min(box[2:]) >= 0)
    if not ok:
        raise BadInput(f"{where}: 'bbox' must be [x, y, width, height] in pixels, not {str(box)[:60]}.")
    segmentation = row.get("segmentation")
    if segmentation is not None:
        _check_segmentation(segmentation, where)
    four = None if box is None else (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    return Entry(" ".join(category.lower().split()), four, float(score), segmentation)


def _check_segmentation(value: Any, where: str) -> None:
    polygons = value if isinstance(value, list) else []
    if not (_is_rle(value) or (polygons and all(map(_is_polygon, polygons)))):
        raise BadInput(
            f"{where}: 'segmentation' must be COCO's RLE (size, and counts that fill it) or polygons of three points."
        )


def _is_rle(value: Any) -> bool:
    """Say whether runs fill the picture: decoding trusts them. Compressed runs are checked when they are decoded."""
    size, counts = (value.get("size"), value.get("counts")) if isinstance(value, dict) else (None, None)
    if not (isinstance(size, list) and len(size) == 2 and all(map(_is_size, size))):
        return False
    if isinstance(counts, str):
        return counts.isascii()
    if not (isinstance(counts, list) and all(type(c) is int and c >= 0 for c in counts)):
        return False
    return sum(counts) == int(size[0]) * int(size[1])


def _is_polygon(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0 and all(map(_is_number, value))


def _name(value: Any, where: str) -> Name:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip():
        return _stem(value)
    raise BadInput(f"{where}: 'image_id' or 'file' must name a picture, not {value!r}.")


def _stem(name: str) -> str:
    path = Path(name.replace("\\", "/"))
    return path.stem if path.suffix.lower() in SUFFIXES else path.name


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
