"""Scoring with several workers: the scores of one, byte by byte, whoever is lost on the way."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import MissingWeights, UsageError
from radl_bench.judges.checks import BadAnswer
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.evidence_table import EvidenceTable
from radl_bench.scoring.score import score_each
from radl_bench.scoring.workers import _check_alike

JUDGE = '''
import os, time, zlib
import numpy as np
from radl_bench.errors import MissingWeights
from radl_bench.types import Detection

ORDER, DELAY, DEADLY = (os.environ.get(name, "") for name in ("ORDER", "DELAY", "DEADLY"))


class Judge:
    """What it sees depends on the pixels and, with ORDER, on the place in the batch, as the last bits of a model's do;
    it writes down its process at every call."""

    signature = "judge@1"

    def _begin(self):
        if os.environ.get("MISSING"):
            raise MissingWeights("Fetch the weights first.")
        with open(os.environ["LOG"], "a") as log:
            log.write(f"{os.getpid()}\\n")

    def _seeds(self, images):
        place = range(len(images)) if ORDER else [0] * len(images)
        return [zlib.crc32(image.tobytes()) + n * len(images) * bool(ORDER) for n, image in zip(place, images)]

    def detect(self, images, queries):
        self._begin()
        for image in images:
            time.sleep(float(DELAY or 0))
            if DEADLY and image.getpixel((0, 0)) == (2, int(DEADLY), 0):
                os._exit(7)
        return [
            [Detection(c, (0.0, 0.2, 0.3 + (seed % 89) / 200, 0.8), 0.5 + (seed % 97) / 200) for c in wanted]
            for seed, wanted in zip(self._seeds(images), queries)
        ]

    def encode_images(self, images):
        return self._unit(self._seeds(images))

    def encode_texts(self, texts):
        return self._unit([zlib.crc32(text.encode()) for text in texts])

    def _unit(self, seeds):
        found = np.stack([np.random.default_rng(seed).normal(size=16) for seed in seeds])
        return found / np.linalg.norm(found, axis=1, keepdims=True)
'''


@pytest.fixture
def scored(tmp_path, tiny_benchmark, monkeypatch):
    """Return a function that scores a copy of one run of 1,080 images."""
    judge, log = tmp_path / "judge.py", tmp_path / "log"
    judge.write_text(JUDGE)
    monkeypatch.setenv("LOG", str(log))
    with open(tiny_benchmark / "benchmark.toml", "a") as table:
        table.write("[metrics.average_precision]\n[metrics.clip_score]\n")
    benchmark = load_benchmark(tiny_benchmark)
    about = {"name": "m", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(tmp_path / "runs", benchmark, about, source=str(tiny_benchmark), images_per_sample=120)
    rng = np.random.default_rng(0)
    with run.writer() as writer:
        for n, sample in enumerate(benchmark.samples):
            for k in range(120):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                pixels[0, 0] = (n, k, 0)
                writer.write_image(sample.id, k, k, Image.fromarray(pixels), 0.0)
    run.update_status()
    whole = (run.path / "images" / "tiny-002_3.png").read_bytes()

    def score(name: str, workers: int, broken: bool = True, **options: object) -> Path:
        (run.path / "images" / "tiny-002_3.png").write_bytes(b"no image" if broken else whole)
        copy = shutil.copytree(run.path, tmp_path / name, dirs_exist_ok=True)
        spec = f"{judge}:Judge"
        given = {"detector": spec, "segmenter": "box", "encoder": spec, "features": "none", **options}
        (done,) = score_each([copy], workers=workers, **given)
        assert len(done.problems) == broken
        return done.file.parent

    score.log = log
    return score


def _bytes(scores: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in scores.iterdir() if file.name != ".lock"}


def _evidence(scores: Path) -> dict[str, list]:
    """What was kept, by file."""
    found = {}
    for file in sorted((scores.parents[1] / "evidence").glob("[!i]*.sqlite")):  # images.sqlite has times of files
        with sqlite3.connect(file) as base:
            found[file.name] = [sorted(base.execute(f"SELECT * FROM {table}")) for table in ("judge", "evidence")]
    return found


def test_two_workers_score_as_one(scored, monkeypatch, capsys):
    monkeypatch.setenv("ORDER", "1")  # so that other batches would show
    one = scored("one", 1)
    scored.log.unlink()
    two = scored("two", 2)
    assert _bytes(two) == _bytes(one)
    assert "scores.json" in _bytes(one)
    assert len(_evidence(one)) == 3
    assert _evidence(two) == _evidence(one)
    workers = set(scored.log.read_text().split())
    assert len(workers) == 2
    assert str(os.getpid()) not in workers
    assert "judge: 1080/1080 images, 2 workers" in capsys.readouterr().err


def test_two_actors_of_a_cluster_of_which_one_is_killed_score_as_one(scored, monkeypatch, capsys):
    pytest.importorskip("ray")
    monkeypatch.setenv("ORDER", "1")
    one = scored("one", 1)
    scored.log.unlink()
    monkeypatch.setenv("DELAY", "0.005")

    def kill() -> None:
        while len(begun := scored.log.read_text().split() if scored.log.exists() else []) < 20:
            time.sleep(0.01)
        os.kill(int(begun[-1]), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    two = scored("two", 2, engine="ray")
    assert _bytes(two) == _bytes(one)
    assert _evidence(two) == _evidence(one)
    workers = set(scored.log.read_text().split())
    assert len(workers) == 3
    assert str(os.getpid()) not in workers
    assert "judge: 1080/1080 images, 2 workers, 1 lost" in capsys.readouterr().err


def test_a_cluster_adds_to_what_is_known(scored):
    """Evidence that is there stays, and only chunks in which some is missing are sent."""
    pytest.importorskip("ray")
    one = scored("one", 1)
    for file in (one.parents[1] / "evidence").glob("[!i]*.sqlite"):
        with sqlite3.connect(file) as base:
            base.execute("DELETE FROM evidence WHERE rowid > 300")
    known, first = _evidence(one), _bytes(one)
    scored.log.unlink()
    two = scored("one", 1, engine="ray")
    assert _bytes(two) == first
    assert all(len(known[name][1]) < len(rows[1]) for name, rows in _evidence(two).items())
    assert 0 < len(scored.log.read_text().split()) < 1080 / 16 * 3


def test_workers_elsewhere_cannot_read_files_of_this_machine(scored, tmp_path):
    (tmp_path / "boxes.json").write_text("[]")
    with pytest.raises(UsageError, match=r"detector reads files of results.* Leave --engine out"):
        scored("one", 2, engine="ray", detector=f"file:{tmp_path / 'boxes.json'}")
    with pytest.raises(UsageError, match="--address belongs to --engine ray"):
        scored("one", 2, address="auto")
    with pytest.raises(UsageError, match=r"Unknown engine 'rya'\. Did you mean 'ray'"):
        scored("one", 1, engine="rya")


def test_what_is_known_hires_nobody(scored, monkeypatch):
    first = _bytes(scored("one", 1, broken=False))
    monkeypatch.setattr("radl_bench.scoring.workers.crew_of", None)
    assert _bytes(scored("one", 2, broken=False)) == first


def test_killed_again_and_again_nothing_is_lost(scored, monkeypatch):
    """Ten times, whichever worker last asked its judge is killed with -9."""
    one, killed = scored("one", 1), set()
    scored.log.unlink()
    monkeypatch.setenv("DELAY", "0.002")

    def kill() -> None:
        while len(killed) < 10:
            begun = scored.log.read_text().split() if scored.log.exists() else []
            # More than a chunk's calls by the victim: it holds another chunk than that which it was given first, and
            # which one or two before it may have been killed over.
            if begun and begun[-1] not in killed and begun.count(begun[-1]) > 5:
                killed.add(begun[-1])
                os.kill(int(begun[-1]), signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    two = scored("two", 2)
    assert len(killed) == 10
    assert _bytes(two) == _bytes(one)
    assert _evidence(two) == _evidence(one)


def test_an_image_that_costs_its_judges_is_named(scored, monkeypatch):
    monkeypatch.setenv("DEADLY", "10")
    with pytest.raises(BadAnswer, match=r"tiny-002_10 cannot be judged: 3 workers were lost over it: .* exit code 7"):
        scored("one", 2)


def test_errors_of_judges_are_those_of_one_process(scored, monkeypatch):
    monkeypatch.setenv("MISSING", "1")
    for workers in (1, 2):
        with pytest.raises(MissingWeights, match="Fetch the weights first"):
            scored(f"missing-{workers}", workers)
    for workers in (0, -2):
        with pytest.raises(UsageError, match="--workers must be at least 1"):
            scored("none", workers)


def test_judges_that_differ_are_refused():
    _check_alike({"detector": "a"}, {"detector": "a"})
    with pytest.raises(UsageError, match="the detector is a in one place and b in another"):
        _check_alike({"detector": "a"}, {"detector": "b"})


def test_rows_from_elsewhere_leave_what_is_known(tmp_path):
    here = EvidenceTable(tmp_path / "here.sqlite", "s", ("image",), {"x": "number", "v": "floats"})
    there = EvidenceTable(tmp_path / "there.sqlite", "s", ("image",), {"x": "number", "v": "floats"})
    here.add(("a",), (1.0, np.array([1.0, 2.0])))
    here.flush()
    there.add(("a",), (2.0, np.array([3.0])))
    there.flush()
    rows, mark = there.since(0)
    there.add(("b",), (3.0, np.array([4.0])))
    there.flush()
    more, last = there.since(mark)
    assert ([row[0] for row in rows], [row[0] for row in more], there.since(last)) == (["a"], ["b"], ([], last))
    here.put([*rows, *more])
    assert here[("a",)][0] == 1.0
    assert here[("b",)][0] == 3.0
    assert here[("b",)][1].tolist() == [4.0]


def test_two_processes_may_make_one_table(tmp_path):
    """Opened in many threads at once, a table has its judge once."""
    for n in range(20):
        file, start = tmp_path / f"{n}.sqlite", threading.Barrier(4)

        def fill(k: int, file: Path = file, start: threading.Barrier = start) -> None:
            table = EvidenceTable(file, "s", ("image",), {"x": "number"})
            start.wait()
            table.add((str(k),), (float(k),))
            table.flush()
            table.close()

        threads = [threading.Thread(target=fill, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with sqlite3.connect(file) as base:
            assert base.execute("SELECT count(*) FROM judge").fetchone() == (1,)
            assert base.execute("SELECT count(*) FROM evidence").fetchone() == (4,)
