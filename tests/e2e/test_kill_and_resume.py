"""Killed anywhere and called again: the same bytes, and no image that was done is made twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.generate import build_generator, generate_run
from radl_bench.runs.store import RunFolder, find_runs

MAIN = [sys.executable, "-c", "from radl_bench.cli import main; main()"]
SYSTEM_CALLS = ("write", "fsync", "replace")


def _images(run: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run / "images").iterdir()}


def _rows(run: Path) -> list[dict]:
    own = ("at", "seconds", "mtime_ns")
    return [{k: v for k, v in row.items() if k not in own} for row in RunFolder.open(run).rows()]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(count: int, patch: pytest.MonkeyPatch) -> None:
    """Let the process be killed at its `count`-th call that writes; odd ones after the call, even ones in its midst."""
    left = [count // 2]

    def wrap(name):
        true = getattr(os, name)

        def call(*arguments):
            left[0] -= 1
            if left[0] >= 0:
                return true(*arguments)
            if count % 2:
                true(*arguments)
            elif name == "write":
                true(arguments[0], arguments[1][: len(arguments[1]) // 2])
            _die()

        return call

    for name in SYSTEM_CALLS:
        patch.setattr(os, name, wrap(name))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_every_single_write_it_goes_on_as_if_nothing_had_been(tiny_benchmark, toy_method, tmp_path):
    benchmark = load_benchmark(tiny_benchmark, limit=3)

    def run(out, log):
        toy = build_generator(toy_method, settings={"batch": 2, "size": 8, "log": str(log)})
        return generate_run(benchmark, toy, out=out)

    whole = run(tmp_path / "whole", tmp_path / "whole.log").run
    for count in range(1000):
        out, log = tmp_path / str(count), tmp_path / f"{count}.log"
        child = os.fork()
        if child == 0:
            with pytest.MonkeyPatch.context() as patch:
                _kill_at(count, patch)
                run(out, log)
                os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            break
        done = [sample_id for path in find_runs(out) for sample_id, _ in RunFolder.open(path).done()]
        outcome = run(out, second := tmp_path / f"{count}.second.log")
        made = second.read_text().split() if second.exists() else []
        assert (outcome.resumed, sorted(made + done)) == (len(done), [s.id for s in benchmark.samples])
        assert _images(outcome.run) == _images(whole)
        assert _rows(outcome.run) == _rows(whole)
        assert RunFolder.open(outcome.run).manifest["status"] == "complete"
    # Two manifests and three images with their rows: at least four calls each, each killed in its midst and after it.
    assert 2 * 4 * 3 < count < 1000
    assert (os.WIFEXITED(status), os.WEXITSTATUS(status)) == (True, 0)


def _start(benchmark: Path, method: str, out: Path, log: Path) -> subprocess.Popen:
    settings = ["--set", "delay=0.02", "--set", "batch=2", "--set", f"log={log}"]
    command = [*MAIN, "generate", str(benchmark), "--method", method, *settings, "--runs", str(out)]
    return subprocess.Popen(
        [*command, "--images-per-sample", "4"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs deaf to Ctrl-C, and children inherit that: hear it here in any case.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _wait_for_rows(out: Path, count: int, process: subprocess.Popen) -> Path:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        for file in out.glob("*/*/*/generations-0of1.jsonl"):
            if file.read_bytes().count(b"\n") >= count:
                return file.parent
        time.sleep(0.01)
    raise AssertionError(f"no {count} rows; the command ended with {process.poll()}: {process.communicate()}")


def test_the_command_is_killed_twice_and_finishes_the_third_time(tiny_benchmark, toy_method, tmp_path):
    out, log = tmp_path / "runs", tmp_path / "log"  # the same settings each time: others are another run
    made_before: set[tuple[str, int]] = set()
    for count in (5, 17):
        process = _start(tiny_benchmark, toy_method, out, log)
        run = _wait_for_rows(out, count, process)
        process.kill()
        process.communicate()
        done = set(RunFolder.open(run).done())
        assert made_before < done
        made_before = done
    before = len(log.read_text().split())
    process = _start(tiny_benchmark, toy_method, out, log)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert f"{36 - len(made_before)} made, {len(made_before)} resumed, 0 failed of 36 images" in printed
    assert len(log.read_text().split()) - before == 36 - len(made_before)
    whole = generate_run(
        load_benchmark(tiny_benchmark), build_generator(toy_method), out=tmp_path / "whole", images_per_sample=4
    )
    assert _images(run) == _images(whole.run)
    assert _rows(run) == _rows(whole.run)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_by_hand_says_how_to_go_on(tiny_benchmark, toy_method, tmp_path, stop):
    process = _start(tiny_benchmark, toy_method, tmp_path / "runs", tmp_path / "log")
    run = _wait_for_rows(tmp_path / "runs", 3, process)
    process.send_signal(stop)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Run the same command again to continue." in err
    assert "Traceback" not in err
    assert json.loads((run / "manifest.json").read_text())["status"] == "interrupted"
