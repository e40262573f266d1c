"""Judges that read a results file: detections and masks made elsewhere (see `radl_bench.scoring.result_files`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from radl_bench.errors import BadInput
from radl_bench.parsing import at_home
from radl_bench.runs.image_checks import few
from radl_bench.runs.images import Picture
from radl_bench.scoring.box_formats import AUTO, parse_format
from radl_bench.scoring.linked_results import LinkedResults, link_results
from radl_bench.scoring.protocol import box_iou
from radl_bench.scoring.result_files import PREFIX, Entry, ResultFile, read_results
from radl_bench.types import Detection

if TYPE_CHECKING:
    from PIL.Image import Image


class ResultJudge:
    """What both judges share: a results file, and its entries by image once `prepare` has seen the images of a run.

    Args:
        file: the results.
        box_format: how its boxes are read, see `box_formats.parse_format`.
    """

    takes = ("pictures",)
    needs_sample = True  # equal images may have entries of their own
    what: str

    def __init__(self, file: ResultFile, box_format: str = AUTO) -> None:
        self.file, self._stated = file, parse_format(box_format)
        self._linked = LinkedResults(file, {})
        self._read_as = box_format

    @property
    def signature(self) -> str:
        """`file@<sha8>:<box format>`; the format is "auto" until `prepare` has judged it."""
        return f"file@{self.file.sha256[:8]}:{self._read_as}"

    def prepare(self, pictures: Sequence[Picture]) -> None:
        """Find out whose entries are whose and how boxes are read; raises `BadInput` where that is not clear."""
        self._linked = link_results(self.file, pictures, self._stated)
        self._read_as = str(self._linked.boxes_as)

    def linked(self, pictures: Sequence[Picture]) -> LinkedResults:
        """Return the file beside the prepared images, or beside these where one of them was not prepared."""
        if not all(self._linked.knows(p) for p in pictures) and not self._linked.names:
            return link_results(self.file, pictures, self._stated or LinkedResults(self.file, {}).boxes_as)
        return self._linked

    def notes(self, pictures: Sequence[Picture]) -> list[str]:
        """Return what is odd about the file and these images, as sentences."""
        return self.linked(pictures).all_notes(pictures, self.what)


class FileDetector(ResultJudge):
    """Detections of a results file, as a detector."""

    what = "detection"

    def detect(
        self, images: Sequence[Image], queries: Sequence[Sequence[str]], pictures: Sequence[Picture]
    ) -> list[list[Detection]]:
        """Return the file's boxes of the asked categories, clipped to the image; boxes outside of it are left out."""
        linked, out = self.linked(pictures), []
        for image, wanted, picture in zip(images, queries, pictures, strict=True):
            names = {" ".join(c.lower().split()): c for c in wanted}
            boxes = np.clip(linked.boxes(picture, image.size), 0.0, 1.0)
            found = zip(linked.of(picture), boxes.tolist(), strict=True)
            out.append(
                [
                    Detection(names[e.category], (b[0], b[1], b[2], b[3]), e.score)
                    for e, b in found
                    if e.category in names and b[2] > b[0] and b[3] > b[1]
                ]
            )
        return out

    def notes(self, pictures: Sequence[Picture]) -> list[str]:
        """Return what is odd about the file and these images, as sentences."""
        out = super().notes(pictures)
        known = {e.category for entries in self.file.entries.values() for e in entries}
        asked = {i.category for p in pictures for i in p.sample.instances}
        never = sorted(c for c in asked if " ".join(c.lower().split()) not in known)
        if never:
            out.append(f"{few(never, 'class', 'classes')} that {self.file.path.name} never names; none can be found.")
        return out


class FileSegmenter(ResultJudge):
    """Masks of a results file, as a segmenter: the one whose box fits best."""

    takes = ("picture",)
    what = "mask"
    least = 0.5
    """IoU below which a mask does not belong to a box."""

    @property
    def signature(self) -> str:
        """That of the file and its reading; "whole" says that masks are not cut off at their box."""
        return f"{super().signature}:whole"

    def masks(self, image: np.ndarray, boxes: np.ndarray, picture: Picture) -> np.ndarray:
        """Return bool [N, H, W]: the whole mask that fits each box, as it is in the file, beyond the box too.

        A mask is empty where none of the image has a box with IoU .5 or more.
        """
        linked, (height, width) = self.linked([picture]), image.shape[:2]
        made = [_decode(linked, picture, e, height, width) for e in linked.of(picture)]
        theirs = linked.boxes(picture, (width, height))
        for n, mask in enumerate(made):
            if np.isnan(theirs[n]).any():
                theirs[n] = _box_of(mask)
        out = np.zeros((len(boxes), height, width), bool)
        overlap = box_iou(np.asarray(boxes, float).reshape(-1, 4), theirs)
        for mask, row in zip(out, overlap, strict=True):
            best = int(row.argmax()) if len(row) else -1
            if best >= 0 and row[best] >= self.least:
                mask[:] = made[best]
        return out


def load_result_judge(kind: str, name: str, box_format: str = AUTO) -> FileDetector | FileSegmenter:
    """Return the judge that `file:PATH` names; `kind` is "detector" or "segmenter", `box_format` how boxes are read.

    Raises:
        MissingData: there is no such file.
        BadInput: it is not a file of results, or a segmenter's has no masks; the message names the entry.
    """
    file = read_results(at_home(name.removeprefix(PREFIX)))
    entries = [e for found in file.entries.values() for e in found]
    if kind == "detector":
        if any(e.bbox is None for e in entries):
            raise BadInput(f"{file.path}: an entry has no 'bbox'; detections need one each.")
        return FileDetector(file, box_format)
    if any(e.segmentation is None for e in entries):
        raise BadInput(f"{file.path}: an entry has no 'segmentation'; masks need one each, as COCO's RLE or polygons.")
    return FileSegmenter(file, box_format)


def _decode(linked: LinkedResults, picture: Picture, entry: Entry, height: int, width: int) -> np.ndarray:
    """Return bool [height, width] of the RLE or polygons of an entry; those of another size are scaled."""
    import cv2
    from faster_coco_eval.core import mask as coco

    segmentation: Any = entry.segmentation
    if isinstance(segmentation, list):
        polygons = [linked.polygon(points, picture, (width, height)) for points in segmentation]
        rle = coco.merge(coco.frPyObjects(polygons, height, width))
    else:
        size = [int(side) for side in segmentation["size"]]
        counts = segmentation["counts"]
        rle = {"size": size, "counts": counts.encode()} if isinstance(counts, str) else None
        rle = rle or coco.frPyObjects({"size": size, "counts": counts}, *size)
    mask = np.asarray(coco.decode(rle))
    if mask.shape != (height, width):
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return mask.astype(bool)


def _box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return 0.0, 0.0, 0.0, 0.0
    height, width = mask.shape
    return columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height
