"""Judges that read a results file: detections and masks made elsewhere (see `radl_bench.scoring.result_files`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radl_bench.errors import BadInput
from radl_bench.judges.segmenters import BoxSegmenter
from radl_bench.runs.image_import import few
from radl_bench.runs.images import Picture
from radl_bench.scoring.protocol import box_iou
from radl_bench.scoring.result_files import PREFIX, ResultFile, read_results
from radl_bench.types import Detection

if TYPE_CHECKING:
    from PIL.Image import Image


class FileDetector:
    """Detections of a results file, as a detector; `signature` has the sha256 of the file."""

    takes = ("pictures",)
    needs_sample = True  # equal pictures may have entries of their own

    def __init__(self, file: ResultFile) -> None:
        self.file, self.signature = file, f"file@{file.sha256[:8]}"

    def detect(
        self, images: Sequence[Image], queries: Sequence[Sequence[str]], pictures: Sequence[Picture]
    ) -> list[list[Detection]]:
        """Return the file's boxes of the asked categories, clipped to the picture; boxes outside of it are left out."""
        out = []
        for image, wanted, picture in zip(images, queries, pictures, strict=True):
            names = {" ".join(c.lower().split()): c for c in wanted}
            boxes = np.clip(self.file.boxes(picture, image.size), 0.0, 1.0)
            found = zip(self.file.of(picture), boxes.tolist(), strict=True)
            out.append(
                [
                    Detection(names[e.category], (b[0], b[1], b[2], b[3]), e.score)
                    for e, b in found
                    if e.category in names and b[2] > b[0] and b[3] > b[1]
                ]
            )
        return out

    def notes(self, pictures: Sequence[Picture]) -> list[str]:
        """Return what is odd about the file and these pictures, as sentences."""
        out = self.file.notes(pictures, "detection")
        known = {e.category for entries in self.file.entries.values() for e in entries}
        asked = {i.category for p in pictures for i in p.sample.instances}
        never = sorted(c for c in asked if " ".join(c.lower().split()) not in known)
        if never:
            out.append(f"{few(never, 'class', 'classes')} that {self.file.path.name} never names; none can be found.")
        large = [f"{p.sample.id}_{p.k}" for p in pictures if self._beyond(p)]
        if large:
            text = (
                f"{few(large, 'picture')} with boxes in {self.file.path.name} that reach beyond it; they are clipped."
            )
            out.append(f"{text} Was the detector run at another size?")
        return out

    def _beyond(self, picture: Picture) -> bool:
        from PIL import Image, UnidentifiedImageError

        if picture.problem is not None or picture.path is None:
            return False
        try:
            with Image.open(picture.path) as image:  # reads the head of the file alone
                boxes = self.file.boxes(picture, image.size)
        except (OSError, UnidentifiedImageError):
            return False
        return bool(((boxes < -0.02) | (boxes > 1.02)).any())


class FileSegmenter:
    """Masks of a results file, as a segmenter: the one whose box fits best; `signature` has the file's sha256."""

    takes = ("picture",)
    least = 0.5
    """IoU below which a mask does not belong to a box."""

    def __init__(self, file: ResultFile) -> None:
        self.file, self.signature = file, f"file@{file.sha256[:8]}"

    def masks(self, image: np.ndarray, boxes: np.ndarray, picture: Picture) -> np.ndarray:
        """Return bool [N, H, W]; empty where no mask of the picture has a box with IoU .5 or more."""
        height, width = image.shape[:2]
        made = [_decode(e.segmentation, height, width) for e in self.file.of(picture)]
        theirs = self.file.boxes(picture, (width, height))
        for n, mask in enumerate(made):
            if np.isnan(theirs[n]).any():
                theirs[n] = _box_of(mask)
        out = BoxSegmenter().masks(image, boxes)
        overlap = box_iou(np.asarray(boxes, float).reshape(-1, 4), theirs)
        for mask, row in zip(out, overlap, strict=True):
            best = int(row.argmax()) if len(row) else -1
            mask &= made[best] if best >= 0 and row[best] >= self.least else False
        return out

    def notes(self, pictures: Sequence[Picture]) -> list[str]:
        """Return what is odd about the file and these pictures, as sentences."""
        return self.file.notes(pictures, "mask")


def load_result_judge(kind: str, name: str) -> FileDetector | FileSegmenter:
    """Return the judge that `file:PATH` names; `kind` is "detector" or "segmenter".

    Raises:
        MissingData: there is no such file.
        BadInput: it is not a file of results, or a segmenter's has no masks; the sentence names the entry.
    """
    file = read_results(Path(name.removeprefix(PREFIX)).expanduser())
    entries = [e for found in file.entries.values() for e in found]
    if kind == "detector":
        if any(e.bbox is None for e in entries):
            raise BadInput(f"{file.path}: an entry has no 'bbox'; detections need one each.")
        return FileDetector(file)
    if any(e.segmentation is None for e in entries):
        raise BadInput(f"{file.path}: an entry has no 'segmentation'; masks need one each, as COCO's RLE or polygons.")
    return FileSegmenter(file)


def _decode(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Return bool [height, width] of an RLE or polygons; an RLE of another size is scaled."""
    import cv2
    from faster_coco_eval.core import mask as coco

    if isinstance(segmentation, list):
        rle = coco.merge(coco.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco.frPyObjects(segmentation, *segmentation["size"])
    else:
        rle = {"size": segmentation["size"], "counts": segmentation["counts"].encode()}
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
