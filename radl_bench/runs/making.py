"""Making batches: the call of the generator, the check of every image, and what is known of the generator itself."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from radl_bench.errors import RadlBenchError
from radl_bench.packages import cannot_import
from radl_bench.registry import describe_error
from radl_bench.runs.apart import apart
from radl_bench.runs.environment import describe_environment
from radl_bench.runs.image_checks import checked
from radl_bench.runs.image_reading import BadImage
from radl_bench.runs.made import MadeImage, encode_png
from radl_bench.runs.scale import declared_scale
from radl_bench.types import Generator, Sample

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Task:
    """One image to make: the `k`-th of `sample`, from `seed`."""

    sample: Sample
    k: int
    seed: int


@dataclass(frozen=True)
class Facts:
    """What is known of a generator where it runs: what the manifest says of it, and how large its batches may be."""

    description: Mapping[str, object]
    environment: Mapping[str, Any]
    scale: str | None
    max_batch: int


Finish = Callable[[], list[MadeImage]]
"""Images that are made and checked: calling it, in any thread, encodes them, which takes longer than all else here."""


class Source(ABC):
    """Whoever makes the images of a run: one generator in this process, or workers that hold one each.

    Attributes:
        facts: what is known of the generator.
        repeated: why calls of the generator had to be repeated image by image.
        foreign: the generator is somebody else's: while it is called it may change the umask or close files
            (`runs.apart`), or end the process.
    """

    facts: Facts
    foreign = False

    def __init__(self) -> None:
        self.repeated = Counter[str]()

    @abstractmethod
    def images(self, batches: Iterable[list[Task]]) -> Iterator[Finish]:
        """Yield every image of the batches, some at a time, in any order, each once, to be finished when called."""

    def remark(self) -> str:
        """Return what the progress line says of the workers, "" for nothing."""
        return ""

    def notes(self) -> list[str]:
        """Return sentences on what had to be done again."""
        return [
            f"{n} {'call was' if n == 1 else 'calls were'} repeated image by image: {what}"
            for what, n in self.repeated.items()
        ]


class InProcess(Source):
    """A generator that runs in this process."""

    def __init__(self, generator: Generator, facts: Facts) -> None:
        super().__init__()
        self.generator, self.facts = generator, facts
        self.foreign = not type(generator).__module__.startswith("radl_bench.")

    def images(self, batches: Iterable[list[Task]]) -> Iterator[Finish]:
        """Yield the images in the order of the batches."""
        for batch in batches:
            yield from make_batch(self.generator, batch, self.repeated)


def facts_of(generator: Generator, model: str | None, more: Mapping[str, object] | None = None) -> Facts:
    """Return the facts of a generator; `model` and `more` are for the manifest."""
    return Facts(
        {**describe_generator(generator, model), **(more or {})},
        describe_environment(getattr(generator, "device", None)),
        declared_scale(generator),
        generator.max_batch,
    )


def describe_generator(generator: Generator, model: str | None) -> dict[str, object]:
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


def make_batch(generator: Generator, batch: list[Task], repeated: Counter[str]) -> Iterator[Finish]:
    """Yield the images of a batch, all at once, yet to be encoded; what the generator does with its own is no matter.

    A batch that fails as a whole is made again one by one, and `repeated` counts why.
    """
    start = time.perf_counter()
    made = _call(generator, batch)
    seconds = time.perf_counter() - start
    if isinstance(made, str) and len(batch) > 1:
        repeated[made] += 1
        for task in batch:
            yield from make_batch(generator, [task], repeated)
        return
    images = [made] if isinstance(made, str) else made
    yield partial(_encoded, [_checked(t, image, seconds / len(batch)) for t, image in zip(batch, images, strict=True)])


def _encoded(images: list[tuple[MadeImage, Image | None]]) -> list[MadeImage]:
    return [made if image is None else made._replace(content=encode_png(image)) for made, image in images]


def _call(generator: Generator, batch: list[Task]) -> list[Any] | str:
    """Return one thing a task, or a sentence about what went wrong with the whole call."""
    try:
        with apart():
            made = generator.generate([task.sample for task in batch], [task.seed for task in batch])
            if not isinstance(made, Iterable):
                return f"the generator returned {type(made).__name__} instead of a list of images"
            made = list(made)
    except RadlBenchError as error:
        if error.exit_code == 3:  # what is missing for one image is missing for all
            raise
        return describe_error(error)
    except ImportError as error:  # so is a package
        raise cannot_import(error, f"The method {generator.name}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a script made for the command line may exit; GeneratorExit, CancelledError
        return describe_error(error)
    if len(made) != len(batch):
        return f"the generator returned {len(made)} images for {len(batch)} samples"
    return made


def _checked(task: Task, image: Any, seconds: float) -> tuple[MadeImage, Image | None]:
    """Return an image that can be used with its pixels as they are now, any other thing as a failure."""
    if isinstance(image, str):
        return failed(task, image, seconds), None
    try:
        rgb, remark = checked(image)
    except BadImage as error:
        return failed(task, f"the generator returned an image that cannot be used: {error}", seconds), None
    own = image.info.get("note")
    notes = [note for note in (own if isinstance(own, str) else None, remark) if note]
    made = MadeImage(task.sample.id, task.k, task.seed, seconds, None, rgb.size, "; ".join(notes) or None)
    return made, rgb.copy() if rgb is image else rgb


def failed(task: Task, why: str, seconds: float = 0.0) -> MadeImage:
    """Return the failure of a task; `why` is one sentence."""
    return MadeImage(task.sample.id, task.k, task.seed, seconds, error=why)
