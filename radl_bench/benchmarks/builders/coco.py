"""Reading COCO's annotation files: `instances_<split>.json` and `captions_<split>.json`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radl_bench.benchmarks.builders.draw import grid
from radl_bench.errors import BadInput, MissingData
from radl_bench.types import Box
from radl_model.boxes import four_numbers

_NOT_KEPT = ("segmentation", "flickr_url", "coco_url", "date_captured")


@dataclass(frozen=True)
class Thing:
    """One annotated object: class name, box as fractions of the image (rounded outwards), area of the box, crowd."""

    category: str
    box: Box
    crowd: bool

    @property
    def side(self) -> float:
        """The shorter side of the box, as a fraction."""
        return min(self.box[2] - self.box[0], self.box[3] - self.box[1])

    @property
    def area(self) -> float:
        """Area of the box, as a fraction of the image."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True)
class CocoImage:
    """One image of COCO; `things` and `captions` in the order of their ids, `license` as the file states it ("")."""

    id: int
    file_name: str
    things: tuple[Thing, ...]
    captions: tuple[str, ...] = ()
    license: str = ""


def annotation_file(coco: Path, kind: str, split: str) -> Path:
    """Return `<kind>_<split>.json` in `coco` or its `annotations/`; raises `MissingData` with what to run."""
    name = f"{kind}_{split}.json"
    for file in (coco / "annotations" / name, coco / name):
        if file.is_file():
            return file
    raise MissingData(
        f"There is no {name} in {coco} or {coco / 'annotations'}. Give the folder of COCO's annotations with --coco "
        "DIR, or let radl-bench get them with --download."
    )


def read_images(instances: Path, captions: Path | None = None) -> dict[int, CocoImage]:
    """Return the images of an instances file by id, with their captions where a captions file is given.

    Raises:
        BadInput: a file is not what its name says; the sentence names the file and the entry.
    """
    content = _load(instances)
    names = {
        _get(c, "id", int, instances): _get(c, "name", str, instances) for c in _rows(content, "categories", instances)
    }
    things = _things(content, names, instances)
    texts = _captions(captions) if captions else {}
    licenses = _licenses(content)
    return {
        image["id"]: CocoImage(
            image["id"],
            _get(image, "file_name", str, instances),
            tuple(thing for _, thing in sorted(things.get(image["id"], []), key=lambda pair: pair[0])),
            tuple(text for _, text in sorted(texts.get(image["id"], []))),
            _license(image.get("license"), licenses),
        )
        for image in _rows(content, "images", instances)
    }


def _load(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = json.load(stream, object_hook=_slim)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise BadInput(f"{file} is not an annotation file of COCO: it should be a JSON object.")
    return content


def _slim(row: dict[str, Any]) -> dict[str, Any]:
    """Drop what is not needed while reading: the outlines are nine tenths of the file."""
    for key in _NOT_KEPT:
        row.pop(key, None)
    return row


def _rows(content: Mapping[str, Any], key: str, file: Path) -> Iterator[dict[str, Any]]:
    rows = content.get(key)
    if not isinstance(rows, list):
        raise BadInput(f"{file} is not an annotation file of COCO: it has no list '{key}'.")
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or type(row.get("id")) is not int:
            raise BadInput(f"{file}: entry {number} of '{key}' should be an object with a whole number 'id'.")
        yield row


def _get(row: Mapping[str, Any], key: str, kind: type, file: Path) -> Any:
    value = row.get(key)
    if type(value) is not kind:
        raise BadInput(
            f"{file}: '{key}' of the entry with id {row.get('id')} should be {kind.__name__}, not {value!r:.60}."
        )
    return value


def _things(content: Mapping[str, Any], names: Mapping[int, str], file: Path) -> dict[int, list[tuple[int, Thing]]]:
    sizes = {row["id"]: _size(row, file) for row in _rows(content, "images", file)}
    found: dict[int, list[tuple[int, Thing]]] = defaultdict(list)
    for row in _rows(content, "annotations", file):
        image, category = _get(row, "image_id", int, file), _get(row, "category_id", int, file)
        if image not in sizes or category not in names:
            raise BadInput(
                f"{file}: the annotation with id {row['id']} names image {image} or class {category}, absent."
            )
        box = _fractions(row, sizes[image], file)
        if box is not None:
            found[image].append((row["id"], Thing(names[category], box, _crowd(row, file))))
    return found


def _license(number: object, licenses: Mapping[int, str]) -> str:
    return licenses.get(number, "") if isinstance(number, int) else ""


def _licenses(content: Mapping[str, Any]) -> dict[int, str]:
    """Name and address of each licence that the file lists, by its id; files without a list state none."""
    rows = content.get("licenses")
    return {
        row["id"]: " ".join(str(row[key]) for key in ("name", "url") if row.get(key))
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and isinstance(row.get("id"), int)
    }


def _crowd(row: Mapping[str, Any], file: Path) -> bool:
    value = row.get("iscrowd", 0)
    if type(value) not in (int, bool) or value not in (0, 1):
        raise BadInput(f"{file}: 'iscrowd' of the entry with id {row['id']} should be 0 or 1, not {value!r:.60}.")
    return bool(value)


def _size(row: Mapping[str, Any], file: Path) -> tuple[int, int]:
    width, height = _get(row, "width", int, file), _get(row, "height", int, file)
    if width < 1 or height < 1:
        raise BadInput(f"{file}: the image with id {row['id']} is {width} x {height} pixels.")
    return width, height


def _fractions(row: Mapping[str, Any], size: tuple[int, int], file: Path) -> Box | None:
    """xyxy as fractions of `[x, y, width, height]` in pixels; None for the few empty boxes that COCO has."""
    box = _get(row, "bbox", list, file)
    if four_numbers(box) is None:
        raise BadInput(f"{file}: 'bbox' of the annotation with id {row['id']} should be four numbers, not {box!r:.60}.")
    x, y, width, height = box
    x0, y0, x1, y1 = x / size[0], y / size[1], (x + width) / size[0], (y + height) / size[1]
    if not (x0 < 1 and y0 < 1 and 0 < x1 < 10 and 0 < y1 < 10 and x0 < x1 and y0 < y1):
        return None
    return grid((x0, y0, x1, y1))


def _captions(file: Path) -> dict[int, list[tuple[int, str]]]:
    found: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for row in _rows(_load(file), "annotations", file):
        text = " ".join(_get(row, "caption", str, file).split())
        if text:
            found[_get(row, "image_id", int, file)].append((row["id"], text))
    return found
