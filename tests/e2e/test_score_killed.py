"""Scoring that is stopped: what was measured of finished chunks is kept, and nothing is left half written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.store import RunFolder, find_scores

JUDGE = """
import os, time
from radl_bench.types import Detection
class Slow:
    signature = "slow@1"
    def detect(self, images, queries):
        out = []
        for wanted in queries:
            time.sleep(float(os.environ["DELAY"]))
            with open(os.environ["LOG"], "a") as log:
                log.write("x")
            out.append([Detection(c, (0.1, 0.1, 0.5, 0.5), 0.9) for c in wanted])
        return out
"""
SCORE = """
import sys
from radl_bench.scoring import judging
judging.CHUNK = 8
from radl_bench.cli import main
sys.argv = ["radl-bench", "score", *sys.argv[1:]]
main()
"""
IMAGES, CHUNK = 60, 8


@pytest.fixture
def run(tmp_path, make_benchmark) -> RunFolder:
    from conftest import tiny_row

    folder = make_benchmark([tiny_row(n, 2) for n in range(IMAGES)])
    benchmark = load_benchmark(folder)
    about = {"name": "m", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    made = RunFolder.create(tmp_path / "runs", benchmark, about, source=str(folder))
    with made.writer() as writer:
        for n, sample in enumerate(benchmark.samples):
            writer.write_image(sample.id, 0, 0, Image.fromarray(np.full((8, 8, 3), n, np.uint8)), 0.0)
    made.update_status()
    return made


def start(run: RunFolder, tmp_path: Path, delay: float) -> subprocess.Popen:
    judge = tmp_path / "slow.py"
    judge.write_text(JUDGE)
    words = [sys.executable, "-c", SCORE, str(run.path), "--detector", f"{judge}:Slow", "--segmenter", "box"]
    environment = {**os.environ, "DELAY": str(delay), "LOG": str(tmp_path / "log")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*words, "--encoder", "none"], env=environment, **pipes)


def asked(tmp_path: Path) -> int:
    log = tmp_path / "log"
    return log.stat().st_size if log.exists() else 0


def wait_until(process: subprocess.Popen, tmp_path: Path, number: int) -> None:
    deadline = time.monotonic() + 120
    while asked(tmp_path) < number:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_chunk_that_was_finished_is_never_measured_again(run, tmp_path, how) -> None:
    process = start(run, tmp_path, delay=0.05)
    wait_until(process, tmp_path, 3 * CHUNK)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-9 if how == signal.SIGKILL else 130)
    if how != signal.SIGKILL:
        assert "Interrupted: What the judges saw so far is kept. Run the same command again to continue." in errors
        assert "Traceback" not in errors
        assert not list(run.path.rglob("*.part"))
    assert find_scores(run.path) == []
    before = asked(tmp_path)
    again = start(run, tmp_path, delay=0.0)
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    lost = before - (IMAGES - (asked(tmp_path) - before))
    assert 0 <= lost <= CHUNK  # the chunk in hand
    assert len(find_scores(run.path)) == 1
    assert not list(run.path.rglob("*.part"))
