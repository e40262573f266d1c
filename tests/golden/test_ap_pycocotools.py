"""AP against pycocotools and torchmetrics, and AP of some samples against pycocotools on these.

The real case is the 80 photographs of COCO_Tiny with the detections of a real detector, all 80 classes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from radl_bench.scoring.metrics import View
from radl_bench.scoring.metrics.ap_curve import weighted_ap
from radl_bench.scoring.metrics.ap_parts import ApParts, ap_tests, ap_values, class_tables, image_order
from radl_bench.scoring.metrics.average_precision import PrecisionPool
from radl_bench.scoring.metrics.matching import THRESHOLDS
from radl_bench.scoring.protocol import Boxes, box_iou
from radl_bench.types import Instance, Sample

SHARED = Path(os.environ.get("RADL_BENCH_SHARED", Path(__file__).parents[3] / "shared"))
CLASSES = ("car", "dog", "cup")


@dataclass(frozen=True)
class Picture:
    """Boxes of one image by category: the layout's [G, 4] and the detections."""

    sample: str
    wanted: dict[str, np.ndarray]
    found: dict[str, Boxes]

    @property
    def view(self) -> View:
        boxes = [(name, tuple(box)) for name, boxes in self.wanted.items() for box in boxes.tolist()]
        instances = tuple(Instance(f"a {name}", name, None, box) for name, box in boxes)
        return View(Sample(self.sample, "p", instances), 0, found=self.found)


def pool_of(images: list[Picture]) -> PrecisionPool:
    pool = PrecisionPool()
    for image in images:
        pool.add(image.view)
    return pool


def own_ap(images: list[Picture]) -> list[float]:
    return [estimate.value for estimate in pool_of(images).estimates(None).values()]


def random_images(seed: int, n: int = 14) -> list[Picture]:
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
        images.append(Picture(f"s{number // 2}", {c: np.array(b) for c, b in wanted.items()}, scored))
    return images


