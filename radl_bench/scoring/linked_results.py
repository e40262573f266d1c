"""A results file beside the images of a run: whose entries are whose, and where their boxes and polygons lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from radl_bench.errors import BadInput
from radl_bench.runs.image_checks import few
from radl_bench.runs.image_reading import BadImage, open_image
from radl_bench.runs.images import Picture
from radl_bench.runs.store import ImageKey
from radl_bench.scoring.box_formats import BoxFormat, falls_short, is_fraction, judge_format
from radl_bench.scoring.result_files import Entry, ResultFile, names_of
from radl_bench.scoring.result_links import Name, link, without_suffix

_BEYOND = 0.02


@dataclass
class LinkedResults:
    """The entries of a file by image, with how their numbers are read.

    Attributes:
        names: the name in the file of each image that has one.
        boxes_as, polygons_as: how boxes are read, and whether polygons are fractions or pixels.
        notes: sentences about how the file is read.
    """

    file: ResultFile
    names: dict[ImageKey, Name]
    boxes_as: BoxFormat = field(default_factory=BoxFormat)
    polygons_as: BoxFormat = field(default_factory=lambda: BoxFormat("xyxy"))
    notes: tuple[str, ...] = ()

    def knows(self, picture: Picture) -> bool:
        """Say whether the file has this image, with or without entries."""
        return (picture.sample.id, picture.k) in self.names

    def of(self, picture: Picture) -> list[Entry]:
        """Return the entries of an image."""
        name = self.names.get((picture.sample.id, picture.k))
        return [] if name is None else self.file.entries.get(name, [])

    def size(self, picture: Picture, own: tuple[int, int]) -> tuple[int, int]:
        """Return (width, height) of the image that pixels in the file are of; `own` is the image's."""
        name = self.names.get((picture.sample.id, picture.k))
        return own if name is None else self.file.sizes.get(name, own)

    def boxes(self, picture: Picture, own: tuple[int, int]) -> np.ndarray:
        """Return float64 [N, 4], the xyxy boxes of the entries in fractions, not clipped; NaN for one without a box."""
        rows = np.array([e.bbox or (math.nan,) * 4 for e in self.of(picture)], float).reshape(-1, 4)
        sizes = np.tile(np.array(self.size(picture, own), float), (len(rows), 1))
        return self.boxes_as.edges(rows, sizes)

    def polygon(self, points: Sequence[float], picture: Picture, own: tuple[int, int]) -> list[float]:
        """Return a polygon (x, y, x, y, ...) in pixels of the image; points beyond it are brought to a side away."""
        width, height = self.polygons_as.size or self.size(picture, own)
        unit = (1, 1) if self.polygons_as.fraction else (width, height)
        places = np.array(points, float).reshape(-1, 2) / unit
        return (np.clip(places, -1.0, 2.0) * own).ravel().tolist()

    def all_notes(self, pictures: Sequence[Picture], what: str) -> list[str]:
        """Return sentences about images without entries, entries without an image, and boxes that cannot be right."""
        bare = [f"{p.sample.id}_{p.k}" for p in pictures if p.problem is None and not self.knows(p)]
        used = set(self.names.values())
        strangers = [without_suffix(name) for name in self.file.entries if name not in used]
        path = self.file.path.name
        out = list(self.notes)
        if bare:
            out.append(f"{few(bare, 'image')} without any {what} in {path}; nothing is found there.")
        if strangers:
            out.append(f"{few(strangers, 'name')} in {path} of no image of this run; left out.")
            if not used:
                out.append(f"Names looked for are {few(list(map(str, names_of(pictures[0]))), 'name')} and so on.")
        return out + self._notes_of_boxes(pictures)

    def _notes_of_boxes(self, pictures: Sequence[Picture]) -> list[str]:
        large, flat = [], []
        for picture in pictures:
            own = size_of(picture) if self.of(picture) else None
            if own is not None:
                boxes = self.boxes(picture, own)
                name = f"{picture.sample.id}_{picture.k}"
                large += [name] if ((boxes < -_BEYOND) | (boxes > 1 + _BEYOND)).any() else []
                flat += [name] if ((boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])).any() else []
        path, out = self.file.path.name, []
        if large:
            text = f"{few(large, 'image')} with boxes in {path} that reach beyond it; they are clipped."
            out.append(f"{text} Was the detector run at another size?")
        if flat:
            out.append(f"{few(flat, 'image')} with boxes in {path} that have no area; these are left out.")
        return out


