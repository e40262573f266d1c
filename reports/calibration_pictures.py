"""Ten pictures of the calibration with their boxes; see `calibrate.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from radl_bench.benchmarks.builders.coco import CocoImage, read_images
from radl_bench.benchmarks.builders.coco_position import MOST_INSTANCES, SMALLEST_SIDE, kept_things
from radl_bench.scoring.protocol import resolve_protocol

STRICT = resolve_protocol("strict")


def fit(image: CocoImage) -> bool:
    """Say whether a photograph passes COCO-Position's filters, but for the caption that these have not."""
    kept = kept_things(image)
    classes = {t.category for t in kept}
    small = any(t.category in classes for t in image.things if t.side < SMALLEST_SIDE)
    return 0 < len(kept) <= MOST_INSTANCES and not small and not any(t.crowd for t in image.things)


def draw(shared: Path, folder: Path | None) -> None:
    """Draw ten pictures with boxes into `folder`, or the boxes alone into calibration.png."""
    from PIL import Image, ImageDraw

    panels = []
    for file, annotated, found in _ten(shared):
        picture = Image.open(file).convert("RGB")
        canvas = picture if folder else Image.new("RGB", picture.size, "white")
        pen = ImageDraw.Draw(canvas)
        for color, boxes in (("green", annotated), ("red", found)):
            for name, (x0, y0, x1, y1) in boxes:
                pen.rectangle((x0, y0, x1, y1), outline=color, width=3)
                pen.text((x0 + 4, y0 + 2 if color == "red" else y1 - 26), name, fill=color, font_size=22)
        if folder:
            canvas.save(folder / f"{file.stem}.png")
        panel = Image.new("RGB", (320, 344), "white")
        panel.paste(canvas.resize((312, 312)), (4, 28))
        ImageDraw.Draw(panel).text((4, 6), file.stem, fill="black", font_size=16)
        ImageDraw.Draw(panel).rectangle((3, 27, 316, 340), outline="grey")
        panels.append(panel)
    if folder is None:
        sheet = Image.new("RGB", (5 * 320, 2 * 344), "white")
        for n, panel in enumerate(panels):
            sheet.paste(panel, (n % 5 * 320, n // 5 * 344))
        sheet.quantize(16).save(Path(__file__).with_name("calibration.png"), optimize=True)


def _ten(shared: Path) -> Iterable[tuple[Path, list, list]]:
    """Yield five photographs and five made pictures with their annotated and their found boxes in pixels."""
    coco, made = shared / "coco_tiny", shared / "drawbench"
    known = {i.file_name: i for i in read_images(coco / "instances_val2017.json").values() if fit(i)}
    several = [name for name, image in known.items() if len(kept_things(image)) >= 3][:5]
    names = [f"{s}.jpg" for s in ("colors_006", "colors_024", "counting_040", "positional_117", "positional_128")]
    for folder, files, results in (
        (coco / "val2017", several, coco / "nanodet_detections.json"),
        (made / "sd14", names, made / "sd14_nanodet_detections.json"),
    ):
        entries = json.loads(results.read_text("utf-8"))
        for name in files:
            rows = [e for e in entries if e["file"] == name and e["score"] >= STRICT.score]
            found = [(e["category"], _corners(e["bbox"])) for e in rows]
            yield folder / name, _annotated(folder / name, known.get(name)), found


def _corners(box: list[float]) -> tuple[float, float, float, float]:
    return box[0], box[1], box[0] + box[2], box[1] + box[3]


def _annotated(file: Path, image: CocoImage | None) -> list:
    from PIL import Image

    if image is None:
        return []
    width, height = Image.open(file).size
    return [
        (t.category, (t.box[0] * width, t.box[1] * height, t.box[2] * width, t.box[3] * height)) for t in image.things
    ]