def pycocotools_ap(images: list[Picture], classes: Sequence[str] = CLASSES) -> list[float]:
    """Return AP, AP50, AP75 in per cent by pycocotools itself."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, seen = [], []
    for number, image in enumerate(images, 1):
        for label, name in enumerate(classes):
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
            "categories": [{"id": n, "name": name} for n, name in enumerate(classes)],
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
    assert own_ap(images) == pytest.approx(pycocotools_ap(images), rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_equal_scores_stand_in_the_order_of_image_numbers_as_in_pycocotools(seed: int) -> None:
    """Scores of one digit, so that most are equal, and samples that come in any order."""
    rng = np.random.default_rng(seed)
    images = [
        replace(image, sample=str(number), found={c: Boxes(b.boxes, b.scores.round(1)) for c, b in image.found.items()})
        for number, image in enumerate(random_images(seed, n=30), 1)
    ]
    shuffled = [images[n] for n in rng.permutation(len(images))]
    assert own_ap(shuffled) == pytest.approx(pycocotools_ap(images), rel=1e-12)
    assert own_ap(shuffled) != pytest.approx(pycocotools_ap(shuffled), rel=1e-12)  # the case tells the orders apart


def test_the_order_of_images_reads_numbers_as_numbers() -> None:
    names = [("s_10", 0), ("s_9", 1), ("s_9", 0), ("b", 0), ("007", 0), ("10", 0), ("s_9" + "0" * 5000, 0)]
    assert [names[n] for n in np.argsort(image_order(names))] == [
        ("007", 0),
        ("10", 0),
        ("b", 0),
        ("s_9", 0),
        ("s_9", 1),
        ("s_10", 0),
        ("s_9" + "0" * 5000, 0),
    ]


def test_parts_are_kept_and_read_and_taken_apart(tmp_path) -> None:
    parts = pool_of(random_images(5)).parts()
    np.savez(tmp_path / "parts.npz", **parts.arrays())
    with np.load(tmp_path / "parts.npz", allow_pickle=False) as arrays:
        read = ApParts.from_arrays(arrays)
        with pytest.raises(ValueError, match="do not fit"):
            ApParts.from_arrays({key: arrays[key] for key in arrays.files} | {"score": np.zeros(1)})
    assert (ap_values(read) == ap_values(parts)).all()
    taken = parts.take(parts.samples[4:1:-1])
    images = [image for image in random_images(5) if image.sample in taken.samples]
    assert 100 * ap_values(taken) == pytest.approx(pycocotools_ap(images), rel=1e-12)


def test_a_swap_equals_scoring_the_swapped_images(monkeypatch) -> None:
    one = random_images(8)
    other = [replace(y, wanted=x.wanted) for x, y in zip(one, random_images(9), strict=True)]
    a, b = pool_of(one).parts(), pool_of(other).parts()
    seen = []
    monkeypatch.setattr(
        "radl_bench.scoring.metrics.ap_parts.swap_tests", lambda f, w, **_: seen.append(f) or [None] * 3
    )
    ap_tests(a, b)
    swap = np.array([1.0, -1, -1, 1, 1, -1, 1])
    keep = {sample: sign > 0 for sample, sign in zip(a.samples, swap, strict=True)}
    first = [x if keep[x.sample] else y for x, y in zip(one, other, strict=True)]
    second = [y if keep[x.sample] else x for x, y in zip(one, other, strict=True)]
    gap = np.array(pycocotools_ap(first)) - pycocotools_ap(second)
    assert 100 * seen[0](swap[None])[0] == pytest.approx(gap, abs=1e-10)


def test_equals_torchmetrics() -> None:
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    images = random_images(4)
    # its own thresholds are float32, and a recall of exactly .7 would fall on the other side
    metric = MeanAveragePrecision(
        iou_thresholds=THRESHOLDS.tolist(),
        rec_thresholds=np.linspace(0, 1, 101).tolist(),
        backend="faster_coco_eval",
    )

    def labelled(boxes: dict[str, np.ndarray]) -> dict:
        labels = [CLASSES.index(name) for name, b in boxes.items() for _ in b]
        stacked = np.concatenate([np.zeros((0, 4)), *boxes.values()]) * 1000.0
        return {"boxes": torch.from_numpy(stacked), "labels": torch.tensor(labels)}

    for image in images:
        scores = torch.from_numpy(np.concatenate([b.scores for b in image.found.values()]))
        seen = labelled({name: b.boxes for name, b in image.found.items()}) | {"scores": scores}
        metric.update([seen], [labelled(image.wanted)])
    result = metric.compute()
    theirs = [100.0 * float(result[key]) for key in ("map", "map_50", "map_75")]
    assert own_ap(images) == pytest.approx(theirs, abs=1e-4)  # torchmetrics answers in float32


def test_equals_pycocotools_on_coco_tiny_with_a_real_detector() -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth_file = SHARED / "data" / "coco_tiny" / "instances_val2017.json"
    if not truth_file.is_file():
        pytest.skip("COCO_Tiny is not at hand; set RADL_BENCH_SHARED")
    truth = json.loads(truth_file.read_text("utf-8"))
    seen = json.loads((truth_file.parent / "nanodet_detections.json").read_text("utf-8"))
    number = {image["file_name"]: image["id"] for image in truth["images"]}
    seen = [{k: d[k] for k in ("category_id", "bbox", "score")} | {"image_id": number[d["file"]]} for d in seen]
    # a layout knows no crowds; COCO would let a detection inside of one go
    truth["annotations"] = [a | {"iscrowd": 0} for a in truth["annotations"] if not a.get("iscrowd", 0)]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"info": {}} | truth
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(seen), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    # equal scores stand in the order of the images' numbers, whatever order they come in
    files = [truth["images"][n] for n in np.random.default_rng(0).permutation(len(truth["images"]))]
    images = [coco_picture(image, truth["annotations"], seen) for image in files]
    assert sum(len(b) for i in images for b in i.wanted.values()) == len(truth["annotations"])
    assert own_ap(images) == pytest.approx([100.0 * v for v in run.stats[:3]], rel=1e-12)
    assert own_ap(images)[0] > 10


def coco_picture(image: dict, truth: list[dict], seen: list[dict]) -> Picture:
    """Return the boxes of a photograph as fractions of its sides, which are not equal: IoU does not mind."""
    scale = np.array([image["width"], image["height"]] * 2)

    def xyxy(rows: list[dict]) -> np.ndarray:
        boxes = np.array([row["bbox"] for row in rows], float).reshape(-1, 4)
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1) / scale

    def by_class(rows: list[dict]) -> dict[str, list[dict]]:
        found: dict[str, list[dict]] = {}
        for row in rows:
            if row["image_id"] == image["id"]:
                found.setdefault(str(row["category_id"]), []).append(row)
        return found

    wanted = {name: xyxy(rows) for name, rows in by_class(truth).items()}
    found = {n: Boxes(xyxy(rows), np.array([r["score"] for r in rows])) for n, rows in by_class(seen).items()}
    return Picture(str(image["id"]), wanted, found)


@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_ap_of_some_samples_equals_pycocotools_on_them(kept: float) -> None:
    """What every subset of the interval and every swap of the test rests on."""
    images = random_images(7)
    samples = list(dict.fromkeys(image.sample for image in images))
    chosen = set(np.random.default_rng(1).permutation(samples)[: max(2, round(kept * len(samples)))])
    parts = pool_of(images).parts()
    counts = np.array([[float(sample in chosen) for sample in parts.samples]])
    there = pycocotools_ap([image for image in images if image.sample in chosen])
    assert 100.0 * weighted_ap(class_tables(parts), counts)[0] == pytest.approx(there, abs=1e-10)


def test_chunks_do_not_show(monkeypatch) -> None:
    tables = class_tables(pool_of(random_images(3)).parts())
    counts = np.random.default_rng(0).integers(0, 3, (40, 7)).astype(float)
    whole = weighted_ap(tables, counts)
    monkeypatch.setattr("radl_bench.scoring.metrics.ap_curve._CHUNK", 50)
    assert weighted_ap(tables, counts) == pytest.approx(whole, rel=1e-12)


def test_intervals_hold_the_value_and_levels_are_apart() -> None:
    images = random_images(2, n=40)
    images = [replace(image, sample=f"{image.sample}-{image.view.sample.level}") for image in images]
    pool = pool_of(images)
    for level in (None, 3):
        for estimate in pool.estimates(level).values():
            assert estimate.ci_low < estimate.value < estimate.ci_high
    alone = pool_of([image for image in images if image.view.sample.level == 3])
    for one, other in zip(alone.estimates(None).values(), pool.estimates(3).values(), strict=True):
        assert one == other
    assert alone.estimates(None)["ap"].n == 3 * sum(image.view.sample.level == 3 for image in images)


def test_no_detection_gives_zero_and_no_box_gives_nan() -> None:
    blind = [replace(image, found={}) for image in random_images(0)]
    found = pool_of(blind).estimates(None)["ap"]
    assert found.value == 0.0
    assert np.isnan(found.ci_low)
    assert "samples" in found.note
    assert np.isnan(PrecisionPool().estimates(None)["ap"].value)


def test_a_missing_image_counts_its_boxes_as_not_found() -> None:
    images = random_images(1)
    lost = PrecisionPool()
    for image in images:
        lost.add(image.view)
    lost.add(replace(images[0].view, sample=replace(images[0].view.sample, id="gone"), problem="it is gone", found={}))
    extra = images[0].view.sample.level
    assert lost.estimates(None)["ap"].n_missing == extra
    assert lost.estimates(None)["ap"].value == pytest.approx(
        pycocotools_ap([*images, replace(images[0], found={})])[0], rel=1e-12
    )


def test_matching_prefers_the_best_free_box_and_the_overlap_is_that_of_box_iou() -> None:
    from radl_bench.scoring.metrics.matching import _iou, right_bits

    rng = np.random.default_rng(0)
    a, b = (np.sort(rng.uniform(0, 1, (20, 2, 2)), axis=1).reshape(20, 4) for _ in range(2))
    plain = np.array([[_iou(x, y) for y in b.tolist()] for x in a.tolist()])
    assert plain == pytest.approx(box_iou(a, b), abs=1e-15)
    box, near = [0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.8]
    assert right_bits([box, box, box], [box, near]) == [0b1111111111, 0b0001111111, 0]
    assert right_bits([box], []) == [0]


@pytest.mark.slow
def test_ap_of_6400_images_with_six_boxes_takes_less_time_than_pycocotools_on_an_eighth() -> None:
    """With its intervals; 38,400 boxes and as many detections, 80 classes, 800 layouts. Seconds are the processor's."""
    from time import process_time

    rng = np.random.default_rng(0)
    images = []
    for n in range(6400):
        if n % 8 == 0:
            low = rng.uniform(0, 0.6, (6, 2))
            boxes = np.concatenate([low, low + rng.uniform(0.1, 0.4, (6, 2))], axis=1)
            names = [str(c) for c in rng.choice(80, 6, replace=False)]
        found = {
            c: Boxes(b[None] + rng.normal(0, 0.05, 4), rng.uniform(0.05, 1, 1))
            for c, b in zip(names, boxes, strict=True)
        }
        images.append(Picture(f"s{n // 8}", {c: b[None] for c, b in zip(names, boxes, strict=True)}, found))
    views = [image.view for image in images]
    start = process_time()
    pool = PrecisionPool()
    for view in views:
        pool.add(view)
    assert 0 < pool.estimates(None)["ap"].value < 100
    own = process_time() - start
    start = process_time()
    assert pycocotools_ap(images[::8], [str(c) for c in range(80)])[0] > 0
    assert own < process_time() - start
