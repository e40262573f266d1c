"""Two workers beside one: images an hour, CPU seconds, and the same bytes, also where workers are killed.

    python benchmarks/speed/workers.py                         interleaved runs of 1 and 2 workers, medians
    python benchmarks/speed/workers.py --images 2000 --kills 10 --busy 0.005

The method keeps a core busy for a while (by its own CPU time) and draws an image from the seed. Setting the workers up
is not counted. With --kills, workers are killed with -9 at random moments of a run of two, whose images and rows are
then compared with those of one worker.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import signal
import statistics
import tempfile
import threading
import time
from pathlib import Path

METHOD = """
import os, time
import numpy as np
from PIL import Image


class Busy:
    name, revision, max_batch = "busy", "1", 4

    def __init__(self, busy=0.05, log=""):
        self.busy, self.log = busy, log

    def generate(self, samples, seeds):
        if self.log:
            with open(self.log, "a") as log:
                log.write(f"{os.getpid()}\\n")
        end = time.thread_time() + self.busy * len(seeds)
        while time.thread_time() < end:
            pass
        return [Image.fromarray(np.full((128, 128, 3), seed % 256, np.uint8)) for seed in seeds]
"""


def main() -> None:
    """Print a row a number of workers, or one of the killing."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=160)
    options.add_argument("--busy", type=float, default=0.05, help="CPU seconds an image")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--kills", type=int, default=0)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as top:
        (Path(top) / "busy.py").write_text(METHOD)
        killing(Path(top), given) if given.kills else comparing(Path(top), given)


def comparing(top: Path, given: argparse.Namespace) -> None:
    """Run 1, 2, 1, 2, ... workers and print the medians."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    costs: dict[int, list[float]] = {1: [], 2: []}
    sums = set()
    for n in range(given.rounds):
        for workers in rates:
            folder, wall, cpu = made(top, top / f"{workers}-{n}", workers, given)
            rates[workers].append(3600 * given.images / wall)
            costs[workers].append(cpu / given.images)
            sums.add(digest(folder))
    assert len(sums) == 1, "the images differ"
    print("| workers | images an hour | CPU ms an image | ratio |\n|---|---|---|---|")
    for workers, rate in rates.items():
        ratio = statistics.median(rate) / statistics.median(rates[1])
        cost = 1e3 * statistics.median(costs[workers])
        print(f"| {workers} | {statistics.median(rate):,.0f} | {cost:.1f} | {ratio:.2f} |")


def killing(top: Path, given: argparse.Namespace) -> None:
    """Kill workers of a run and compare what it leaves with the run of one."""
    one, _, _ = made(top, top / "one", 1, given)
    log, killed = top / "log", set()

    def kill() -> None:
        while len(killed) < given.kills:
            time.sleep(random.uniform(0.2, 0.8))
            begun = log.read_text().split() if log.exists() else []
            if begun and begun[-1] not in killed:
                killed.add(begun[-1])
                os.kill(int(begun[-1]), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    two, _, _ = made(top, top / "two", 2, given, str(log))
    rows = sum(file.read_bytes().count(b"\n") for file in two.glob("generations-*.jsonl"))
    same = digest(one) == digest(two)
    lost, more = given.images - len(list(two.rglob("*.png"))), rows - given.images
    print(f"{len(killed)} workers killed in {given.images:,} images: {lost} lost, {more} doubled, same bytes: {same}")


def made(top: Path, out: Path, workers: int, given: argparse.Namespace, log: str = "") -> tuple[Path, float, float]:
    """Return the run, wall seconds and CPU seconds, those of the workers included."""
    from radl_bench.benchmarks.loading import load_benchmark
    from radl_bench.runs.generate import generate_run
    from radl_bench.runs.workers import Recipe, opened

    benchmark = load_benchmark("coco-mig", limit=min(given.images, 200))
    recipe = Recipe(f"{top / 'busy.py'}:Busy", settings={"busy": given.busy, "log": log})
    cpu = _cpu()
    with opened(recipe, workers) as maker:
        start = time.perf_counter()
        run = generate_run(benchmark, maker, out=out, images_per_sample=given.images // len(benchmark.samples))
        wall = time.perf_counter() - start
    return run.run, wall, _cpu() - cpu


def digest(run: Path) -> str:
    """Return one sum of all images, by name."""
    files = sorted((file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for file in run.rglob("*.png"))
    return hashlib.sha256(repr(files).encode()).hexdigest()


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in used)


if __name__ == "__main__":
    main()
