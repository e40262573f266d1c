"""Scoring that is stopped: what was measured of finished chunks is kept, and nothing is left half written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.store import RunFolder, find_scores
from radl_bench.scoring import judging
from radl_bench.scoring.score_files import part_of, read_parts

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
    from tests.conftest import tiny_row

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


RANDOM_JUDGE = """
import os, time
from radl_bench.types import Detection
class Quick:
    signature = "quick@1"
    def detect(self, images, queries):
        out = []
        for image, wanted in zip(images, queries):
            time.sleep(0.002)
            high, low, _ = (int(v) for v in image.getpixel((0, 0)))
            with open(os.environ["LOG"], "a") as log:
                log.write(f"{256 * high + low}\\n")
            box = (0.0, 0.25, 0.5, 0.75) if low % 3 else (0.1, 0.0, 0.4, 0.2)
            out.append([Detection(c, box, 0.5 + low / 512) for c in wanted])
        return out
"""
KILLS = int(os.environ.get("RADL_BENCH_KILLS", "6"))
"""Kills at random moments; the long form is RADL_BENCH_KILLS=50, under five CPU-minutes."""

MANY, EARLIER = 300, 200


def draw(run: RunFolder, numbers: range) -> None:
    """Add images, whose two first values are their number."""
    samples = load_benchmark(run.manifest["benchmark"]["source"]).samples
    with run.writer() as writer:
        for n in numbers:
            pixels = np.full((8, 8, 3), (n // 256, n % 256, 90), np.uint8)
            pixels[4:, 4:] = (n * 7 % 256, 200, n % 5)
            writer.write_image(samples[n].id, 0, n, Image.fromarray(pixels), 0.0)
    run.update_status()


def scoring(run: Path, work: Path) -> subprocess.Popen:
    """Start the command itself, on `run`."""
    call = [sys.executable, "-c", "from radl_bench.cli import main; main()", "score", str(run)]
    judges = ["--detector", f"{work / 'quick.py'}:Quick", "--segmenter", "box", "--encoder", "none"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*call, *judges], env=os.environ | {"LOG": str(work / "log")}, **pipes)


def numbers_asked(work: Path) -> list[int]:
    log = work / "log"
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def state_of(run: Path) -> tuple[str, str]:
    """What scores.json says of the scores, and the rows it names, which have the sum in their name."""
    (file,) = find_scores(run)
    content = json.loads(file.read_text("utf-8"))
    rows = part_of(file, content, "rows")
    assert rows.name == f"rows-{hashlib.sha256(rows.read_bytes()).hexdigest()[:8]}.parquet"
    read_parts(part_of(file, content, "parts"))
    return json.dumps([content["images"], content["scores"]]), pd.read_parquet(rows).to_csv()


def done(process: subprocess.Popen, missing: int = 0) -> None:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == (1 if missing else 0), errors
    assert not missing or f"{missing} of {MANY} images of" in errors


@pytest.fixture
def grown(tmp_path, make_benchmark) -> RunFolder:
    """A run that was scored with 200 images, has 300 now, and whose evidence is gone."""
    from tests.conftest import tiny_row

    folder = make_benchmark([tiny_row(n, 2) for n in range(MANY)])
    about = {"name": "m", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(tmp_path / "runs", load_benchmark(folder), about, source=str(folder))
    (tmp_path / "quick.py").write_text(RANDOM_JUDGE)
    draw(run, range(EARLIER))
    done(scoring(run.path, tmp_path), missing=MANY - EARLIER)
    draw(run, range(EARLIER, MANY))
    shutil.rmtree(run.evidence_dir)
    return run


def kill_somewhere(run: Path, work: Path, rng: np.random.Generator, how: signal.Signals) -> tuple[int, str]:
    """Start scoring and kill it after a random number of images: one kill in three while the scores are written."""
    process = scoring(run, work)
    wanted, deadline = min(int(rng.integers(0, MANY * 3 // 2)), MANY), time.monotonic() + 120
    while len(numbers_asked(work)) < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(rng.uniform(0.0, 1.0 if wanted in (0, MANY) else 0.05))
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.slow
def test_kills_at_random_moments_lose_no_finished_chunk_and_mix_no_files(grown, tmp_path) -> None:
    rng, ended = np.random.default_rng(5), Counter()
    before = state_of(grown.path)
    whole = tmp_path / "whole"
    shutil.copytree(grown.path, whole)
    done(scoring(whole, tmp_path))
    after = state_of(whole)
    assert before != after
    for n in range(KILLS):
        run = tmp_path / f"killed-{n}"
        shutil.copytree(grown.path, run)
        (tmp_path / "log").unlink(missing_ok=True)
        how = (signal.SIGKILL, signal.SIGTERM)[n % 2]
        code, errors = kill_somewhere(run, tmp_path, rng, how)
        assert "Traceback" not in errors, errors
        first = numbers_asked(tmp_path)
        assert state_of(run) in (before, after)  # one or the other, whole
        ended["before" if state_of(run) == before else "after", code] += 1
        done(scoring(run, tmp_path))
        again = numbers_asked(tmp_path)[len(first) :]
        in_hand = max(first, default=0) // judging.CHUNK
        assert not [m for m in again if m in first and m // judging.CHUNK < in_hand]
        assert sorted({*first, *again}) == list(range(MANY))
        assert state_of(run) == after
        assert not list(run.rglob("*.part"))
        shutil.rmtree(run)
    print(dict(ended))
