"""Checking what is on this machine against the sums it was recorded with: benchmarks, runs, and what was fetched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from radl_bench.benchmarks.builders import MANIFEST
from radl_bench.benchmarks.loading import benchmark_folder, benchmark_folders, load_benchmark
from radl_bench.benchmarks.samples import find_problems
from radl_bench.benchmarks.toml import promises_of, read_toml
from radl_bench.downloads.fetch import catalogue, verify_fetched
from radl_bench.errors import RadlBenchError, UsageError, did_you_mean
from radl_bench.files import file_sha256
from radl_bench.hints import command
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.seen_files import SeenFiles

SHOWN = 20
"""Problems of one file that are listed one by one."""


class Checked(NamedTuple):
    """One thing that was looked at: its name, where it is, what it is when sound, and what is wrong with it."""

    name: str
    folder: Path
    detail: str
    problems: list[str]


def verify(name: str | None = None) -> Iterator[Checked]:
    """Check the benchmark or fetched thing `name`, the folder of a benchmark or run, or all but the runs.

    Raises:
        UsageError: the name means nothing.
    """
    fetched = {found: (folder, problems) for found, folder, problems in (verify_fetched() if name is None else ())}
    if name is None:
        for known, folder in benchmark_folders().items():
            yield _benchmark(known, folder)
    elif (Path(name) / "manifest.json").is_file() and not (Path(name) / "benchmark.toml").is_file():
        yield _run(Path(name))
    elif name in catalogue() and name not in benchmark_folders():
        fetched = {found: (folder, problems) for found, folder, problems in verify_fetched(name)}
        if not fetched:
            raise UsageError(f"{name} was not fetched. Run: {command('fetch', name)}")
    else:
        yield _benchmark(name, _folder(name))
    for found, (folder, problems) in fetched.items():
        yield Checked(found, folder, "as it was fetched", problems)


def _folder(name: str) -> Path:
    try:
        return benchmark_folder(name)
    except UsageError:
        known = {*benchmark_folders(), *catalogue()}
        raise UsageError(did_you_mean(name, known, "benchmark or fetched thing")) from None


def _benchmark(name: str, folder: Path) -> Checked:
    try:
        benchmark = load_benchmark(folder)
    except RadlBenchError as error:
        return Checked(name, folder, "", [*_rows(folder), *_files(folder)] or [str(error)])
    detail = f"version {benchmark.version}, {len(benchmark.samples)} samples, sha256 {benchmark.samples_sha256[:8]}"
    return Checked(name, folder, detail, _files(folder))


def _run(folder: Path) -> Checked:
    """Hash every image of a run; what differs is noticed by scoring too from then on."""
    try:
        run = RunFolder.open(folder)
        rows = [row for row in run.rows() if row["status"] == "ok"]
        record = SeenFiles(run.evidence_dir)
        problems = record.verify((folder / row["file"], row["sha256"]) for row in rows)
    except RadlBenchError as error:
        return Checked(str(folder), folder, "", [str(error)])
    return Checked(folder.name, folder, f"{len(rows)} images", problems)


def _rows(folder: Path) -> list[str]:
    """Every row that is wrong, where the loader names the first alone."""
    try:
        promises = promises_of(read_toml(folder / "benchmark.toml"))
        file = folder / "samples.jsonl"
        problems = find_problems(file.read_bytes(), str(file), **promises)
    except (RadlBenchError, OSError):
        return []
    more = len(problems) - SHOWN
    return [*problems[:SHOWN], *[f"{file}: and {more} more lines."] * (more > 0)]


def _files(folder: Path) -> list[str]:
    """What differs from the manifest that a full-size benchmark was built with."""
    file = folder / MANIFEST
    if not file.is_file():
        return []
    try:
        recorded = dict(json.loads(file.read_bytes())["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return [f"{file} is broken. Build the benchmark again."]
    return [
        f"{folder / name} is not what {MANIFEST} says. Build the benchmark again."
        for name, digest in recorded.items()
        if not (folder / name).is_file() or file_sha256(folder / name) != digest
    ]
