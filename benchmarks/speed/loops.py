"""Scoring a run beside the loops that other suites have: the same images, the same detector, CPU seconds of one thread.

    OMP_NUM_THREADS=1 python benchmarks/speed/loops.py [--images 1000] [--repeats 3]

The loops open one image after the other, ask the detector, say for every object whether a detection of its category
overlaps its box by IoU .5, and keep a row an image, as the evaluation scripts of GenEval (one forward an image) and
MIG_Bench (one forward an object) do; "a category" lies between them. Theirs have larger detectors, masks and colours,
which are left out on all sides: here the detector is the mini one, on rendered scenes of COCO-MIG's layouts. Ours is
the whole of `score`: success, mIoU and AP with their intervals, rows, and evidence on disk. All ways must agree on the
share of objects found. Ways take turns, and loading the models is not counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from radl_bench.api import generate
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.mini.judges.detector import MiniDetector
from radl_bench.scoring.protocol import box_iou
from radl_bench.scoring.score import score_runs
from radl_bench.types import Detection, Sample

METRICS = ("success", "iou", "average_precision")
Ask = Callable[[MiniDetector, Image.Image, Sample], list[Detection]]


def main() -> None:
    """Print a row a way."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=1000, help="rounded down to whole layouts")
    options.add_argument("--repeats", type=int, default=3)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), given)


def compare(top: Path, given: argparse.Namespace) -> None:
    """Make the images, time the ways in turn, and print the least of the repeats."""
    import torch

    torch.set_num_threads(1)
    benchmark, copies = benchmark_of(top / "things", given.images)
    run = generate(benchmark, "sprites", images_per_sample=copies, runs=top / "runs").run
    samples = load_benchmark(benchmark).samples
    by_id = {sample.id: sample for sample in samples}
    pairs = [(run / row["file"], by_id[row["sample_id"]]) for row in rows_of(run)]
    detector = MiniDetector()
    ways: dict[str, Callable[[], float]] = {"radl-bench": lambda: ours(run, top)}
    ways |= {name: lambda ask=ask: loop(detector, pairs, ask, top) for name, ask in LOOPS.items()}
    an_image(detector, Image.open(pairs[0][0]), pairs[0][1])  # loads the model
    ours(run, top)  # and here
    times: dict[str, list[float]] = {name: [] for name in ways}
    values: dict[str, float] = {}
    for turn in range(given.repeats):
        for name in np.roll(list(ways), turn).tolist():
            start = time.process_time()
            values[name] = ways[name]()
            times[name].append(time.process_time() - start)
    print(f"| {len(pairs):,} images, by | CPU s | ratio to ours | objects found, % |\n|---|---|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | {min(seconds):.2f} | {min(seconds) / min(times['radl-bench']):.2f} | {values[name]:.2f} |")


def an_image(detector: MiniDetector, image: Image.Image, sample: Sample) -> list[Detection]:
    """Ask for all categories in one forward."""
    return detector.detect([image], [[thing.category for thing in sample.instances]])[0]


def a_category(detector: MiniDetector, image: Image.Image, sample: Sample) -> list[Detection]:
    """Ask for one category after the other."""
    names = dict.fromkeys(thing.category for thing in sample.instances)
    return [found for name in names for found in detector.detect([image], [[name]])[0]]


def an_object(detector: MiniDetector, image: Image.Image, sample: Sample) -> list[Detection]:
    """Ask for every object's category, also where it was asked before."""
    return [found for thing in sample.instances for found in detector.detect([image], [[thing.category]])[0]]


LOOPS: dict[str, Ask] = {
    "one forward an image (GenEval)": an_image,
    "one forward a category": a_category,
    "one forward an object (MIG_Bench)": an_object,
}


def loop(detector: MiniDetector, pairs: Sequence[tuple[Path, Sample]], ask: Ask, top: Path) -> float:
    """Judge one image after the other and write a row each; return the share of objects found, per cent."""
    rows = []
    for file, sample in pairs:
        with Image.open(file) as image:
            found = [d for d in ask(detector, image.convert("RGB"), sample) if d.score >= detector.thresholds["score"]]
        verdicts = [is_there(thing.category, thing.box, found) for thing in sample.instances]
        rows.append({"file": file.name, "correct": verdicts, "found": [(d.category, d.box, d.score) for d in found]})
    (top / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return 100 * float(np.mean([verdict for row in rows for verdict in row["correct"]]))


def is_there(category: str, box: Sequence[float], found: Sequence[Detection]) -> bool:
    """Return whether a detection of the category overlaps the box by IoU .5."""
    boxes = [d.box for d in found if d.category == category]
    return bool(boxes) and bool(box_iou(np.array([box]), np.array(boxes)).max() >= 0.5)


def ours(run: Path, top: Path) -> float:
    """Score a copy of the run that has no evidence yet; return the share of objects found, per cent."""
    copy = top / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    # The loops let objects share a detection, so this does too, and drops no overlapping boxes.
    (file,) = score_runs([copy], segmenter="box", encoder="none", protocol="mig_bench_v1", nms=1.0)
    scores = json.loads(file.read_text())["scores"]
    return next(s["value"] for s in scores if s["metric"] == "success_inst" and s["level"] is None)


def rows_of(run: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a run's images."""
    for file in sorted(run.glob("generations-*.jsonl")):
        yield from map(json.loads, file.read_text().splitlines())


def benchmark_of(folder: Path, images: int) -> tuple[Path, int]:
    """Write COCO-MIG's layouts without colours; return the folder and how many images of each are to be made."""
    copies = -(-images // len(load_benchmark("coco-mig").samples))
    samples = load_benchmark("coco-mig", limit=images // copies).samples
    lines = []
    for sample in samples:
        things = [
            {"phrase": f"a {i.category}", "category": i.category, "color": None, "box": list(i.box)}
            for i in sample.instances
        ]
        row = {"id": sample.id, "prompt": "a photo", "instances": things, "relations": [], "verbs": ""}
        lines.append(json.dumps(row) + "\n")
    data = "".join(lines).encode()
    folder.mkdir(parents=True)
    (folder / "samples.jsonl").write_bytes(data)
    fields = {"name": "things", "version": "1", "license": "CC0-1.0", "citation": "none", "images_per_sample": 1}
    fields |= {"resolution": 128, "samples_sha256": hashlib.sha256(data).hexdigest()}
    text = [f"{key} = {json.dumps(value)}" for key, value in fields.items()] + [f"[metrics.{m}]" for m in METRICS]
    (folder / "benchmark.toml").write_text("\n".join(text) + "\n", "utf-8")
    return folder, copies


if __name__ == "__main__":
    main()
