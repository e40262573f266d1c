"""What making a run costs beside the method: encoding, hashing, writing and syncing images of 512 x 512.

    python benchmarks/speed/harness.py [--images 200] [--wait 0.05]

The method waits, as one on a GPU lets the processor wait, and returns an image that it has at hand: a photograph or
noise, which is the worst that a PNG encoder can meet. The share is what the run took beyond the method's own calls.
Images are encoded and saved while the next one is made.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import tempfile
import time
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.runs.generate import generate_run

SIDE = 512


class Waits:
    """Returns one image after a while, and counts what its calls took."""

    revision, max_batch = "1", 1

    def __init__(self, name: str, image: Image.Image, wait: float) -> None:
        self.name, self._image, self._wait, self.spent = name, image, wait, 0.0

    def generate(self, samples: object, seeds: object) -> list[Image.Image]:
        """Wait, then return the image."""
        start = time.perf_counter()
        time.sleep(self._wait)
        self.spent += time.perf_counter() - start
        return [self._image]


class BuiltIn(Waits):
    """The same as a method that comes with the package."""

    __module__ = "radl_bench.generators"


def main() -> None:
    """Print rows for a photograph and for noise, as a method of the package and as one of another's."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=200)
    options.add_argument("--wait", type=float, default=0.05, help="seconds a call of the method")
    given = options.parse_args()
    photo = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    images = {
        "photograph": Image.open(photo).convert("RGB").crop((0, 0, SIDE, SIDE)),
        "noise": Image.fromarray(noise),
    }
    benchmark = load_benchmark("coco-mig", limit=given.images)
    print("| method | image | ms an image | of them the method | harness share | CPU ms an image |")
    print("|---|---|---|---|---|---|", flush=True)
    for kind, (name, image) in itertools.product((BuiltIn, Waits), images.items()):
        method = kind(name, image, given.wait)
        with tempfile.TemporaryDirectory() as out:
            start, cpu = time.perf_counter(), _cpu()
            made = generate_run(benchmark, method, out=out, images_per_sample=1).made
            wall, cpu = time.perf_counter() - start, _cpu() - cpu
        assert made == given.images
        own, all_of_it = 1e3 * method.spent / made, 1e3 * wall / made
        share = 1 - own / all_of_it
        whose = "built in" if kind is BuiltIn else "of your own"
        print(f"| {whose} | {name} | {all_of_it:.1f} | {own:.1f} | {share:.1%} | {1e3 * cpu / made:.1f} |", flush=True)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
