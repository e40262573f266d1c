"""Three shards, one after the other or at once, make the run that one process makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.generate import build_generator, generate_run
from radl_bench.runs.store import RunFolder
from radl_bench.runs.writer import Shard

MAIN = [sys.executable, "-c", "from radl_bench.cli import main; main()"]


def _content(run: Path) -> tuple[dict[str, bytes], list[dict]]:
    rows = [
        {k: v for k, v in row.items() if k not in ("at", "seconds", "mtime_ns")} for row in RunFolder.open(run).rows()
    ]
    return {file.name: file.read_bytes() for file in (run / "images").iterdir()}, rows


def test_shards_at_once_equal_the_unsharded_run(tiny_benchmark, toy_method, tmp_path):
    command = [*MAIN, "generate", str(tiny_benchmark), "--method", toy_method, "--runs", str(tmp_path / "runs")]
    parts = [subprocess.Popen([*command, "--shard", f"{i}/3"], stderr=subprocess.PIPE, text=True) for i in (1, 2, 3)]
    for part in parts:
        _, err = part.communicate(timeout=120)
        assert part.returncode == 0, err
    (run,) = (tmp_path / "runs" / "tiny" / "toy").iterdir()
    assert RunFolder.open(run).manifest["status"] == "complete"
    assert len(list(run.glob("generations-*of3.jsonl"))) == 3
    whole = generate_run(load_benchmark(tiny_benchmark), build_generator(toy_method), out=tmp_path / "whole")
    assert _content(run) == _content(whole.run)


def test_a_shard_that_failed_is_made_up_for_by_any_later_call(tiny_benchmark, toy_method, tmp_path):
    benchmark, out = load_benchmark(tiny_benchmark), tmp_path / "runs"
    bad = build_generator(toy_method, settings={"bad": "tiny-004"})
    outcomes = [generate_run(benchmark, bad, out=out, shard=Shard(i, 2)) for i in range(2)]
    assert sorted(outcome.failed for outcome in outcomes) == [0, 1]
    assert RunFolder.open(outcomes[0].run).manifest["status"] == "failed"
    last = generate_run(benchmark, build_generator(toy_method), out=out)
    assert (last.run, last.made, last.resumed) == (outcomes[0].run, 1, 8)
    assert RunFolder.open(last.run).manifest["status"] == "complete"


def test_one_shard_alone_is_a_part(tiny_benchmark, toy_method, tmp_path):
    benchmark = load_benchmark(tiny_benchmark)
    outcome = generate_run(benchmark, build_generator(toy_method), out=tmp_path, shard=Shard(0, 3))
    assert (outcome.made, RunFolder.open(outcome.run).manifest["status"]) == (3, "partial")
