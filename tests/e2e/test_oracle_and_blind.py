"""The two ends of the scale on rendered scenes: an oracle that knows the layout gives 100, a blind detector 0."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scores import scores as scores_of

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.judges.color import coverage
from radl_bench.judges.segmenters import MiniSegmenter
from radl_bench.mini.scenes import render
from radl_bench.runs.seeds import image_seed
from radl_bench.runs.store import RunFolder
from radl_bench.types import COLORS

LIMIT = 25


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    """25 rendered scenes of COCO-MIG, five a level."""
    benchmark = load_benchmark("coco-mig", limit=LIMIT)
    generator = {"name": "sprites", "revision": "1", "model": "mini", "params": {}, "weights_sha256": None}
    run = RunFolder.create(tmp_path_factory.mktemp("e2e") / "runs", benchmark, generator)
    with run.writer() as writer:
        for sample in benchmark.samples:
            seed = image_seed(benchmark.name, sample.id, 0)
            writer.write_image(sample.id, 0, seed, Image.fromarray(render(sample, seed)), 0.0)
    run.update_status()
    return run


def score(run: RunFolder, *options: str) -> dict[tuple[str, int | None], dict]:
    """Score by the command line, in a process of its own, and return the scores by (metric, level)."""
    code = "from radl_bench.cli import main; main()"
    command = [sys.executable, "-c", code, "score", str(run.path), "--encoder", "none", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    content = scores_of(run.path)
    return {(s["metric"], s["level"]): s for s in content["scores"]}


def right_colours(run: RunFolder) -> list[bool]:
    """Return, for each instance, whether its own box shows its colour: read from the pictures, without scoring."""
    images, out = run.images(), []
    for sample in load_benchmark("coco-mig", limit=LIMIT).samples:
        pixels = np.asarray(Image.open(images[sample.id, 0]))
        masks = MiniSegmenter().masks(pixels, np.array([i.box for i in sample.instances]))
        shares = coverage(pixels, masks)
        own = [COLORS.index(i.color) for i in sample.instances if i.color]
        out += [bool(share[c] >= 0.2) for share, c in zip(shares, own, strict=True)]
    return out


def test_the_oracle_finds_all_and_fails_by_colour_alone(run) -> None:
    scores = score(run, "--detector", "oracle")
    colours = right_colours(run)
    assert scores["miou", None]["value"] == pytest.approx(100.0)
    assert scores["ap", None]["value"] == scores["ap50", None]["value"] == pytest.approx(100.0)
    assert scores["success_inst", None]["value"] == pytest.approx(100.0 * np.mean(colours))
    assert scores["success_inst", None]["value"] >= 98.0
    assert scores["success_inst", 2]["ci_low"] is None  # five samples of level 2 are too few for an interval
    assert scores["success_inst", None]["ci_low"] < scores["success_inst", None]["value"]
    assert {level for _, level in scores} == {None, 2, 3, 4, 5, 6}


def test_a_blind_detector_gives_zero_everywhere(run) -> None:
    scores = score(run, "--detector", "blind")
    assert {s["value"] for s in scores.values()} == {0.0}
    assert scores["success_inst", None]["ci_high"] > 0.0  # a rate of 0 is no certainty
