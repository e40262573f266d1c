"""Speed and memory of the report over many methods of one benchmark, with synthetic scored runs.

    python benchmarks/speed/report.py                     the table: 10, 30 and 100 methods
    python benchmarks/speed/report.py --methods 10 30     other numbers of methods
    python benchmarks/speed/report.py --format html       the HTML report: all pages, gallery and figures

Each method is a scored run of COCO-MIG's 800 layouts with one image each, whose file is not there, and the rows of
success, mIoU and CLIP: 8,000 rows. Rates rise from method to method, so neighbours tie and distant ones do not. A row
of the table is printed as soon as it is measured; each report runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.store import RunFolder

METHODS = (10, 30, 100)
LEVELS = (2, 3, 4, 5, 6)
METRICS = {"success_inst": "instance", "miou": "instance", "success_img": "image", "clip": "image"}


def write_run(root: Path, number: int, rate: float) -> Path:
    """Write a scored run whose objects are right at this rate, in 0..1."""
    import pandas as pd

    benchmark = load_benchmark("coco-mig")
    generator = {"name": f"method-{number:03d}", "revision": "1", "model": "none"}
    run = RunFolder.create(root, benchmark, generator)
    path = run.path
    rng = np.random.default_rng(number)
    rows = []
    for sample in benchmark.samples:
        hits = rng.random(sample.level) < rate
        values = [("success_inst", i, 100.0 * h) for i, h in enumerate(hits)]
        values += [("miou", i, 100.0 * h * rng.uniform(0.5, 1.0)) for i, h in enumerate(hits)]
        values += [("success_img", -1, 100.0 * hits.all()), ("clip", -1, 20.0 + 10.0 * rate + rng.normal())]
        rows += [
            (sample.id, 0, i, sample.level, metric, float(v), "made up for a measurement") for metric, i, v in values
        ]
    table = pd.DataFrame(rows, columns=["sample_id", "k", "instance", "level", "metric", "value", "reason"])
    table.to_parquet(path / "scores" / "rows.parquet")
    (path / "scores" / "scores.json").write_text(json.dumps(_content(run, table)))
    return path


def _content(run: RunFolder, table) -> dict:
    scores = []
    for metric in METRICS:
        for level in (None, *LEVELS):
            values = table[(table["metric"] == metric) & ((table["level"] == level) | (level is None))]["value"]
            half = float(2.0 * values.std() / len(values) ** 0.5)
            mean = float(values.mean())
            ends = {"value": mean, "ci_low": mean - half, "ci_high": mean + half, "n": len(values), "n_missing": 0}
            scores.append({"metric": metric, "level": level, **ends, "signature": f"{metric}|det:made-up|v:1"})
    return {
        "schema_version": 1,
        "protocol": "strict",
        "benchmark": run.manifest["benchmark"],
        "generator": run.manifest["generator"],
        "status": "complete",
        "judges": {"detector": {"name": "mini", "signature": "mini-detector@1"}},
        "scores": scores,
    }


def measure(root: Path, out: Path, format: str) -> dict[str, float]:
    """Return seconds, CPU-seconds and the most memory, in MB, of the report on all runs below `root`."""
    command = [sys.executable, __file__, "--worker", str(root), "--out", str(out), "--format", format]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    return json.loads(done.stdout.splitlines()[-1])


def work(root: Path, out: Path, format: str) -> None:
    """Write the report of all runs below `root`, and print what it took as JSON."""
    from radl_bench.report import build_report, write_report

    start = time.perf_counter()
    write_report(build_report(sorted(root.glob("*/*/*"))), format, out)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    took = {"seconds": time.perf_counter() - start, "cpu": usage.ru_utime + usage.ru_stime}
    print(json.dumps(took | {"memory": usage.ru_maxrss / 1024}))


def main() -> None:
    """Print a row a number of methods."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", type=int, nargs="+", default=METHODS)
    parser.add_argument("--format", default="markdown")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker, options.out, options.format)
    print("| methods | rows | report, s | CPU-s | memory, MB |\n| --: | --: | --: | --: | --: |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root, there = Path(folder) / "runs", 0
        for count in sorted(options.methods):
            for number in range(there, count):
                # spread over the same range whatever the count: the golden ratio leaves no gap
                write_run(root, number, 0.05 + 0.7 * (number * 0.618034 % 1.0))
            there = count
            took = measure(root, Path(folder) / f"report-{count}", options.format)
            rows = f"{count * 10 * 800:,}"
            print(
                f"| {count} | {rows} | {took['seconds']:.1f} | {took['cpu']:.1f} | {took['memory']:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
