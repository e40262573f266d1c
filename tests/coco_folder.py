"""COCO's two annotation files, made up: random images with boxes, crowd regions and captions."""

from __future__ import annotations

import json
import random
from pathlib import Path

NAMES = ["person", "car", "dog", "cup", "bench", "hot dog"]


def annotations(images: int = 60, seed: int = 0) -> tuple[dict, dict]:
    """COCO's two files for random images of 1 to 9 boxes; one in ten holds a crowd region or lacks a caption."""
    rng = random.Random(seed)
    instances = {"images": [], "annotations": [], "categories": [{"id": i + 1, "name": n} for i, n in enumerate(NAMES)]}
    captions = {"images": [], "annotations": []}
    for key in rng.sample(range(1000), images):
        width, height = rng.choice([(640, 480), (480, 640), (500, 375)])
        name = f"COCO_val2014_{key:012d}.jpg"
        instances["images"].append({"id": key, "file_name": name, "width": width, "height": height, "license": 1})
        for _ in range(rng.randint(1, 9)):
            w, h = (rng.uniform(0.08, 0.6) * side for side in (width, height))
            box = [round(rng.uniform(0, width - w), 2), round(rng.uniform(0, height - h), 2), round(w, 2), round(h, 2)]
            row = {"id": rng.randrange(10**9), "image_id": key, "category_id": rng.randint(1, 6), "bbox": box}
            crowd = {"iscrowd": int(rng.random() < 0.02), "segmentation": [[0, 0, 1, 1]], "area": w * h / 2}
            instances["annotations"].append(row | crowd)
        for n in range(0 if rng.random() < 0.05 else 5):
            text = f"A dog number {n}\n leaning  against a car "
            captions["annotations"].append({"id": rng.randrange(10**9), "image_id": key, "caption": text})
    return instances, captions


def write(folder: Path, instances: object, captions: object) -> Path:
    """Write them where COCO has them and return the folder."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for kind, content in (("instances", instances), ("captions", captions)):
        (folder / "annotations" / f"{kind}_val2014.json").write_text(json.dumps(content))
    return folder
