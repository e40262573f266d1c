"""Detections and masks that were made elsewhere: reading files of COCO results.

A file is JSON, a list of entries or an object with the lists `annotations`, and optionally `images` and `categories`:

    {"image_id": 17 or "a/1.jpg", "category_id": 3, "bbox": [x, y, width, height], "score": 0.9, "segmentation": ...}

`file` (or `file_name`) may stand for `image_id` and `category` for `category_id`; ids of classes are COCO's where the
file has no `categories`. Boxes and polygons are pixels of the image, or of the `width` and `height` that `images` gives
it; other readings are recognised from all boxes together or stated (`box_formats`). Which image a name means is in
`result_links`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radl_bench.errors import BadInput, MissingData
from radl_bench.judges.checks import problem_of_score
from radl_bench.parsing import is_number, read_json, shown, whole
from radl_bench.runs.image_reading import MAX_PIXELS
from radl_bench.runs.images import Picture
from radl_bench.scoring.box_formats import LIMIT
from radl_bench.scoring.result_links import Name, clean, is_decimal, own_name, source_of, split_path
from radl_model.boxes import four_numbers
from radl_model.coco_classes import COCO_CLASSES

PREFIX = "file:"
"""`file:PATH` as the name of a detector or segmenter means a results file."""


@dataclass(frozen=True)
class Entry:
    """One result: class, the four numbers of its box or None, score, and the segmentation as the file has it."""

    category: str
    bbox: tuple[float, float, float, float] | None
    score: float
    segmentation: Any = None


@dataclass
class ResultFile:
    """The entries of a file by the name of their image; `sizes` are (width, height) where the file gives them."""

    path: Path
    sha256: str
    entries: dict[Name, list[Entry]] = field(default_factory=dict)
    sizes: dict[Name, tuple[int, int]] = field(default_factory=dict)


def read_results(path: Path) -> ResultFile:
    """Read a file of COCO results; see the module for its forms.

    Raises:
        MissingData: there is no such file.
        BadInput: it is not a file of results; the message names the entry.
    """
    try:
        content = path.read_bytes()
        data = read_json(content)
    except OSError as error:
        raise MissingData(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON ({error}).") from error
    rows, images, classes = _parts(data, path)
    file = ResultFile(path, hashlib.sha256(content).hexdigest())
    names = {i: _name(image.get("file_name", i), f"{path}, image {shown(i)}") for i, image in images.items()}
    for i, image in images.items():
        size = _size(image, f"{path}, image {shown(i)}")
        if size and file.sizes.setdefault(names[i], size) != size:
            raise BadInput(f"{path}, image {shown(i)}: another image of that name has another size.")
    for number, row in enumerate(rows):
        where = f"{path}, entry {number}"
        if not isinstance(row, dict):
            raise BadInput(f"{where}: it must be an object with image_id, category_id, bbox and score.")
        name = row.get("file", row.get("file_name", row.get("image_id")))
        own = _id(name)
        key = names[own] if own is not None and own in names else _name(name, where)
        file.entries.setdefault(key, []).append(_entry(row, classes, where))
    return file


def names_of(picture: Picture) -> list[Name]:
    """Return the short names by which a file may know an image, the surest first."""
    source, own = source_of(picture), own_name(picture)
    stems = [*([split_path(source)[1]] if source else []), own, *([picture.sample.id] if picture.k == 0 else [])]
    return [*stems, *(int(stem) for stem in stems if is_decimal(stem))]


def _parts(data: Any, path: Path) -> tuple[list[Any], dict[Name, dict[str, Any]], Mapping[int, str]]:
    if isinstance(data, list):
        return data, {}, COCO_CLASSES
    rows = data.get("annotations", data.get("detections")) if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise BadInput(f"{path} is not a file of COCO results: it should be a list of detections.")
    images, classes = (_by_id(data.get(key, []), key, path) for key in ("images", "categories"))
    named = {i: str(c.get("name")) for i, c in classes.items() if isinstance(i, int)}
    return rows, images, named or COCO_CLASSES


def _by_id(rows: Any, what: str, path: Path) -> dict[Name, dict[str, Any]]:
    if not isinstance(rows, list) or not all(isinstance(r, dict) and _id(r.get("id")) is not None for r in rows):
        raise BadInput(f"{path}: '{what}' should be a list of objects with an id.")
    found: dict[Name, dict[str, Any]] = {}
    for row in rows:
        key = _id(row["id"])
        assert key is not None
        if found.setdefault(key, row) is not row:
            raise BadInput(f"{path}: '{what}' has the id {shown(key)} twice.")
    return found


def _entry(row: dict[str, Any], classes: Mapping[int, str], where: str) -> Entry:
    category, number, score = row.get("category"), whole(row.get("category_id")), row.get("score", 1.0)
    if category is None:
        if number is None or number not in classes:
            raise BadInput(f"{where}: no class has the id {shown(row.get('category_id'))}. Give 'category' as a name.")
        category = classes[number]
    if not isinstance(category, str) or not category.strip():
        raise BadInput(f"{where}: 'category' must be a name, not {shown(category)}.")
    if not is_number(score):
        raise BadInput(f"{where}: 'score' must be a number from 0 to 1, not {shown(score)}.")
    problem = problem_of_score(score)
    if problem:
        what, remedy = problem
        raise BadInput(f"{where}: the file {what.replace('gave', 'gives', 1)}; {remedy}.")
    box = row.get("bbox")
    four = four_numbers(box)
    ok = box is None or (four is not None and min(four[2:]) >= 0 and max(map(abs, four)) <= LIMIT)
    if not ok:
        raise BadInput(f"{where}: 'bbox' must be [x, y, width, height] in pixels, not {shown(box)}.")
    segmentation = row.get("segmentation")
    if segmentation is not None:
        _check_segmentation(segmentation, where)
    return Entry(" ".join(category.lower().split()), four, float(score), segmentation)


def _check_segmentation(value: Any, where: str) -> None:
    polygons = value if isinstance(value, list) else []
    if not (_is_rle(value) or (polygons and all(map(_is_polygon, polygons)))):
        raise BadInput(
            f"{where}: 'segmentation' must be COCO's RLE (size, and counts that fill it) or polygons of three points, "
            f"of an image of at most {MAX_PIXELS:,} pixels."
        )


def _is_rle(value: Any) -> bool:
    """Say whether runs fill the image, and the image is no larger than any that is read: decoding trusts them."""
    size, counts = (value.get("size"), value.get("counts")) if isinstance(value, dict) else (None, None)
    sides = [whole(side) for side in size] if isinstance(size, list) and len(size) == 2 else []
    if not sides or None in sides or min(side or 0 for side in sides) < 1:
        return False
    pixels = (sides[0] or 0) * (sides[1] or 0)
    if pixels > MAX_PIXELS:
        return False
    if isinstance(counts, str):
        return _pixels_of(counts) == pixels
    return isinstance(counts, list) and all(type(c) is int and c >= 0 for c in counts) and sum(counts) == pixels


def _pixels_of(text: str) -> int | None:
    """Return how many pixels COCO's compressed runs fill, None where they are none.

    Five bits a character from 48 on, the sixth says that more follow, the highest is the sign; from the fourth run on
    a number is the difference to the run before the last.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            return None
        value, shift = value | (bits & 31) << shift, shift + 5
        if bits & 32:
            continue
        value -= (1 << shift) if bits & 16 else 0
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        if runs[-1] < 0:
            return None
        value, shift = 0, 0
    return None if shift else sum(runs)


def _is_polygon(value: Any) -> bool:
    return isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0 and all(map(_is_coordinate, value))


def _is_coordinate(value: Any) -> bool:
    return is_number(value) and abs(value) <= LIMIT


def _id(value: Any) -> Name | None:
    return value if isinstance(value, str) else whole(value)


def _name(value: Any, where: str) -> Name:
    name = _id(value)
    if isinstance(name, int) or (isinstance(name, str) and clean(name.strip())):
        return name if isinstance(name, int) else clean(name.strip())
    raise BadInput(f"{where}: 'image_id' or 'file' must name an image, not {shown(value)}.")


def _size(image: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    """Return (width, height) of an entry of `images`, None where it has neither."""
    given = image.get("width"), image.get("height")
    if given == (None, None):
        return None
    width, height = whole(given[0]), whole(given[1])
    if not width or not height or min(width, height) < 1 or max(width, height) > LIMIT:
        raise BadInput(f"{where}: 'width' and 'height' must be numbers of pixels, not {shown(list(given))}.")
    return width, height
