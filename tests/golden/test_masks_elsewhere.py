"""`--detections` and `--masks` under `mig_bench_v1` against the plain reading of the public scorer, masks and all.

The masks are drawn at random and leave their boxes by far, as SAM's do; the public scorer looks at the whole mask.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.score import score_each
from tests.golden.mig_bench_reference import judge_image, summary
from tests.golden.test_hsv import plain_hsv, plain_rule
from tests.golden.test_mig_bench_v1 import PAINT, SIDE, random_scene
from tests.unit.test_result_files import rle


def spill(rng: np.random.Generator, box) -> np.ndarray:
    """Return a mask of part of a box and a disc anywhere in the image."""
    y, x = (np.mgrid[:SIDE, :SIDE] + 0.5) / SIDE
    inside = (
        (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3]) & (rng.random((SIDE, SIDE)) < rng.uniform(0.3, 1))
    )
    cx, cy, radius = rng.uniform(0, 1, 3)
    return inside | ((x - cx) ** 2 + (y - cy) ** 2 < (radius / 3) ** 2)


@pytest.mark.parametrize("compressed", [False, True])
def test_whole_masks_give_the_public_scorers_numbers(tmp_path, make_benchmark, compressed) -> None:
    rng = np.random.default_rng(11)
    scenes = [random_scene(rng, n) for n in range(60)]
    folder = make_benchmark([row for row, _, _ in scenes])
    with open(folder / "benchmark.toml", "a", encoding="utf-8") as stream:
        stream.write("[metrics.iou]\n")
    generator = {"name": "noise", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(tmp_path / "runs", load_benchmark(folder), generator, source=str(folder))
    detections, masks, judged = [], [], []
    with run.writer() as writer:
        for row, pixels, found in scenes:
            # colour outside of the boxes, so that a mask cut off at its box gives another number
            pixels[rng.random((SIDE, SIDE)) < 0.2] = list(PAINT.values())[rng.integers(7)]
            writer.write_image(row["id"], 0, 1, Image.fromarray(pixels), 0.0)
            by_class: dict[str, list] = {}
            for d in found:
                x0, y0, x1, y1 = d.box
                bbox = [x0 * SIDE, y0 * SIDE, (x1 - x0) * SIDE, (y1 - y0) * SIDE]
                detections.append({"image_id": row["id"], "category": d.category, "bbox": bbox, "score": d.score})
                by_class.setdefault(d.category, []).append((d.box, d.score))
            drawn = {}
            for i in row["instances"]:
                mask = drawn[tuple(i["box"])] = spill(rng, i["box"])
                x0, y0, x1, y1 = i["box"]
                bbox = [x0 * SIDE, y0 * SIDE, (x1 - x0) * SIDE, (y1 - y0) * SIDE]
                entry = {"image_id": row["id"], "category": i["category"], "bbox": bbox}
                masks.append(entry | {"segmentation": rle(mask, compressed)})

            def mask_of(box, drawn=drawn, pixels=pixels):
                return [tuple(map(int, p)) for p in pixels[drawn[box]]]

            labels = [(i["phrase"], tuple(i["box"])) for i in row["instances"]]
            judged.append(judge_image(labels, by_class, mask_of, lambda pixel: plain_rule(*plain_hsv(*pixel))))
    run.update_status()
    for name, rows in (("detections", detections), ("masks", masks)):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    (done,) = score_each(
        [run.path],
        detector=f"file:{tmp_path / 'detections.json'}",
        segmenter=f"file:{tmp_path / 'masks.json'}",
        encoder="none",
        protocol="mig_bench_v1",
    )
    scores = {(s["metric"], s["level"]): s["value"] for s in json.loads(done.file.read_text("utf-8"))["scores"]}
    got = [scores[name, None] for name in ("success_inst", "success_img", "miou")]
    assert got == pytest.approx(summary(judged), rel=1e-12)
    assert 10 < scores["success_inst", None] < 90  # neither hopeless nor trivial
