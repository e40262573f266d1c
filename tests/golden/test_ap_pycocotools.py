"""AP against pycocotools on small random cases, and the re-weighting of its bootstrap against copying images."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest

from radl_bench.metrics.average_precision import (
    PooledImage,
    PrecisionPool,
    _class_tables,
    average_precision,
    bootstrap_draws,
    weighted_ap,
)
from radl_bench.protocol import Boxes
from radl_bench.stats import resample_counts

CLASSES = ("car", "dog", "cup")


def random_images(seed: int, n: int = 14) -> list[PooledImage]:
    """Layouts of two to five boxes; detections near them, doubled, missed, and out of nowhere."""
    rng = np.random.default_rng(seed)
    images = []
    for number in range(n):
        wanted: dict[str, list] = {}
        found: dict[str, list] = {}
        for _ in range(rng.integers(2, 6)):
            name = CLASSES[rng.integers(3)]
            low, size = rng.uniform(0, 0.6, 2), rng.uniform(0.15, 0.4, 2)
            box = np.concatenate([low, low + size])
            wanted.setdefault(name, []).append(box)
            for _ in range(rng.integers(0, 3)):
                found.setdefault(name, []).append(box + rng.normal(0, 0.03, 4))
        for name in list(wanted):
            low = rng.uniform(0, 0.7, 2)
            found.setdefault(name, []).append(np.concatenate([low, low + 0.2]))
        scored = {c: Boxes(np.array(b), rng.uniform(0.05, 1, len(b))) for c, b in found.items()}
        boxes = {c: np.array(b) for c, b in wanted.items()}
        images.append(PooledImage(f"s{number // 2}", sum(map(len, boxes.values())), False, boxes, scored))
    return images


def pycocotools_ap(images: list[PooledImage]) -> list[float]:
    """Return AP, AP50, AP75 in per cent by pycocotools itself."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, seen = [], []
    for number, image in enumerate(images, 1):
        for label, name in enumerate(CLASSES):
            for x0, y0, x1, y1 in image.wanted.get(name, np.zeros((0, 4))) * 1000:
                bbox = [x0, y0, x1 - x0, y1 - y0]
                common = {"image_id": number, "category_id": label, "bbox": bbox, "area": bbox[2] * bbox[3]}
                truth.append(common | {"id": len(truth) + 1, "iscrowd": 0})
            if name in image.found:
                for box, score in zip(image.found[name].boxes * 1000, image.found[name].scores, strict=True):
                    bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
                    seen.append({"image_id": number, "category_id": label, "bbox": bbox, "score": score})
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": n + 1} for n in range(len(images))],
            "categories": [{"id": n, "name": name} for n, name in enumerate(CLASSES)],
            "annotations": truth,
        }
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(seen), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [100.0 * value for value in run.stats[:3]]


@pytest.mark.parametrize("seed", range(3))
def test_equals_pycocotools(seed: int) -> None:
    images = random_images(seed)
    assert average_precision(images) == pytest.approx(
        pycocotools_ap(images), abs=1e-4
    )  # torchmetrics answers in float32


@pytest.mark.parametrize("seed", range(3))
def test_own_curve_equals_pycocotools_when_every_image_counts_once(seed: int) -> None:
    images = random_images(seed)
    samples = {s: n for n, s in enumerate(dict.fromkeys(i.sample for i in images))}
    once = weighted_ap(list(_class_tables(images, samples)), np.ones((1, len(samples))))
    assert 100.0 * once[0] == pytest.approx(pycocotools_ap(images), abs=1e-10)


def test_a_bootstrap_draw_equals_copying_the_images() -> None:
    images = random_images(7)
    samples = list(dict.fromkeys(image.sample for image in images))
    draws = bootstrap_draws(images, 4, seed=1)
    for counts, draw in zip(np.concatenate(list(resample_counts(len(samples), 4, seed=1))), draws, strict=True):
        copies = [
            replace(image, sample=f"{sample}-{n}")
            for sample, count in zip(samples, counts, strict=True)
            for n in range(int(count))
            for image in images
            if image.sample == sample
        ]
        assert draw == pytest.approx(pycocotools_ap(copies), abs=1e-10)


def test_intervals_hold_the_value_and_levels_are_apart() -> None:
    pool = PrecisionPool(resamples=100)
    pool.images = random_images(2, n=40)
    for level in (None, 3):
        for estimate in pool.estimates(level).values():
            assert estimate.ci_low < estimate.value < estimate.ci_high
    alone = PrecisionPool(resamples=100)
    alone.images = [image for image in pool.images if image.level == 3]
    assert alone.estimates(None) == pool.estimates(3)
    assert alone.estimates(None)["ap"].n == 3 * len(alone.images)


def test_no_detection_gives_zero_and_no_box_gives_nan() -> None:
    blind = [replace(image, found={}) for image in random_images(0)]
    assert average_precision(blind) == (0.0, 0.0, 0.0)
    assert (bootstrap_draws(blind, 5) == 0).all()
    assert np.isnan(average_precision([])).all()
    assert np.isnan(PrecisionPool(10).estimates(None)["ap"].value)
