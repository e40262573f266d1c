"""The mini judges measure once: the second scoring, also under other thresholds, loads no model at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scores import scores as scores_of

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.generators.sprites import SpritesGenerator
from radl_bench.runs.store import RunFolder

SCORE = """
import json, sys
import radl_bench.scoring.fid_reference
from radl_bench.scoring.score import score_each
radl_bench.scoring.fid_reference.RENDERED = 30
score_each([sys.argv[1]], iou=float(sys.argv[2]), score_threshold=float(sys.argv[3]))
heavy = ("cv2", "open_clip", "radl_bench.mini.scenes", "torch", "torchvision")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""


@pytest.mark.slow
def test_a_second_scoring_loads_no_model(tmp_path: Path, tiny_benchmark: Path, monkeypatch) -> None:
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    with open(tiny_benchmark / "benchmark.toml", "a", encoding="utf-8") as stream:
        stream.write("".join(f"[metrics.{name}]\n" for name in ("iou", "average_precision", "clip_score", "fid")))
    benchmark, generator = load_benchmark(tiny_benchmark), SpritesGenerator()
    about = {"name": "sprites", "revision": "1", "model": "mini", "params": {}, "weights_sha256": None}
    run = RunFolder.create(tmp_path / "runs", benchmark, about, source=str(tiny_benchmark))
    with run.writer() as writer:
        for n, image in enumerate(generator.generate(benchmark.samples, list(range(9)))):
            writer.write_image(benchmark.samples[n].id, 0, n, image, 0.0)
    run.update_status()

    def score(iou: str, least: str) -> tuple[list[str], dict]:
        words = [sys.executable, "-c", SCORE, str(run.path), iou, least]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1]), scores_of(run.path)

    loaded, first = score("0.5", "0.25")
    assert "torch" in loaded
    again, second = score("0.5", "0.25")
    assert again in ([], ["cv2", "radl_bench.mini.scenes"])  # one scene is drawn, to know that the drawing is the same
    assert second["scores"] == first["scores"]
    other, third = score("0.7", "0.4")
    assert "torch" not in other
    values = {key: {(s["metric"], s["level"]): s["value"] for s in c["scores"]} for key, c in ((1, first), (3, third))}
    assert values[3]["success_inst", None] <= values[1]["success_inst", None]
    assert values[3]["fid", None] == values[1]["fid", None]
    assert np.isfinite(values[1]["kid", None])
