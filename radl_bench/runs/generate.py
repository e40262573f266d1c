"""The generation loop: plan, skip what is done, batch, write an image and its row."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radl_bench.errors import RadlBenchError, UsageError, did_you_mean
from radl_bench.progress import Stage, stage
from radl_bench.registry import GENERATORS, describe_error, is_file_spec, resolve, source_sha256
from radl_bench.runs.environment import describe_environment, describe_git
from radl_bench.runs.seeds import image_seed
from radl_bench.runs.store import RunFolder
from radl_bench.runs.writer import Shard, ShardWriter
from radl_bench.types import Benchmark, Generator, Sample

if TYPE_CHECKING:
    from PIL.Image import Image


class Interrupted(RadlBenchError):
    """The run was stopped by hand; what is written stays."""

    exit_code = 130


@dataclass(frozen=True)
class Task:
    """One image to make: the `k`-th of `sample`, from `seed`."""

    sample: Sample
    k: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What a call of `generate_run` did; `seconds` is wall time, `generator_seconds` the part spent in the method."""

    run: Path
    planned: int
    made: int
    resumed: int
    failed: int
    seconds: float
    generator_seconds: float


def generate_run(
    benchmark: Benchmark,
    generator: Generator,
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
    description: Mapping[str, Any] | None = None,
) -> Outcome:
    """Make the images of a benchmark that are not made yet.

    An exception of the generator costs no other image: the batch is made again one by one, and only the guilty image
    becomes a row with status "error". Missing weights, packages or data end the run instead.

    Args:
        model: what the manifest says about the generator's model.
        images_per_sample: images of a sample; the benchmark's own number when None.
        batch_size: images a call of the generator, at most (and by default) its `max_batch`.
        argv: the command line, for the manifest.
        source: folder of a benchmark that is not known by name (`benchmark.source_of`).
        description: more facts about the generator for the manifest, e.g. `source_sha256`.

    Raises:
        UsageError: a number out of range, or another process writes the same shard.
        Interrupted: on Ctrl-C; the same call goes on where it stopped.
    """
    for value, flag in ((images_per_sample, "--images-per-sample"), (batch_size, "--batch-size")):
        if value is not None and value < 1:
            raise UsageError(f"{flag} must be at least 1, not {value}.")
    count, shard = images_per_sample or benchmark.images_per_sample, shard or Shard()
    tasks = plan(benchmark, count, base_seed=base_seed, policy=seed_policy, shard=shard)
    run = RunFolder.create(
        out,
        benchmark,
        {**describe_generator(generator, model), **(description or {})},
        images_per_sample=count,
        seeds={"policy": seed_policy, "base": base_seed},
        environment=describe_environment(getattr(generator, "device", None)),
        git=describe_git(),
        argv=list(argv),
        source=source,
    )
    return _run(run, generator, tasks, shard, min(batch_size or generator.max_batch, generator.max_batch))


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
    spec: str, *, model: str | None = None, device: str | None = None, settings: Mapping[str, Any] | None = None
) -> Generator:
    """Return an instance of a method given by name or as `path/to/file.py:Class`.

    `model` and `device` are passed on when they are not None and the class accepts them; `settings` must be accepted.

    Raises:
        UsageError: unknown method or setting, or the class fails or is no generator.
    """
    cls = resolve("generators", spec)
    wanted = {"model": model, "device": device} | dict(settings or {})
    arguments = {key: value for key, value in wanted.items() if value is not None or key in (settings or {})}
    accepted = _accepted(cls)
    if accepted is not None:
        for key in arguments:
            if key not in accepted and key != "device":
                raise UsageError(_not_accepted(spec, key, accepted))
        arguments = {key: value for key, value in arguments.items() if key in accepted}
    try:
        return _checked(cls(**arguments), spec)
    except RadlBenchError:
        raise
    except Exception as error:
        raise UsageError(f"The method {spec} could not be set up: {describe_error(error)}.") from error


def describe_generator(generator: Generator, model: str | None) -> dict[str, Any]:
    """Return what the manifest says about a generator: name, revision, model, params, weights_sha256.

    And `reference`, "ceiling" or "floor", of one that declares its images to be a bound of the judges.
    """
    reference = getattr(generator, "reference", None)
    return {
        "name": generator.name,
        "revision": str(generator.revision),
        "model": model,
        "params": dict(getattr(generator, "params", None) or {}),
        "weights_sha256": getattr(generator, "weights_sha256", None),
    } | ({} if reference is None else {"reference": reference})


def origin(spec: str) -> dict[str, Any]:
    """Return the facts about a method of the user's own file: edited code is another method, and gets a new run."""
    return {"source_sha256": source_sha256(spec)} if is_file_spec(spec) else {}


