"""Images out of a benchmark and a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from radl_bench.benchmarks.loading import load_benchmark, source_of
from radl_bench.devices import check_device
from radl_bench.runs.generate import Outcome, generate_run, has_mini
from radl_bench.runs.workers import Recipe, opened
from radl_bench.runs.writer import Shard
from radl_bench.scoring.chosen import choose
from radl_bench.stores.roots import copy_of, root_of
from radl_bench.types import Benchmark


def generate(
    benchmark: str | Path | Benchmark,
    method: str = "radl",
    *,
    model: str | None = None,
    settings: Mapping[str, object] | None = None,
    level: int | None = None,
    levels: str | Iterable[int] | None = None,
    limit: int | None = None,
    images_per_sample: int | None = None,
    shard: str = "1/1",
    batch_size: int | None = None,
    seed: int = 0,
    seed_policy: str = "hashed",
    runs: str | Path = "runs",
    device: str | None = None,
    argv: Sequence[str] = (),
    started: Callable[[str | None], None] | None = None,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
) -> Outcome:
    """Make the images of a benchmark with a method. Calling it again resumes; finished images are kept.

    Args:
        benchmark: a name, a folder, a file of samples, or a loaded benchmark.
        method: a name, or `path/to/file.py:Class`.
        model: "mini", "sd14" or a path; "mini" for methods that have it when not given.
        settings: of the method, as `--set` takes them.
        level, levels, limit: which samples, as in `load_benchmark`; not together with a loaded benchmark.
        images_per_sample: the benchmark's own number when not given.
        shard: "I/N", the I-th of N parts.
        batch_size: images at once, at most.
        seed, seed_policy: base of all seeds; "hashed" or "fixed".
        runs: folder of the runs, or the address of a store as a text.
        device: "cpu", "cuda", ...; the best one when not given.
        argv: command line, for the manifest.
        started: called with the model when all is checked and the method is about to be loaded.
        workers: processes of this machine, or actors of a Ray cluster.
        engine: "local" or "ray"; address: of the cluster.

    Returns:
        Where the run is (`run`), and how many images were made, resumed and failed; the reasons are in its rows.

    Raises:
        RadlBenchError: what is wrong with the call, or what is missing.
    """
    part, place = Shard.parse(shard), root_of(runs).absolute()
    check_device(device)
    chosen, source = _benchmark(benchmark, level=level, levels=levels, limit=limit)
    choose(chosen)  # a metric that cannot be scored is told before an image is made
    keeper = copy_of(place)
    if keeper is not None:
        keeper.store.check()
    if model is None and has_mini(method):
        model = "mini"
    if started is not None:
        started(model)
    with opened(Recipe(method, model, device, dict(settings or {})), workers, engine, address) as maker:
        return generate_run(
            chosen,
            maker,
            out=place,  # absolute, since the method may change the folder it works in
            images_per_sample=images_per_sample,
            base_seed=seed,
            seed_policy=seed_policy,
            shard=part,
            batch_size=batch_size,
            argv=argv,
            source=source,
            keeper=keeper,
        )


def _benchmark(benchmark: str | Path | Benchmark, **part: object) -> tuple[Benchmark, str | None]:
    """Return the benchmark, cut down as asked, and where it is to be found again."""
    if isinstance(benchmark, Benchmark):
        from radl_bench.errors import UsageError

        if any(value is not None for value in part.values()):
            raise UsageError("level, levels and limit belong to load_benchmark where a loaded benchmark is given.")
        return benchmark, None if benchmark.folder is None else source_of(benchmark.folder)
    return load_benchmark(benchmark, **part), source_of(benchmark)  # type: ignore[arg-type]
