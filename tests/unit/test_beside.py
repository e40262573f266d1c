"""Work beside the making: in order, bounded, and done for all that was made, whatever ends the making."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.beside import beside
from radl_bench.runs.generate import generate_run
from radl_bench.runs.store import RunFolder


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