def takes_model(spec: str) -> bool:
    """Say whether `--model` means something to this method; the built-in ones all take it."""
    return spec in GENERATORS


def _run(run: RunFolder, generator: Generator, tasks: list[Task], shard: Shard, batch_size: int) -> Outcome:
    start, spent, failed = time.perf_counter(), 0.0, 0
    with run.writer(shard) as writer:
        done = run.done()
        todo = [task for task in tasks if (task.sample.id, task.k) not in done]
        try:
            with stage("generate", len(tasks), resumed=len(tasks) - len(todo)) as bar:
                for batch in _batches(todo, batch_size):
                    seconds, errors = _make(generator, batch, writer, bar)
                    spent, failed = spent + seconds, failed + errors
        except BaseException as error:
            run.update_status(interrupted=True)
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(_how_to_resume(run)) from None
            raise
    run.update_status()
    made = len(todo) - failed
    return Outcome(run.path, len(tasks), made, len(tasks) - len(todo), failed, time.perf_counter() - start, spent)


def _make(generator: Generator, batch: list[Task], writer: ShardWriter, bar: Stage) -> tuple[float, int]:
    """Make and write a batch; return the generator's seconds and the number of failures."""
    start = time.perf_counter()
    images, error = _call(generator, batch)
    seconds = time.perf_counter() - start
    if error and len(batch) > 1:
        parts = [_make(generator, [task], writer, bar) for task in batch]
        return seconds + sum(s for s, _ in parts), sum(e for _, e in parts)
    for task, image in zip(batch, images, strict=False):
        writer.write_image(task.sample.id, task.k, task.seed, image, seconds / len(batch))
    if error:
        writer.write_failure(batch[0].sample.id, batch[0].k, batch[0].seed, error, seconds)
    bar.advance(len(batch), failed=bool(error))
    return seconds, int(bool(error))


def _call(generator: Generator, batch: list[Task]) -> tuple[list[Image], str | None]:
    """Return the images, or none and a sentence about what went wrong."""
    from PIL import Image as pil

    try:
        images = list(generator.generate([task.sample for task in batch], [task.seed for task in batch]))
    except RadlBenchError as error:
        if error.exit_code == 3:  # what is missing for one image is missing for all
            raise
        return [], describe_error(error)
    except Exception as error:
        return [], describe_error(error)
    if len(images) != len(batch):
        return [], f"the generator returned {len(images)} images for {len(batch)} samples"
    for image in images:
        if not isinstance(image, pil.Image):
            return [], f"the generator returned {type(image).__name__} instead of a PIL image"
    return images, None


def _batches(tasks: list[Task], size: int) -> Iterator[list[Task]]:
    for first in range(0, len(tasks), size):
        yield tasks[first : first + size]


def _how_to_resume(run: RunFolder) -> str:
    rows = run.rows()
    made = sum(row["status"] == "ok" for row in rows)
    return f"{made} of {run.planned} images are in {run.path}. Run the same command again to go on from there."


def _accepted(cls: Callable[..., Any]) -> set[str] | None:
    """Return the keyword arguments that a class takes, None when it takes any.

    A constructor that takes `**more` hands it on to its base class, as every class does that adds a setting to one of
    ours; so the base's arguments count too.
    """
    makers = [cls]
    if inspect.isclass(cls):
        makers = [vars(c)["__init__"] for c in cls.__mro__ if c is not object and "__init__" in vars(c)]
    names: set[str] = set()
    for maker in makers:
        try:
            parameters = inspect.signature(maker).parameters.values()
        except (TypeError, ValueError):
            return None
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {"self"}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names
    return None if makers else names


def _not_accepted(spec: str, key: str, accepted: set[str]) -> str:
    if key == "model":
        return f"The method {spec} takes no --model. Leave the option out."
    settings = accepted - {"model", "device"}
    if not settings:
        return f"The method {spec} has no settings, so --set {key}=... has no place to go."
    return did_you_mean(key, settings, f"setting of {spec}")


def _checked(generator: Any, spec: str) -> Generator:
    kinds: dict[str, type] = {"name": str, "revision": str, "max_batch": int}
    for member, kind in kinds.items():
        if not isinstance(getattr(generator, member, None), kind):
            raise UsageError(f"{spec} is no generator: it needs the attribute '{member}' ({kind.__name__}).")
    if generator.max_batch < 1 or not callable(getattr(generator, "generate", None)):
        raise UsageError(f"{spec} is no generator: it needs max_batch >= 1 and generate(samples, seeds).")
    return generator
