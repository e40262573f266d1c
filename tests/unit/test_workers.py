"""Generating with several workers: the same run as with one, whoever is lost on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import MissingWeights, UsageError
from radl_bench.runs.dealing import MOST_LOSSES, Crew, Dealer, Done, Lost, Ready
from radl_bench.runs.generate import generate_run
from radl_bench.runs.local_workers import LocalCrew, gpus
from radl_bench.runs.store import RunFolder
from radl_bench.runs.workers import Recipe, check_alike, opened

DEADLY = '''
import os, time

import numpy as np
from PIL import Image
from radl_bench.errors import MissingWeights


class Method:
    """Noise by seed, 2 at a time; dies for one sample, writes down the process of every call."""

    name, revision, max_batch = "method", "1", 2

    def __init__(self, log="", deadly="", delay=0.0, missing=False, setup=""):
        self.log, self.deadly, self.delay, self.missing = log, deadly, delay, missing
        if setup == "dies" or (setup == "once" and not os.path.exists(log + ".setup")):
            open(log + ".setup", "w").close()
            os._exit(9)

    def generate(self, samples, seeds):
        if self.missing:
            raise MissingWeights("Fetch the weights first.")
        if self.log:
            with open(self.log, "a") as file:
                file.write(f"{os.getpid()}\\n")
        if self.deadly in [s.id for s in samples]:
            os._exit(7)
        time.sleep(self.delay)
        return [
            Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)) for seed in seeds
        ]
'''


@pytest.fixture
def method(tmp_path) -> str:
    file = tmp_path / "method.py"
    file.write_text(DEADLY)
    return f"{file}:Method"


@pytest.fixture
def benchmark(tiny_benchmark):
    return load_benchmark(tiny_benchmark)


def _generate(benchmark, out, recipe, workers=2, **options):
    with opened(recipe, workers) as maker:
        return generate_run(benchmark, maker, out=out, **options)


def _bytes(run: Path) -> dict[str, bytes]:
    return {str(file.relative_to(run)): file.read_bytes() for file in (run / "images").rglob("*.png")}


def _rows(run: Path) -> list[dict]:
    own = ("at", "seconds", "mtime_ns")
    return [{k: v for k, v in row.items() if k not in own} for row in RunFolder.open(run).rows()]


def _written(run: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in run.glob("generations-*.jsonl"))


def test_two_workers_leave_what_one_leaves(benchmark, method, tmp_path):
    one = _generate(benchmark, tmp_path / "one", Recipe(method), 1, images_per_sample=4)
    recipe = Recipe(method, settings={"log": str(tmp_path / "log"), "delay": 0.01})
    two = _generate(benchmark, tmp_path / "two", recipe, images_per_sample=4)
    assert (_bytes(two.run), _rows(two.run)) == (_bytes(one.run), _rows(one.run))
    assert (two.made, two.planned, two.failed) == (36, 36, 0)
    assert len(set((tmp_path / "log").read_text().split())) == 2  # both worked
    assert _written(two.run) == 36


def test_killed_again_and_again_nothing_is_lost_or_doubled(benchmark, method, tmp_path):
    """Ten times, whichever worker last began a batch is killed with -9 in its midst."""
    one = _generate(benchmark, tmp_path / "one", Recipe(method), 1, images_per_sample=20)
    log, killed = tmp_path / "log", set()

    def kill() -> None:
        while len(killed) < 10:
            begun = log.read_text().split() if log.exists() else []
            if begun and begun[-1] not in killed and len(begun) > 2 * len(killed):
                killed.add(begun[-1])
                os.kill(int(begun[-1]), signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    recipe = Recipe(method, settings={"log": str(log), "delay": 0.05})
    with opened(recipe, 2) as maker:
        two = generate_run(benchmark, maker, out=tmp_path / "two", images_per_sample=20)
        said = maker.remark()
    assert len(killed) == 10
    assert said == "2 workers, 10 lost"
    assert (two.made, two.failed, _written(two.run)) == (180, 0, 180)
    assert (_bytes(two.run), _rows(two.run)) == (_bytes(one.run), _rows(one.run))


def test_an_image_that_costs_its_workers_is_a_failed_row_alone(benchmark, method, tmp_path):
    recipe = Recipe(method, settings={"deadly": "tiny-003"})
    outcome = _generate(benchmark, tmp_path, recipe)
    failed = [row for row in RunFolder.open(outcome.run).rows() if row["status"] == "error"]
    assert [row["sample_id"] for row in failed] == ["tiny-003"]
    assert failed[0]["error"] == "3 workers were lost over it: the last ended with exit code 7"
    assert (outcome.made, outcome.failed) == (8, 1)


def test_another_number_of_workers_goes_on_with_a_run(benchmark, method, tmp_path):
    _generate(replace(benchmark, samples=benchmark.samples[:4]), tmp_path, Recipe(method), 2)
    outcome = _generate(benchmark, tmp_path, Recipe(method), 3)
    assert (outcome.resumed, outcome.made) == (4, 5)
    assert _generate(benchmark, tmp_path, Recipe(method), 1).resumed == 9


def test_what_every_worker_lacks_ends_the_run_with_its_own_error(benchmark, method, tmp_path):
    with pytest.raises(MissingWeights, match="Fetch the weights first"):
        _generate(benchmark, tmp_path, Recipe(method, settings={"missing": True}))
    with pytest.raises(UsageError, match="Unknown setting"):
        _generate(benchmark, tmp_path, Recipe(method, settings={"mising": True}))
    with pytest.raises(UsageError, match=r"3 times it ended with exit code 9. Try fewer --workers"):
        _generate(benchmark, tmp_path, Recipe(method, settings={"setup": "dies"}))


def test_a_worker_lost_while_it_is_set_up_is_replaced(benchmark, method, tmp_path):
    recipe = Recipe(method, settings={"setup": "once", "log": str(tmp_path / "log")})
    assert _generate(benchmark, tmp_path, recipe).made == 9


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ended_by_a_signal_it_says_so_and_leaves_no_process(tiny_benchmark, method, tmp_path, sent):
    log = tmp_path / "log"
    settings = ["--set", f"log={log}", "--set", "delay=0.05"]
    command = [sys.executable, "-c", "from radl_bench.cli import main; main()", "generate", str(tiny_benchmark)]
    process = subprocess.Popen(
        [*command, "--method", method, *settings, "--images-per-sample", "50", "--workers", "2", "--runs", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and not (log.exists() and len(log.read_text().split()) > 6):
        time.sleep(0.02)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Run the same command again to continue." in said
    assert "Traceback" not in said
    for worker in set(log.read_text().split()):
        with pytest.raises(ProcessLookupError):
            os.kill(int(worker), 0)


class _Scripted(Crew):
    """Workers at places that are lost at the batches `deadly`, in this process; for the dealing alone."""

    size = 3

    def __init__(self, deadly=(), bad_places=()):
        self.deadly, self.bad_places, self.answers, self.hired = set(deadly), set(bad_places), [], 0

    def hire(self, place):
        self.hired += 1
        self.answers.append((place, Lost("was eaten") if place in self.bad_places else Ready("alike")))

    def hand(self, place, batch):
        self.answers.append((place, Lost("was eaten") if self.deadly & set(batch) else Done(list(batch))))

    def wait(self):
        answers, self.answers = self.answers[::-1], []
        return answers

    def dismiss(self):
        self.answers = None


def _deal(crew, batches):
    with Dealer(crew, lambda *_: None, lambda batch: [[one] for one in batch], lambda batch, why: [why]) as dealer:
        return sorted(x for result in dealer.results(batches) for x in result), dealer


def test_the_rest_of_a_deadly_batch_is_done_and_its_cost_is_bounded():
    crew = _Scripted(deadly=["d"])
    results, dealer = _deal(crew, [["a", "b"], ["c", "d", "e"], ["f"]])
    assert results == ["3 workers were lost over it: the last was eaten", *"abcef"]
    assert len(dealer.losses) == MOST_LOSSES + 1
    assert crew.hired == 3 + len(dealer.losses)


def test_a_place_where_no_worker_starts_is_given_up_and_the_others_go_on():
    results, dealer = _deal(_Scripted(bad_places=[1]), [[n] for n in range(20)])
    assert results == list(range(20))
    assert (dealer.workers, len(dealer.losses)) == (2, MOST_LOSSES)
    with pytest.raises(UsageError, match="No worker can be set up: 3 times it was eaten"):
        _deal(_Scripted(bad_places=[0, 1, 2]), [[1]])


def test_workers_of_other_versions_or_weights_are_refused(method):
    facts = Recipe(method).open().facts
    check_alike(facts, Recipe(method).open().facts)
    packages = {**facts.environment["packages"], "torch": "9.9"}
    for other, words in (
        (replace(facts, environment={**facts.environment, "packages": packages}), "torch is .* and 9.9 in another"),
        (replace(facts, environment={**facts.environment, "radl_bench": "0.0"}), "radl_bench is .* and 0.0 in another"),
        (replace(facts, description={**facts.description, "weights_sha256": "ff"}), "differ in weights_sha256"),
    ):
        with pytest.raises(UsageError, match=words):
            check_alike(facts, other)
    old = replace(facts, environment={**facts.environment, "radl_bench": "0.0"})
    with pytest.raises(UsageError, match="radl_bench"):  # alike among themselves, but not what deals
        check_alike(old, old)


def test_each_worker_gets_a_gpu_and_its_share_of_the_cores(method, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("radl_bench.runs.local_workers.cores", lambda: 12)
    assert gpus() == ["2", "5"]
    shares = [LocalCrew(Recipe(method), 3)._share(place) for place in range(3)]
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["2", "5", "2"]
    assert {share["OMP_NUM_THREADS"] for share in shares} == {"4"}
    assert "CUDA_VISIBLE_DEVICES" not in LocalCrew(Recipe(method), 3, spread=False)._share(0)


def test_workers_that_wait_end_by_themselves(method):
    """Ended by a signal they would leave their locks behind, of which Python warns on the terminal."""
    crew = LocalCrew(Recipe(method), 2)
    for place in range(2):
        crew.hire(place)
    ready = list(crew.wait())
    while len(ready) < 2:
        ready += crew.wait()
    processes = [process for process, _ in crew._workers.values()]
    crew.dismiss()
    assert [process.exitcode for process in processes] == [0, 0]


def test_numbers_and_engines_that_make_no_sense_are_refused(method):
    for workers in (0, -1, 10**6):
        with pytest.raises(UsageError, match="--workers must be at least 1"), opened(Recipe(method), workers):
            pass
    with pytest.raises(UsageError, match=r"Unknown engine 'rey'. Did you mean 'ray'"), opened(Recipe(method), 2, "rey"):
        pass
    with pytest.raises(UsageError, match="--address belongs to --engine ray"), opened(Recipe(method), 2, "local", "a"):
        pass
