"""Making a batch: the call of the generator, the check of every image, the images and rows it ends in."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from radl_bench.errors import RadlBenchError
from radl_bench.progress import Stage
from radl_bench.registry import describe_error
from radl_bench.runs.image_checks import checked
from radl_bench.runs.image_reading import BadImage
from radl_bench.runs.writer import ShardWriter
from radl_bench.types import Generator, Sample


@dataclass(frozen=True)
class Task:
    """One image to make: the `k`-th of `sample`, from `seed`."""

    sample: Sample
    k: int
    seed: int


def make_batch(
    generator: Generator, batch: list[Task], writer: ShardWriter, bar: Stage, repeated: Counter[str]
) -> tuple[float, int]:
    """Make and write a batch; return the generator's seconds and the number of failures.

    A batch that fails as a whole is made again one by one, and `repeated` counts why.
    """
    start = time.perf_counter()
    made = _call(generator, batch)
    seconds = time.perf_counter() - start
    if isinstance(made, str) and len(batch) > 1:
        repeated[made] += 1
        parts = [make_batch(generator, [task], writer, bar, repeated) for task in batch]
        return seconds + sum(s for s, _ in parts), sum(e for _, e in parts)
    failed = 0
    for task, image in zip(batch, [made] if isinstance(made, str) else made, strict=True):
        failed += _write(writer, task, image, seconds / len(batch))
    bar.advance(len(batch), failed=failed)
    return seconds, failed


def _call(generator: Generator, batch: list[Task]) -> list[Any] | str:
    """Return one thing a task, or a sentence about what went wrong with the whole call."""
    try:
        made = list(generator.generate([task.sample for task in batch], [task.seed for task in batch]))
    except RadlBenchError as error:
        if error.exit_code == 3:  # what is missing for one image is missing for all
            raise
        return describe_error(error)
    except (Exception, SystemExit) as error:  # a script that was made for the command line may exit
        return describe_error(error)
    if len(made) != len(batch):
        return f"the generator returned {len(made)} images for {len(batch)} samples"
    return made


def _write(writer: ShardWriter, task: Task, image: Any, seconds: float) -> bool:
    """Write an image and its row, or the row of a failure; say whether it is one."""
    if isinstance(image, str):
        writer.write_failure(task.sample.id, task.k, task.seed, image, seconds)
        return True
    try:
        rgb, remark = checked(image)
    except BadImage as error:
        why = f"the generator returned an image that cannot be used: {error}"
        writer.write_failure(task.sample.id, task.k, task.seed, why, seconds)
        return True
    own = image.info.get("note")
    notes = [note for note in (own if isinstance(own, str) else None, remark) if note]
    writer.write_image(task.sample.id, task.k, task.seed, rgb, seconds, "; ".join(notes) or None)
    return False


def times(n: int) -> str:
    """Return how a note on repeated calls begins."""
    return f"{n} {'call was' if n == 1 else 'calls were'} repeated image by image: "
