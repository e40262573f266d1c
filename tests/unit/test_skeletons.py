"""The skeletons of `radl-bench new` work as they are written: their tests pass, and the suite takes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import UsageError
from radl_bench.runs.generate import build_generator, generate_run
from radl_bench.scoring.score import score_runs
from radl_bench.skeletons import KINDS, write_skeleton
from tests.scores import scores

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("skeletons")
    for kind in KINDS:
        made, _ = write_skeleton(kind, f"my-{kind}", folder)
        assert len(made) == 2
    return folder


def test_their_tests_pass(folder):
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout
    assert "11 passed" in done.stdout


def test_a_test_of_a_skeleton_can_fail(folder, tmp_path):
    made, _ = write_skeleton("metric", "my-metric", tmp_path)
    made[0].write_text(made[0].read_text("utf-8").replace("!= n]", "> n]"), "utf-8")
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    assert subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, timeout=200).returncode == 1


def test_the_four_work_together(folder, tmp_path):
    from radl_bench.benchmarks.own import new_benchmark

    made = new_benchmark(folder / "my_benchmark.csv", out=tmp_path / "set").folder
    toml = made / "benchmark.toml"
    toml.write_text(toml.read_text("utf-8") + '\n[metrics."my_metric.py:METRIC"]\n', "utf-8")
    (made / "my_metric.py").write_bytes((folder / "my_metric.py").read_bytes())
    benchmark = load_benchmark(made)
    generator = build_generator(f"{folder / 'my_method.py'}:MyMethod", settings={"size": 100})
    run = generate_run(benchmark, generator, out=tmp_path / "runs", source=str(made)).run
    score_runs([run], detector=f"{folder / 'my_judge.py'}:MyJudge", encoder="none")
    found = {s["metric"]: s for s in scores(run)["scores"] if s["level"] is None}
    assert found["miou"]["value"] > 95
    assert found["my_metric"]["n"] == 3
    assert "det:my-judge@1" in found["success_inst"]["signature"]


@pytest.mark.parametrize(("kind", "name"), [("mehtod", "a"), ("method", "1st"), ("method", "../a"), ("method", "")])
def test_what_makes_no_name_is_refused(kind, name, tmp_path):
    with pytest.raises(UsageError):
        write_skeleton(kind, name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    write_skeleton("method", "mine", tmp_path)
    with pytest.raises(UsageError, match="there already"):
        write_skeleton("method", "mine", tmp_path)
