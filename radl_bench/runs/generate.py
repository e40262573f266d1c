"""The generation loop: plan, skip what is done, batch, write an image and its row."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from radl_bench.described import NOT_SETTINGS, parameters_of
from radl_bench.errors import DiskFull, Interrupted, RadlBenchError, UsageError, did_you_mean
from radl_bench.packages import cannot_import
from radl_bench.progress import stage
from radl_bench.registry import GENERATORS, describe_error, resolve
from radl_bench.runs.apart import apart
from radl_bench.runs.environment import describe_git
from radl_bench.runs.identity import forget_imports
from radl_bench.runs.in_hand import InHand, told
from radl_bench.runs.making import InProcess, Source, Task, facts_of
from radl_bench.runs.notes import notes_of
from radl_bench.runs.saving import Keeping, Saving
from radl_bench.runs.scale import MINI
from radl_bench.runs.seeds import image_seed
from radl_bench.runs.store import RunFolder
from radl_bench.runs.writer import ImageRow, Shard
from radl_bench.types import MAX_IMAGES, Benchmark, Generator

_NOTED_SECONDS = 0.5
"""Batches of that time are noted together before they are made."""


@dataclass(frozen=True)
class Outcome:
    """What a call of `generate_run` did; `seconds` is wall time, `generator_seconds` the part spent in the method.

    `notes` are sentences about the images of the run (`runs.notes`) and about calls that had to be repeated.
    """

    run: Path
    planned: int
    made: int
    resumed: int
    failed: int
    seconds: float
    generator_seconds: float
    notes: tuple[str, ...] = ()


class Keeper(Protocol):
    """Another place where a run is kept, such as an object store (`radl_bench.stores`)."""

    def fetch(self, run: Path, /) -> object:
        """Bring what is known of a run into its folder, without images."""

    def keeping(self, run: Path, shard: str) -> AbstractContextManager[Keeping]:
        """Keep what is made of a shard in the block; raises `UsageError` where somebody else makes it."""


def generate_run(
    benchmark: Benchmark,
    generator: Generator | Source,
    *,
    out: str | Path = "runs",
    model: str | None = None,
    images_per_sample: int | None = None,
    base_seed: int = 0,
    seed_policy: str = "hashed",
    shard: Shard | None = None,
    batch_size: int | None = None,
    argv: Sequence[str] = (),
    source: str | None = None,
    description: Mapping[str, object] | None = None,
    keeper: Keeper | None = None,
) -> Outcome:
    """Make the images of a benchmark that are not made yet.

    An exception of the generator costs no other image: the batch is made again one by one, and only the guilty image
    becomes a row with status "error". Missing weights, packages or data end the run instead.

    Args:
        generator: a method, or workers that hold one each (`runs.workers.Workers`).
        model: what the manifest says about the generator's model.
        images_per_sample: images of a sample; the benchmark's own number when None.
        batch_size: images a call of the generator, at most (and by default) its `max_batch`.
        argv: the command line, for the manifest.
        source: folder of a benchmark that is not known by name (`benchmark.source_of`).
        description: more facts about the generator for the manifest, those of `identity.identity_of`.
        keeper: keeps the run in another place too.

    Raises:
        UsageError: a number out of range, or another process writes the same shard.
        Interrupted: on Ctrl-C; the same call goes on where it stopped.
    """
    for value, flag in ((images_per_sample, "--images-per-sample"), (batch_size, "--batch-size")):
        if value is not None and not 1 <= value <= MAX_IMAGES:
            raise UsageError(f"{flag} must be at least 1 and at most {MAX_IMAGES}, not {value}.")
    count, shard = images_per_sample or benchmark.images_per_sample, shard or Shard()
    tasks = plan(benchmark, count, base_seed=base_seed, policy=seed_policy, shard=shard)
    top = Path(out).absolute()  # since a generator may change the folder it works in
    maker = generator if isinstance(generator, Source) else InProcess(generator, facts_of(generator, model))
    facts = maker.facts
    run = RunFolder.create(
        top,
        benchmark,
        {**facts.description, **(description or {})},
        images_per_sample=count,
        seeds={"policy": seed_policy, "base": base_seed},
        environment=facts.environment,
        git=describe_git(),
        argv=list(argv),
        source=source,
        scale=facts.scale,
        before=None if keeper is None else keeper.fetch,
    )
    size = min(batch_size or facts.max_batch, facts.max_batch)
    outcome = _run(run, benchmark, maker, tasks, shard, size, keeper)
    return replace(outcome, run=Path(out) / run.path.relative_to(top))


def plan(
    benchmark: Benchmark,
    images_per_sample: int,
    *,
    base_seed: int = 0,
    policy: str = "hashed",
    shard: Shard | None = None,
) -> list[Task]:
    """Return the images of a shard in the order of their making: the first of every sample, then the second, ...

    Samples are dealt out to shards in the order of their levels, so that all shards get the same mixture.
    """
    shard = shard or Shard()
    dealt = sorted(benchmark.samples, key=lambda sample: sample.level)[shard.index :: shard.count]
    return [
        Task(sample, k, image_seed(benchmark.name, sample.id, k, base=base_seed, policy=policy))
        for k in range(images_per_sample)
        for sample in dealt
    ]


def build_generator(
    spec: str, *, model: str | None = None, device: str | None = None, settings: Mapping[str, object] | None = None
) -> Generator:
    """Return an instance of a method given by name or as `path/to/file.py:Class`.

    `model` and `device` are passed on when they are not None and the class accepts them; `settings` must be accepted.

    Raises:
        UsageError: unknown method or setting, or the class fails or is no generator.
    """
    with apart(fresh=True):
        forget_imports(spec)
        cls = resolve("generators", spec)
        wanted = {"model": model, "device": device} | dict(settings or {})
        arguments = {key: value for key, value in wanted.items() if value is not None or key in (settings or {})}
        accepted = parameters_of(cls)
        if accepted is not None:
            for key in arguments:
                if key not in accepted and key != "device":
                    raise UsageError(_not_accepted(spec, key, accepted))
            arguments = {key: value for key, value in arguments.items() if key in accepted}
        try:
            return _checked(cls(**arguments), spec)
        except RadlBenchError:
            raise
        except ImportError as error:
            raise cannot_import(error, f"The method {spec}") from error
        except (Exception, SystemExit) as error:
            raise UsageError(f"The method {spec} could not be set up: {describe_error(error)}.") from error


def accepts(spec: str, setting: str) -> bool:
    """Say whether a method, by name or as `path/to/file.py:Class`, takes this setting."""
    accepted = parameters_of(resolve("generators", spec))
    return accepted is None or setting in accepted


def has_mini(spec: str) -> bool:
    """Say whether a method that is built in has the embedded model: it lists "mini" among its `models`."""
    return spec in GENERATORS and MINI in getattr(resolve("generators", spec), "models", ())


def _run(
    run: RunFolder,
    benchmark: Benchmark,
    maker: Source,
    tasks: list[Task],
    shard: Shard,
    batch_size: int,
    keeper: Keeper | None,
) -> Outcome:
    start = time.perf_counter()
    kept = contextlib.nullcontext() if keeper is None else keeper.keeping(run.path, shard.name)
    with run.writer(shard) as writer, kept as keep:
        done = run.done(None if keep is None else keep.sizes)
        todo = [task for task in tasks if (task.sample.id, task.k) not in done]
        try:
            with stage("generate", len(tasks), resumed=len(tasks) - len(todo)) as bar:
                if writer.in_hand.found is not None:
                    have = {f"{sample}_{k}" for sample, k in done}
                    bar.say(told([name for name in writer.in_hand.found if name not in have], len(done)))
                saved = Saving(run.path, writer, keep, bar, maker)
                saved.all(maker.images(_noted(_batches(todo, batch_size), writer.in_hand)))
        except BaseException as error:
            rows = []
            with contextlib.suppress(DiskFull):  # there is one on its way already
                rows = run.settle(interrupted=True)
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(_how_to_resume(run, rows)) from None
            raise
        if keep is not None:
            keep.catch_up()
        rows = run.settle()
    made = len(todo) - saved.failed
    notes = (*notes_of(run.path, benchmark, rows), *maker.notes())
    seconds = time.perf_counter() - start
    return Outcome(run.path, len(tasks), made, len(tasks) - len(todo), saved.failed, seconds, saved.spent, notes)


def _batches(tasks: list[Task], size: int) -> Iterator[list[Task]]:
    """Yield the first task alone, so that progress and the time left show at once, then batches of `size`."""
    yield from [tasks[:1]] * bool(tasks)
    for first in range(1, len(tasks), size):
        yield tasks[first : first + size]


def _noted(batches: Iterator[list[Task]], in_hand: InHand) -> Iterator[list[Task]]:
    """Write down the batches before they are dealt out, with the one before, which may not be saved yet.

    Those of about half a second are noted together, since writing can take milliseconds; after an earlier call that
    ended without a word each is noted alone, so that the image which ends the process becomes known.
    """
    before: list[str] = []
    count = 1
    while group := list(itertools.islice(batches, count)):
        names = [[f"{task.sample.id}_{task.k}" for task in batch] for batch in group]
        in_hand.take([*before, *itertools.chain(*names)])
        start = time.perf_counter()
        yield from group
        before = names[-1]
        if in_hand.found is None:
            count = max(1, min(2 * count, int(_NOTED_SECONDS * count / max(time.perf_counter() - start, 1e-9))))


def _how_to_resume(run: RunFolder, rows: list[ImageRow]) -> str:
    made = sum(row["status"] == "ok" for row in rows)
    return f"{made} of {run.planned} images are in {run.path}. Run the same command again to continue."


def _not_accepted(spec: str, key: str, accepted: Iterable[str]) -> str:
    if key == "model":
        return f"The method {spec} takes no --model. Leave the option out."
    settings = set(accepted) - set(NOT_SETTINGS)
    if not settings:
        return f"The method {spec} has no settings, so --set {key}=... has no place to go."
    return did_you_mean(key, settings, f"setting of {spec}")


def _checked(generator: Any, spec: str) -> Generator:
    kinds: dict[str, type] = {"name": str, "revision": str, "max_batch": int}
    for member, kind in kinds.items():
        if not isinstance(getattr(generator, member, None), kind):
            raise UsageError(f"{spec} is not a generator: it needs the attribute '{member}' ({kind.__name__}).")
    if generator.max_batch < 1 or not callable(getattr(generator, "generate", None)):
        raise UsageError(f"{spec} is not a generator: it needs max_batch >= 1 and generate(samples, seeds).")
    return generator
