"""Speed and memory of scoring, without the judges' own time: cheap judges, real rows, real files.

    python benchmarks/speed/scoring.py               the table
    python benchmarks/speed/scoring.py --rows 5000   one size, as JSON (what the table runs, each in its own process)

A run of 100 layouts is made with as many images each as the rows ask for; every image has the rows of success, mIoU,
CLIP and Local CLIP, pools for AP, FID and KID, and detections, masks, cosines and features as evidence. It is scored
twice: the first time measures, the second reads evidence.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIZES = (1_000, 10_000, 100_000)
LAYOUTS = 100
SIDE = 16
JUDGES = """
import zlib
import numpy as np
from radl_bench.types import Detection


class Judge:
    signature = "cheap"

    def detect(self, images, queries):
        return [self._found(image, names) for image, names in zip(images, queries)]

    def _found(self, image, names):
        return [self._box(image, name, n) for name in names for n in range(3)]

    def _box(self, image, name, n):
        rng = np.random.default_rng(zlib.crc32(image.tobytes()) + n)
        x, y = rng.uniform(0, 0.5, 2)
        return Detection(name, (x, y, x + 0.4, y + 0.4), float(rng.uniform(0.05, 1)))

    def encode_images(self, images):
        return self._unit([zlib.crc32(image.tobytes()) for image in images])

    def encode_texts(self, texts):
        return self._unit([zlib.crc32(text.encode()) for text in texts])

    def features(self, images):
        return np.stack([np.random.default_rng(zlib.crc32(i.tobytes())).normal(size=64) for i in images])

    def _unit(self, seeds):
        found = np.stack([np.random.default_rng(seed).normal(size=16) for seed in seeds])
        return found / np.linalg.norm(found, axis=1, keepdims=True)
"""
METRICS = ("success", "iou", "average_precision", "clip_score", "fid")


def make_benchmark(folder: Path) -> Path:
    """Write a benchmark of 100 layouts with 2 to 6 instances."""
    import hashlib

    rng = np.random.default_rng(0)
    lines = []
    for n in range(LAYOUTS):
        things = []
        for _ in range(2 + n % 5):
            x, y = rng.uniform(0, 0.5, 2).round(3).tolist()
            name, color = f"thing {rng.integers(40)}", ("red", "blue", "green")[rng.integers(3)]
            box = [x, y, round(x + 0.4, 3), round(y + 0.4, 3)]
            things.append({"phrase": f"a {color} {name}", "category": name, "color": color, "box": box})
        row = {"id": f"s{n:03d}", "prompt": f"prompt {n}", "instances": things, "relations": [], "verbs": ""}
        lines.append(json.dumps(row) + "\n")
    data = "".join(lines).encode()
    folder.mkdir(parents=True)
    (folder / "samples.jsonl").write_bytes(data)
    fields = {"name": "speed", "version": "1", "license": "CC0-1.0", "citation": "none", "images_per_sample": 1}
    fields |= {"resolution": SIDE, "samples_sha256": hashlib.sha256(data).hexdigest()}
    text = [f"{key} = {json.dumps(value)}" for key, value in fields.items()] + [f"[metrics.{m}]" for m in METRICS]
    (folder / "benchmark.toml").write_text("\n".join(text) + "\n", "utf-8")
    return folder


def make_run(root: Path, folder: Path, images: int) -> Path:
    """Write a run of small pictures of noise; its files are not forced to the disk, since making it is not measured."""
    from PIL import Image

    from radl_bench.benchmarks.loading import load_benchmark
    from radl_bench.runs.store import RunFolder

    benchmark = load_benchmark(folder)
    generator = {"name": "noise", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(root, benchmark, generator, source=str(folder), images_per_sample=images)
    fsync, os.fsync = os.fsync, lambda _: None
    rng = np.random.default_rng(1)
    with run.writer() as writer:
        for sample in benchmark.samples:
            for k in range(images):
                pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
                writer.write_image(sample.id, k, 1, Image.fromarray(pixels), 0.0)
    os.fsync = fsync
    run.update_status()
    return run.path


def make_reference(file: Path) -> None:
    """Write a reference of 64 numbers for FID and KID."""
    from radl_bench.scoring.fid_reference import Reference, write_reference
    from radl_bench.scoring.metrics.frechet import moments_of

    vectors = np.random.default_rng(2).normal(size=(2048, 64)).astype(np.float32)
    write_reference(Reference("noise", moments_of([vectors], [vectors]), "cheap", (), "", vectors), file)


def measure(rows: int) -> dict[str, float]:
    """Make a run with about this many rows, score it twice in a process of its own each, and return what it took."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "cheap.py").write_text(JUDGES, "utf-8")
        make_reference(root / "reference.npz")
        per_layout = sum(2 + 3 * level for level in (2, 3, 4, 5, 6)) * LAYOUTS // 5  # rows, at one image a layout
        run = make_run(root / "runs", make_benchmark(root / "speed"), max(1, math.ceil(rows / per_layout)))
        first, second = (scoring(run, root) for _ in range(2))
        return {"rows": second["rows"], "first": first, "second": second}  # type: ignore[dict-item]


def scoring(run: Path, root: Path) -> dict[str, float]:
    """Score a run in a new process; return rows, CPU seconds and peak memory in MB."""
    words = [sys.executable, __file__, "--score", str(run), str(root)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def score(run: Path, root: Path) -> None:
    """Score and print what it took; the peak is the process's own, interpreter and libraries included."""
    import pyarrow.parquet as pq

    from radl_bench.scoring.score import score_runs

    judge = f"{root / 'cheap.py'}:Judge"
    start = time.process_time()
    options = {"detector": judge, "segmenter": "box", "encoder": judge, "features": judge}
    score_runs([run], **options, fid_reference=root / "reference.npz")
    rows = pq.ParquetFile(next((run / "scores").glob("*/rows-*.parquet"))).metadata.num_rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "cpu_s": time.process_time() - start, "peak_mb": peak}))


def main() -> None:
    """Print one measurement, or the table of all sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="one size")
    parser.add_argument("--score", nargs=2, type=Path, metavar=("RUN", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.score:
        score(*given.score)
        return
    sizes = (given.rows,) if given.rows else SIZES
    results = [measure(rows) for rows in sizes]
    if given.rows:
        print(json.dumps(results[0]))
        return
    print("| rows | first, CPU s | first, peak MB | again, CPU s | again, peak MB |\n| --- | --- | --- | --- | --- |")
    for result in results:
        first, second = result["first"], result["second"]  # type: ignore[index]
        numbers = (first["cpu_s"], first["peak_mb"], second["cpu_s"], second["peak_mb"])  # type: ignore[index]
        print(f"| {result['rows']:,} | " + " | ".join(f"{n:.1f}" for n in numbers) + " |")


if __name__ == "__main__":
    main()
