"""AP and the Frechet distance beside their peers: the same inputs, the same process, CPU seconds of one thread.

    OMP_NUM_THREADS=1 python benchmarks/speed/peers.py [--images 6400] [--instances 6] [--repeats 3]

AP: layouts of 40 categories with two detections an instance. Peers give the value alone; ours stands once so, and once
with the intervals of AP, AP50 and AP75. Frechet: moments of 2,048 numbers at hand; values are compared, too. A peer
that is not installed has no row.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Callable

import numpy as np

from radl_bench.scoring.metrics import View
from radl_bench.scoring.metrics.ap_parts import ap_values
from radl_bench.scoring.metrics.average_precision import PrecisionPool
from radl_bench.scoring.metrics.frechet import Moments, frechet_distance
from radl_bench.scoring.protocol import Boxes
from radl_bench.types import Instance, Sample

CATEGORIES = [f"thing {n}" for n in range(40)]


def main() -> None:
    """Print a row a way of computing each number, with its ratio to ours."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=6400)
    options.add_argument("--instances", type=int, default=6)
    options.add_argument("--dimensions", type=int, default=2048)
    options.add_argument("--repeats", type=int, default=3)
    given = options.parse_args()
    print("| what | by | CPU s | ratio to ours | value |\n|---|---|---|---|---|")
    wanted, found = scenes(given.images, given.instances)
    ways = {
        "radl-bench": lambda: own(wanted, found, False),
        "radl-bench, with intervals": lambda: own(wanted, found, True),
    }
    ways |= {
        "pycocotools": lambda: coco(wanted, found, "pycocotools"),
        "faster-coco-eval": lambda: coco(wanted, found, ""),
    }
    compare(
        f"AP of {given.images:,} images x {given.instances}",
        ways | {"torchmetrics": lambda: metrics(wanted, found)},
        given,
    )
    one, two = moments(given.dimensions, 0), moments(given.dimensions, 1)
    ways = {"radl-bench": lambda: frechet_distance(one, two), "clean-fid": lambda: clean(one, two)}
    compare(
        f"Frechet distance, {given.dimensions} numbers", ways | {"torchmetrics": lambda: torch_fid(one, two)}, given
    )


def compare(what: str, ways: dict[str, Callable[[], float]], given: argparse.Namespace) -> None:
    """Print the rows of one number; the least CPU time of the repeats stands."""
    ours = None
    for name, way in ways.items():
        try:
            seconds, value = min(timed(way) for _ in range(given.repeats))
        except ImportError:
            continue
        ours = seconds if ours is None else ours
        print(f"| {what} | {name} | {seconds:.2f} | {seconds / ours:.1f} | {value:.6g} |", flush=True)


def timed(way: Callable[[], float]) -> tuple[float, float]:
    """Return CPU seconds and the value."""
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.process_time()
        value = way()
        return time.process_time() - start, float(value)


Scene = list[tuple[int, np.ndarray]]


def scenes(images: int, instances: int) -> tuple[list[Scene], list[list[tuple[int, np.ndarray, float]]]]:
    """Return boxes by image with their categories, and detections: one near each box and one out of nowhere."""
    rng = np.random.default_rng(0)
    wanted, found = [], []
    for _ in range(images):
        labels = rng.integers(len(CATEGORIES), size=instances)
        low, size = rng.uniform(0, 0.6, (instances, 2)), rng.uniform(0.15, 0.4, (instances, 2))
        boxes = np.concatenate([low, low + size], axis=1)
        near, far = boxes + rng.normal(0, 0.03, boxes.shape), np.concatenate([low[::-1], low[::-1] + 0.2], axis=1)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 0.01)
        scores = rng.uniform(0.05, 1, (2, instances))
        wanted.append(list(zip(labels.tolist(), boxes, strict=True)))
        found.append(
            [
                (c, b, s)
                for bs, ss in ((near, scores[0]), (far, scores[1]))
                for c, b, s in zip(labels.tolist(), bs, ss.tolist(), strict=True)
            ]
        )
    return wanted, found


def own(wanted, found, intervals: bool) -> float:
    """Ours, from the views of the images."""
    pool = PrecisionPool()
    for n, (boxes, seen) in enumerate(zip(wanted, found, strict=True)):
        things = tuple(Instance(f"a {CATEGORIES[c]}", CATEGORIES[c], None, tuple(b.tolist())) for c, b in boxes)
        by: dict[str, list[tuple[np.ndarray, float]]] = {}
        for c, box, score in seen:
            by.setdefault(CATEGORIES[c], []).append((box, score))
        arrays = {name: Boxes(np.stack([b for b, _ in of]), np.array([s for _, s in of])) for name, of in by.items()}
        pool.add(View(Sample(f"s{n:05d}", "p", things), 0, found=arrays))
    return pool.estimates(None)["ap"].value if intervals else 100 * float(ap_values(pool.parts())[0])


def coco(wanted, found, package: str) -> float:
    """pycocotools, or faster-coco-eval, from the dictionaries that both take."""
    if package:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    else:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    truth, seen = [], []
    for n, (boxes, detections) in enumerate(zip(wanted, found, strict=True), 1):
        for c, b in boxes:
            x, y, w, h = _xywh(b)
            truth.append(
                {
                    "image_id": n,
                    "category_id": c + 1,
                    "bbox": [x, y, w, h],
                    "area": w * h,
                    "id": len(truth) + 1,
                    "iscrowd": 0,
                }
            )
        seen += [{"image_id": n, "category_id": c + 1, "bbox": _xywh(b), "score": s} for c, b, s in detections]
    data = COCO()
    data.dataset = {
        "info": {},
        "images": [{"id": n} for n in range(1, len(wanted) + 1)],
        "categories": [{"id": n, "name": name} for n, name in enumerate(CATEGORIES, 1)],
        "annotations": truth,
    }
    data.createIndex()
    run = COCOeval(data, data.loadRes(seen), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return 100 * float(run.stats[0])


def metrics(wanted, found) -> float:
    """MeanAveragePrecision of torchmetrics, from tensors."""
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    metric = MeanAveragePrecision(backend="faster_coco_eval")
    metric.update(
        [
            {
                "boxes": torch.tensor(np.stack([b for _, b, _ in d]) * 1000),
                "scores": torch.tensor([s for *_, s in d]),
                "labels": torch.tensor([c for c, *_ in d]),
            }
            for d in found
        ],
        [
            {"boxes": torch.tensor(np.stack([b for _, b in t]) * 1000), "labels": torch.tensor([c for c, _ in t])}
            for t in wanted
        ],
    )
    return 100 * float(metric.compute()["map"])


def _xywh(box: np.ndarray) -> list[float]:
    x0, y0, x1, y1 = (1000 * box).tolist()
    return [x0, y0, x1 - x0, y1 - y0]


def moments(dimensions: int, seed: int) -> Moments:
    """Return the moments of 6,400 vectors."""
    vectors = np.random.default_rng(seed).normal(size=(6400, dimensions)) * np.linspace(0.1, 1, dimensions)
    return Moments(len(vectors), vectors.mean(axis=0), np.cov(vectors, rowvar=False))


def clean(one: Moments, two: Moments) -> float:
    """clean-fid."""
    from cleanfid.fid import frechet_distance as theirs

    return float(theirs(one.mean, one.cov, two.mean, two.cov))


def torch_fid(one: Moments, two: Moments) -> float:
    """torchmetrics."""
    import torch
    from torchmetrics.image.fid import _compute_fid

    return float(_compute_fid(*(torch.from_numpy(array) for of in (one, two) for array in (of.mean, of.cov))))


if __name__ == "__main__":
    main()
