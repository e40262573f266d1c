"""How good the masks of `grabcut` and `box` are on real photographs, measured against COCO's segmentations.

    python benchmarks/masks.py COCO_FOLDER [--limit PICTURES] [--out reports/masks.md]

COCO_FOLDER holds `instances_val2017.json` and `val2017/`, or another set in that form. Every instance that is no crowd
and at least an eighth of the picture on both sides (COCO-MIG's rule for its boxes) is cut out from its true box.
Nothing of the photographs is kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from radl_bench.errors import MissingData, RadlBenchError

LEAST_SIDE = 1 / 8
BANDS = ((0.0, 0.4), (0.4, 0.6), (0.6, 1.01))
"""Shares of its box that a thing fills: thin or bent, usual, box-like."""


class Measured(NamedTuple):
    """One instance: picture, share of its box that it fills, IoU of each segmenter's mask with COCO's."""

    image: str
    fill: float
    ious: dict[str, float]


def measure(folder: Path, limit: int | None = None) -> Iterator[Measured]:
    """Yield the instances of the first `limit` pictures, or of all. Raises `MissingData` where there are none."""
    from PIL import Image

    from radl_bench.judges.segmenters import BoxSegmenter, GrabCutSegmenter

    segmenters = {"grabcut": GrabCutSegmenter(), "box": BoxSegmenter()}
    for image, things in _pictures(folder, limit):
        with Image.open(folder / "val2017" / image["file_name"]) as opened:
            rgb = np.array(opened.convert("RGB"))
        truth = np.stack([_mask(a["segmentation"], *rgb.shape[:2]) for a in things])
        boxes = np.array([_fractions(a["bbox"], image) for a in things])
        masks = {name: segmenter.masks(rgb, boxes) for name, segmenter in segmenters.items()}
        for n in range(len(things)):
            ious = {name: _iou(mask[n], truth[n]) for name, mask in masks.items()}
            yield Measured(image["file_name"], float(truth[n].sum() / max(masks["box"][n].sum(), 1)), ious)


def _pictures(folder: Path, limit: int | None) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    file = folder / "instances_val2017.json"
    if not file.is_file():
        raise MissingData(f"There is no {file}. Give the folder of a COCO set with its pictures in val2017/.")
    data = json.loads(file.read_text(encoding="utf-8"))
    for image in sorted(data["images"], key=lambda row: row["id"])[:limit]:
        mine = [a for a in data["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
        large = [a for a in mine if _is_large(a["bbox"], image)]
        if large:
            yield image, large


def _is_large(box: list[float], image: dict[str, Any]) -> bool:
    return bool(box[2] >= LEAST_SIDE * image["width"] and box[3] >= LEAST_SIDE * image["height"])


def _fractions(box: list[float], image: dict[str, Any]) -> list[float]:
    x, y, w, h = box
    return [x / image["width"], y / image["height"], (x + w) / image["width"], (y + h) / image["height"]]


def _mask(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    from pycocotools import mask as coco

    runs = coco.frPyObjects(polygons, height, width)
    return np.asarray(coco.decode(coco.merge(runs)), bool)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    union = np.logical_or(a, b).sum()
    return float(np.logical_and(a, b).sum() / union) if union else 0.0


def table(measured: list[Measured]) -> str:
    """Return the Markdown table: mean IoU with its 95 % interval, by image, for all and by fill."""
    lines = ["| things | n | grabcut | box | grabcut - box |", "|---|---|---|---|---|"]
    bands = [("all", 0.0, 1.01), *((_name(low, high), low, high) for low, high in BANDS)]
    for name, low, high in bands:
        rows = [m for m in measured if low <= m.fill < high]
        pairs = [(m.ious["grabcut"], m.ious["box"]) for m in rows]
        columns = [[a for a, _ in pairs], [b for _, b in pairs], [a - b for a, b in pairs]]
        cells = [_cell([m.image for m in rows], values) for values in columns]
        lines.append(f"| {name} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _name(low: float, high: float) -> str:
    return f"fill {100 * low:.0f} to {100 * min(high, 1):.0f} % of their box"


def _cell(images: list[str], values: list[float]) -> str:
    from radl_bench.scoring.intervals import mean_interval, scaled
    from radl_bench.scoring.statistics import sample_sums

    if not values:
        return "-"
    mean, found = 100 * np.mean(values), scaled(mean_interval(sample_sums(images, values)), 100.0)
    return f"{mean:.1f} [{found.low:.1f}, {found.high:.1f}]" if found.low == found.low else f"{mean:.1f}"


def report(measured: list[Measured], limit: int | None = None) -> str:
    """Return the text of `reports/masks.md`."""
    pictures = len({m.image for m in measured})
    better = np.mean([m.ious["grabcut"] > m.ious["box"] for m in measured])
    some = "" if limit is None else f" --limit {limit}"
    return f"""# Masks without weights on real photographs

`python benchmarks/masks.py ../shared/data/coco_tiny{some}` wrote this page.

{len(measured)} things in {pictures} photographs of COCO val2017: those that are no crowd and at least an eighth of the
picture on both sides. Each is cut out from its true box; the numbers are the mean IoU, in per cent, of that mask with
COCO's segmentation, with 95 % intervals by photograph.

{table(measured)}

GrabCut's mask is the better one for {100 * better:.0f} % of the things. A difference whose interval
holds 0 shows neither to be better.
"""


def main() -> int:
    """Measure and write the report; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, help="only so many pictures, by id")
    parser.add_argument("--out", type=Path, default=Path("reports") / "masks.md")
    options = parser.parse_args()
    try:
        text = report(list(measure(options.folder, options.limit)), options.limit)
    except RadlBenchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    options.out.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