def link_results(file: ResultFile, pictures: Sequence[Picture], stated: BoxFormat | None = None) -> LinkedResults:
    """Return a file beside all images of a run, with the reading of its boxes judged from all of them, or as stated.

    Raises `BadInput`: a name means two images, or no reading of the boxes fits.
    """
    linked = LinkedResults(file, link(list({**file.entries, **file.sizes}), pictures, str(file.path)))
    if stated is not None:
        linked.boxes_as = stated
        linked.polygons_as = BoxFormat("xyxy", stated.fraction, stated.size)
        return linked
    sizes = {n: size for n, p in enumerate(pictures) if linked.of(p) and (size := size_of(p)) is not None}
    known = [(pictures[n], linked.size(pictures[n], own)) for n, own in sizes.items()]
    reach = _reach(linked, [picture for picture, _ in known])
    boxes = [(e.bbox, size) for p, size in known for e in linked.of(p) if e.bbox is not None]
    shapes = [(_bounds(e), size) for p, size in known for e in linked.of(p) if isinstance(e.segmentation, list)]
    notes = []
    if boxes:
        numbers, unit = (np.array(column, float) for column in zip(*boxes, strict=True))
        linked.boxes_as, note = judge_format(numbers, unit, reach, str(file.path))
        notes += [note] if note else []
    if shapes:
        linked.polygons_as, note = _judge_polygons(shapes, reach, file)
        notes += [note] if note else []
    linked.notes = tuple(notes)
    return linked


def _judge_polygons(shapes: list, reach: tuple[float, float], file: ResultFile) -> tuple[BoxFormat, str]:
    numbers, unit = (np.array(column, float) for column in zip(*shapes, strict=True))
    reading = BoxFormat("xyxy", is_fraction(numbers))
    edges = reading.edges(numbers, unit)
    inside = float(((edges > -0.05) & (edges < 1.05)).all(axis=1).mean())
    if inside < 0.9 or falls_short(edges, reach):
        raise BadInput(
            f"The polygons of {file.path} do not fit their images: {inside:.0%} lie inside of theirs, and they reach "
            f"{edges[:, 2].max():.0%} to the right and {edges[:, 3].max():.0%} down. State the size they are of, "
            "e.g. --box-format xywh@640x640, or give 'images' with width and height in the file."
        )
    return reading, f"The polygons of {file.path} are read as fractions of the sides." if reading.fraction else ""


def size_of(picture: Picture) -> tuple[int, int] | None:
    """Return (width, height) of an image from the head of its file, None where that cannot be read."""
    if picture.problem is not None:
        return None
    if picture.path is None:
        image = picture.load()
        return None if image is None else image.size
    try:
        with open_image(picture.path) as image:
            return image.size
    except BadImage:
        return None


def _reach(linked: LinkedResults, pictures: Sequence[Picture]) -> tuple[float, float]:
    """Return how far the layouts reach right and down, of the classes that the file names in each image."""
    far = [(0.0, 0.0)]
    for picture in pictures:
        named = {e.category for e in linked.of(picture)}
        far += [i.box[2:] for i in picture.sample.instances if " ".join(i.category.lower().split()) in named]
    return max(x for x, _ in far), max(y for _, y in far)


def _bounds(entry: Entry) -> tuple[float, float, float, float]:
    points = np.concatenate([np.array(p, float).reshape(-1, 2) for p in entry.segmentation])
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x0, y0, x1, y1
