"""Saving beside the making: what overlaps, what is waited for, and that a method's open files and umask are its own."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs import beside as module
from radl_bench.runs.beside import beside, can_have_own_files
from radl_bench.runs.generate import _noted, generate_run
from radl_bench.runs.in_hand import InHand
from radl_bench.runs.store import RunFolder

linux = pytest.mark.skipif(not can_have_own_files(), reason="a thread cannot have open files of its own here")


CLOSES = """
import os, sys, time
import numpy as np
from PIL import Image
from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs import saving
from radl_bench.runs.generate import generate_run

class Closes:
    name, revision, max_batch = "closes", "1", 1

    def generate(self, samples, seeds):
        os.umask(0o777)
        os.closerange(3, 4000)
        time.sleep(0.004)  # less than the encoding of such an image takes
        os.closerange(3, 4000)
        pixels = np.random.default_rng(seeds[0]).integers(0, 256, (512, 512, 3), dtype=np.uint8)
        return [Image.fromarray(pixels)]

benchmark, out, own_files = sys.argv[1:]
if own_files == "no":
    saving.can_have_own_files = lambda: False
outcome = generate_run(load_benchmark(benchmark), Closes(), out=out)
print(outcome.made, outcome.failed)
"""


@pytest.mark.parametrize("own_files", [pytest.param("yes", marks=linux), "no"])
def test_a_method_that_closes_files_and_forbids_new_ones_harms_no_image(tiny_benchmark, tmp_path, own_files):
    out = tmp_path / "runs"
    call = [sys.executable, "-c", CLOSES, str(tiny_benchmark), str(out), own_files]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["9", "0"], done.stderr
    (path,) = out.glob("*/*/*")
    run = RunFolder.open(path)
    assert (run.status, len(run.done())) == ("complete", 9)
    for file in (path / "images").glob("*.png"):
        assert stat.S_IMODE(file.stat().st_mode) & 0o600 == 0o600
        assert Image.open(file).convert("RGB").size == (512, 512)


def test_what_is_in_hand_is_never_written_into_a_file_of_the_method(tmp_path):
    in_hand = InHand(tmp_path, "0of1")
    os.close(in_hand._file)
    theirs = os.open(tmp_path / "theirs", os.O_WRONLY | os.O_CREAT)
    assert theirs == in_hand._file
    in_hand.take(["a_0", "b_0"])
    os.close(theirs)
    assert (tmp_path / "theirs").read_bytes() == b""
    assert InHand(tmp_path, "0of1").found == ["a_0", "b_0"]


def test_quick_batches_are_noted_together_and_one_by_one_after_a_call_that_ended_without_a_word(tmp_path):
    sample = SimpleNamespace(id="a")
    batches = [[SimpleNamespace(sample=sample, k=k)] for k in range(20)]
    first = InHand(tmp_path, "0of1")
    assert first.found is None
    assert len(list(_noted(iter(batches), first))) == 20
    again = InHand(tmp_path, "0of1")
    assert again.found[-1] == "a_19"
    assert len(again.found) > 2
    assert len(list(_noted(iter(batches), again))) == 20
    assert InHand(tmp_path, "0of1").found == ["a_18", "a_19"]


@linux
def test_the_thread_has_files_and_a_umask_of_its_own(tmp_path):
    number = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    before = os.umask(0o022)
    try:
        closed, seen = threading.Event(), []

        def making():
            yield 0
            yield 1
            os.close(number)
            os.umask(0o777)
            closed.set()

        def work(item):
            if item:
                assert closed.wait(10)
                os.write(number, b"still open")
                (tmp_path / "new").write_text("readable")
            seen.append(item)

        beside(work, making(), own_files=True)
    finally:
        os.umask(before)
    assert seen == [0, 1]
    assert (tmp_path / "file").read_bytes() == b"still open"
    assert (tmp_path / "new").read_text() == "readable"


def test_the_first_items_work_is_done_before_the_second_is_made():
    told = []

    def making():
        yield 1
        assert told == [1]
        yield 2

    def work(item):
        time.sleep(0.02)
        return item

    beside(work, making(), told.append)
    assert told == [1, 2]


def test_work_goes_on_while_the_next_items_are_made_and_no_further_behind_than_said():
    begun, behind = [0], []

    def making():
        for item in range(8):
            behind.append(item - begun[0])
            yield item

    def work(item):
        time.sleep(0.01)
        begun[0] += 1

    beside(work, making(), waiting=1)
    assert max(behind) == 1
    assert begun == [8]


def test_work_of_slow_items_is_waited_for(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE", 1.0)
    told = []

    def making():
        for item in range(4):
            assert len(told) == item
            time.sleep(0.1)
            yield item

    beside(lambda item: time.sleep(0.005), making(), told.append)
    assert len(told) == 4


def test_what_was_made_is_told_when_making_the_next_one_fails():
    told = []

    def making():
        yield 1
        yield 2
        raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        beside(lambda item: time.sleep(0.02) or item, making(), told.append)
    assert told == [1, 2]


def test_all_is_done_in_order_and_while_the_next_is_made():
    done, threads = [], set()

    def work(n: int) -> None:
        time.sleep(0.002)
        threads.add(threading.get_ident())
        done.append(n)

    def items():
        for n in range(20):
            assert n - len(done) <= 4  # two waiting, one in hand, one just made
            yield n

    beside(work, items())
    assert done == list(range(20))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_what_was_made_is_done_when_the_making_ends_badly():
    done = []

    def items():
        yield from (1, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        beside(lambda n: (time.sleep(0.05), done.append(n)), items())
    assert done == [1, 2]


def test_an_error_of_the_work_ends_the_making():
    made = []

    def items():
        for n in range(1000):
            made.append(n)
            yield n

    def work(n: int) -> None:
        if n == 3:
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        beside(work, items())
    assert len(made) < 1000


class Reuses:
    """A method that draws every image into the same one."""

    name, revision, max_batch = "reuses", "1", 1

    def __init__(self) -> None:
        self.image = Image.new("RGB", (64, 64))

    def generate(self, samples, seeds):
        pixels = np.full((64, 64, 3), seeds[0] % 251, np.uint8)
        self.image.paste(Image.fromarray(pixels))
        return [self.image]


def test_a_method_may_draw_into_the_same_image_again(tiny_benchmark, tmp_path):
    run = generate_run(load_benchmark(tiny_benchmark), Reuses(), out=tmp_path, images_per_sample=10).run
    for row in RunFolder.open(run).rows():
        assert Image.open(run / row["file"]).getpixel((5, 5)) == (row["seed"] % 251,) * 3
