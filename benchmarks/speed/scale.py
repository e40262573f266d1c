"""Growth with the number of images: time and memory of plan, resume, score and report on synthetic runs.

    python benchmarks/speed/scale.py 10000 100000 --steps plan,resume,score,report

A run of N rows has N / 100 samples, each with 100 images that are one tiny file linked N times, so that file
systems are measured and drawing is not; its judges are `oracle` and `blind`. Each step runs in a process of its own:
CPU seconds, and the largest memory of that process beyond what it had after its imports.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

PER_SAMPLE = 100
STEPS = ("plan", "resume", "score", "report")


def main() -> None:
    """Print one line a step and size, as it is measured."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("rows", type=int, nargs="+", help="rows of each run, at least 100")
    options.add_argument("--steps", default=",".join(STEPS), help="of %(default)s")
    options.add_argument("--folder", type=Path, help="where runs are made, or found again; a temporary one by default")
    given = options.parse_args()
    top = given.folder or Path(mkdtemp())
    print("| rows | step | CPU s | wall s | memory MB |\n|---|---|---|---|---|", flush=True)
    try:
        for rows in given.rows:
            folder = top / str(rows)
            if not folder.exists():
                measured(lambda at=folder, n=rows: make_run(at, max(n // PER_SAMPLE, 1)), ())  # its memory is not ours
            (run,) = (file.parent for file in folder.glob("runs/*/*/*/manifest.json"))
            for step in given.steps.split(","):
                cpu, wall, memory = measured(globals()[f"_{step}"], (run,))
                print(f"| {rows:,} | {step} | {cpu:.1f} | {wall:.1f} | {memory:.0f} |", flush=True)
    finally:
        if given.folder is None:
            shutil.rmtree(top)


def make_run(folder: Path, samples: int) -> Path:
    """Write a benchmark and a complete run of it; returns the run's folder."""
    from radl_bench.benchmarks.loading import load_benchmark
    from radl_bench.runs.made import encode_png
    from radl_bench.runs.store import NESTED, RunFolder
    from radl_bench.runs.writer import image_file

    source = _benchmark(folder / "benchmark", samples)
    benchmark = load_benchmark(source)
    generator = {"name": "synthetic", "revision": "1", "model": None, "params": {}, "weights_sha256": None}
    run = RunFolder.create(
        folder / "runs", benchmark, generator, images_per_sample=PER_SAMPLE, source=str(source), scale="mini"
    )
    nested = run.manifest["images"] == NESTED
    from PIL import Image

    content = encode_png(Image.new("RGB", (128, 128), (200, 30, 30)))
    facts = {"seed": 1, "sha256": hashlib.sha256(content).hexdigest(), "width": 128, "height": 128, "status": "ok"}
    link = _Linker(folder / "image", content)
    with open(run.path / "generations-0of1.jsonl", "w") as rows:
        for k in range(PER_SAMPLE):
            for sample in benchmark.samples:
                stat = link(run.path / (file := image_file(sample.id, k, nested)))
                row = {"sample_id": sample.id, "k": k, "file": file, **facts, "error": None, "seconds": 0.1}
                at = f"2026-01-01T00:00:{k:02d}.000000+00:00"
                rows.write(json.dumps({**row, "at": at, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}) + "\n")
    run.update_status()
    return run.path


class _Linker:
    """Links one file to many names; a new one whenever the file system allows no further link."""

    def __init__(self, file: Path, content: bytes) -> None:
        self._file, self._content = file, content
        file.write_bytes(content)

    def __call__(self, name: Path) -> os.stat_result:
        name.parent.mkdir(exist_ok=True)
        try:
            os.link(self._file, name)
        except OSError:
            self._file.unlink()
            self._file.write_bytes(self._content)
            os.link(self._file, name)
        stat = os.stat(name)
        os.utime(name, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
        return stat


def _benchmark(folder: Path, samples: int) -> Path:
    folder.mkdir(parents=True)
    names, colors = ("car", "dog", "bench", "cup"), ("red", "blue", "green", "white")
    lines = []
    for n in range(samples):
        things = [
            {
                "phrase": f"a {colors[i]} {names[i]}",
                "category": names[i],
                "color": colors[i],
                "box": [i / 4, 0.25, (i + 1) / 4, 0.75],
            }
            for i in range(2 + n % 3)
        ]
        prompt = "a photo of " + " and ".join(str(thing["phrase"]) for thing in things)
        lines.append(
            json.dumps({"id": f"s{n:06d}", "prompt": prompt, "instances": things, "relations": [], "verbs": ""}) + "\n"
        )
    content = "".join(lines).encode()
    (folder / "samples.jsonl").write_bytes(content)
    facts = {"name": "scale", "version": "1", "license": "CC0-1.0", "citation": "none", "resolution": 128}
    table = {**facts, "images_per_sample": 1, "samples_sha256": hashlib.sha256(content).hexdigest()}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
    (folder / "benchmark.toml").write_text(text + "[metrics.success]\niou = 0.5\n")
    return folder


def _plan(run: Path) -> None:
    from radl_bench.benchmarks.loading import benchmark_of
    from radl_bench.runs.generate import plan
    from radl_bench.runs.store import RunFolder

    assert plan(benchmark_of(RunFolder.open(run).manifest), PER_SAMPLE)


def _resume(run: Path) -> None:
    """Plan, find out that all is done, write the status: what a second `generate` does."""
    from radl_bench.benchmarks.loading import benchmark_of
    from radl_bench.runs.generate import plan
    from radl_bench.runs.notes import notes_of
    from radl_bench.runs.store import RunFolder

    folder = RunFolder.open(run)
    benchmark = benchmark_of(folder.manifest)
    with folder.writer():
        tasks, done = plan(benchmark, PER_SAMPLE), folder.done()
    assert all((task.sample.id, task.k) in done for task in tasks)
    del tasks, done
    notes_of(run, benchmark, folder.settle())


def _score(run: Path) -> None:
    from radl_bench.scoring.score import score_runs

    score_runs([run], detector="blind", segmenter="box", encoder="none", features="none")


def _report(run: Path) -> None:
    _command("report", str(run), "--out", str(run.parent / "report.md"), "--format", "markdown")


def _command(*arguments: str) -> None:
    from radl_bench.cli import main

    sys.argv = ["radl-bench", *arguments]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"radl-bench {' '.join(arguments)} ended with {end.code}") from None


def measured(step: Callable[..., object], arguments: tuple[Path, ...]) -> tuple[float, float, float]:
    """Return CPU seconds, wall seconds and megabytes of a step in a forked process."""
    _imports()
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            before, cpu, wall = _memory(), time.process_time(), time.perf_counter()
            problem = ""
            try:
                step(*arguments)
            except BaseException as error:
                problem = f"{type(error).__name__}: {error} {said.getvalue()[-300:]}"
            facts = [time.process_time() - cpu, time.perf_counter() - wall, _memory() - before, problem]
        os.write(theirs, json.dumps(facts).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as answer:
        cpu, wall, memory, problem = json.loads(answer.read())
    os.waitpid(child, 0)
    if problem:
        raise RuntimeError(problem)
    return cpu, wall, memory


def _imports() -> None:
    """Import what the steps share, so that none is charged for it."""
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import radl_bench.report
    import radl_bench.scoring.score  # noqa: F401


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
