"""Scored runs for the tests of the HTML report: real pictures, judged by the oracle, and a large run of one picture."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark, source_of
from radl_bench.mini.scenes import render
from radl_bench.runs.made import encode_png
from radl_bench.runs.seeds import image_seed
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.score import score_runs
from radl_bench.types import Benchmark

HOSTILE = """</script><script>window.pwned=1</script><img src=x onerror="window.pwned=1"> 'a' "red" car & <b>dog</b>"""


def make_run(
    root: Path, benchmark: Benchmark, method: str, roll: int, lost: str = "", source: str | None = None
) -> Path:
    """Write a run of rendered scenes moved `roll` pixels to the right, so that colours leave their boxes.

    The sample `lost` gets an error row instead of a picture.
    """
    generator = {"name": method, "revision": "1", "model": "mini", "params": {"roll": roll}, "weights_sha256": None}
    run = RunFolder.create(root, benchmark, generator, source=source)
    with run.writer() as writer:
        for sample in benchmark.samples:
            seed = image_seed(benchmark.name, sample.id, 0)
            if sample.id == lost:
                writer.write_failure(sample.id, 0, seed, f"out of <memory> & patience {HOSTILE}", 0.0)
                continue
            pixels = np.roll(render(sample, seed), roll, axis=1)
            writer.write_image(sample.id, 0, seed, Image.fromarray(pixels), 0.0)
    run.update_status()
    return run.path


def scored_runs(root: Path, limit: int = 10) -> list[Path]:
    """Return three scored runs of COCO-MIG: the reference, a bad method with a lost picture, a good one."""
    benchmark = load_benchmark("coco-mig", limit=limit)
    runs = [
        make_run(root, benchmark, "sprites", 0),
        make_run(root, benchmark, "boxdiff", 48, lost=benchmark.samples[1].id),
        make_run(root, benchmark, "radl", 6),
    ]
    score_runs(runs, detector="oracle", encoder="none")
    return runs


def hostile_runs(root: Path, folder: Path) -> list[Path]:
    """Return two scored runs whose prompts, phrases, reasons and method names are full of markup."""
    benchmark = load_benchmark(folder)
    lost = benchmark.samples[0].id
    runs = [
        make_run(root, benchmark, HOSTILE, 0, source=source_of(folder)),
        make_run(root, benchmark, '"><svg onload="window.pwned=1">', 20, lost, source_of(folder)),
    ]
    score_runs(runs, detector="oracle", encoder="none")
    return runs


def hostile_rows() -> list[dict[str, Any]]:
    """Return rows of `samples.jsonl` whose texts are markup."""
    box = [[0.05, 0.2, 0.45, 0.8], [0.55, 0.2, 0.95, 0.8]]
    return [
        {
            "id": f"bad-{n}",
            "prompt": f"{n} {HOSTILE}",
            "instances": [
                {"phrase": f"a red car {HOSTILE}", "category": "car", "color": "red", "box": box[0]},
                {"phrase": "a blue dog\u2028", "category": "dog", "color": "blue", "box": box[1]},
            ],
            "relations": [[0, f"left of {HOSTILE}", 1]],
            "verbs": "",
        }
        for n in range(3)
    ]


def large_run(root: Path, folder: Path | str, method: str, images: int) -> Path:
    """Write a run of COCO-MIG's size, scored by hand: 800 samples with `images` each, of which every third is wrong.

    The pictures are 64 different ones under many names, since only their number matters here.
    """
    import pandas as pd

    benchmark = load_benchmark(folder)
    run = RunFolder.create(root, benchmark, {"name": method, "revision": "1", "model": "x"}, images_per_sample=images)
    noise = np.random.default_rng(0)
    pictures = [encode_png(Image.fromarray(noise.integers(0, 256, (16, 16, 3), dtype=np.uint8))) for _ in range(64)]
    generated, table = [], []
    for number, (sample, k) in enumerate((s, k) for s in benchmark.samples for k in range(images)):
        content = pictures[number % 64]
        file = f"images/{sample.id}_{k}.png"
        (run.path / file).write_bytes(content)  # not synced one by one, which would be all that this takes
        facts = {"file": file, "sha256": hashlib.sha256(content).hexdigest(), "width": 16, "height": 16}
        seed = image_seed(benchmark.name, sample.id, k)
        generated.append({"sample_id": sample.id, "k": k, "seed": seed, **facts, "status": "ok", "error": None})
        base = {"sample_id": sample.id, "k": k, "level": sample.level, "value": 100.0 * (number % 3 > 0)}
        for i, instance in enumerate(sample.instances):
            reason = f"expected {instance.phrase} at [0.10, 0.20, 0.30, 0.40], best IoU 0.31"
            table.append({**base, "instance": i, "metric": "success_inst", "reason": reason})
        table.append({**base, "instance": -1, "metric": "success_img", "reason": "counted"})
    lines = [json.dumps({**row, "seconds": 0.0, "at": "2026-01-01T00:00:00"}) for row in generated]
    (run.path / "generations-0of1.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    run.update_status()
    run.scores_dir.mkdir(exist_ok=True)
    pd.DataFrame(table).to_parquet(run.scores_dir / "rows.parquet")
    recorded = run.manifest["benchmark"]
    names = ("success_inst", "success_img")
    score = {
        "level": None,
        "value": 66.7,
        "ci_low": 66.0,
        "ci_high": 67.0,
        "n": 6400,
        "n_missing": 0,
        "signature": "s|v:1",
    }
    content = {
        "schema_version": 1,
        "protocol": "strict",
        "thresholds": {},
        "benchmark": {key: recorded[key] for key in ("name", "version", "sha256", "filter", "images_per_sample")},
        "generator": {"name": method, "revision": "1", "model": "x", "params": {}},
        "status": "complete",
        "images": {"n": 6400, "n_missing": 0},
        "judges": {},
        "scores": [{"metric": name, **score} for name in names],
    }
    (run.scores_dir / "scores.json").write_text(json.dumps(content), "utf-8")
    return run.path
