"""Generating with several workers: the recipe that each sets its generator up by, and the images they make."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from radl_bench import __version__
from radl_bench.errors import UsageError
from radl_bench.registry import is_file_spec
from radl_bench.runs.crews import check_crew, crew_of
from radl_bench.runs.dealing import Crew, Dealer
from radl_bench.runs.environment import versions_of
from radl_bench.runs.generate import build_generator
from radl_bench.runs.identity import identity_of
from radl_bench.runs.image_checks import few
from radl_bench.runs.made import MadeImage
from radl_bench.runs.making import Facts, Finish, InProcess, Source, Task, facts_of, failed, make_batch
from radl_bench.types import Generator


@dataclass(frozen=True)
class Recipe:
    """How a worker sets its generator up: the arguments of `build_generator`. `path/to/file.py` is found there too."""

    spec: str
    model: str | None = None
    device: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)

    def open(self) -> GeneratorMaker:
        """Return the generator, set up; raises what `build_generator` raises."""
        generator = build_generator(self.spec, model=self.model, device=self.device, settings=self.settings)
        identity = identity_of(self.spec, generator, self.settings)
        return GeneratorMaker(generator, facts_of(generator, self.model, identity))


class MadeBatch(NamedTuple):
    """The images of a batch, and why calls had to be repeated."""

    images: list[MadeImage]
    repeated: Counter[str]


@dataclass(frozen=True)
class GeneratorMaker:
    """A generator in a worker."""

    generator: Generator
    facts: Facts

    def make(self, batch: list[Task]) -> MadeBatch:
        """Make the images of a batch."""
        repeated = Counter[str]()
        images = [image for finish in make_batch(self.generator, batch, repeated) for image in finish()]
        return MadeBatch(images, repeated)


class Workers(Source):
    """Makes images with a crew; a context manager. Give it to `generate_run` in the place of a generator.

    Entering it sets the workers up and raises what their generators raise, or `UsageError` where they do not agree.
    """

    def __init__(self, crew: Crew) -> None:
        super().__init__()
        self._dealer: Dealer[list[Task], MadeBatch] = Dealer(crew, check_alike, _singles, _give_up)

    def __enter__(self) -> Workers:
        self.facts = self._dealer.__enter__().facts
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._dealer.__exit__(kind, error, at)

    def images(self, batches: Iterable[list[Task]]) -> Iterator[Finish]:
        """Yield the images of one batch after the other, as they come; the workers have encoded them."""
        for made in self._dealer.results(batches):
            self.repeated.update(made.repeated)
            yield partial(list, made.images)

    def remark(self) -> str:
        """Return "2 workers" or "2 workers, 1 lost"."""
        return self._dealer.remark()

    def notes(self) -> list[str]:
        """Return what had to be done again, and how workers were lost."""
        lost = Counter(_loss(held, why) for held, why in self._dealer.losses)
        return [*super().notes(), *(f"{n} {'worker' if n == 1 else 'workers'} {how}" for how, n in lost.items())]


def _loss(held: list[Task] | None, why: str) -> str:
    if held is None:
        return f"{why} while being set up."
    return f"{why} while making {few([f'{task.sample.id}_{task.k}' for task in held], 'image')}."


def check_alike(first: Facts, other: Facts) -> None:
    """Raise `UsageError` where two workers hold another generator, or versions that can change a pixel."""
    here, there = versions_of(first.environment), versions_of(other.environment)
    for name, version in {**here, "radl_bench": __version__}.items():
        if there.get(name) != version:
            raise UsageError(
                f"The workers do not agree: {name} is {version} in one place and {there.get(name)} in another. "
                "Install the same versions everywhere."
            )
    for key, value in first.description.items():
        if other.description.get(key) != value:
            raise UsageError(
                f"The workers do not agree: their generators differ in {key}. "
                "Use the same files and weights everywhere."
            )


def _singles(batch: list[Task]) -> list[list[Task]]:
    return [[task] for task in batch]


def _give_up(batch: list[Task], why: str) -> MadeBatch:
    return MadeBatch([failed(task, why) for task in batch], Counter())


@contextlib.contextmanager
def opened(recipe: Recipe, workers: int = 1, engine: str = "local", address: str | None = None) -> Iterator[Source]:
    """Yield who makes images by a recipe: this process for one local worker, a crew otherwise.

    Raises `UsageError` for an unknown engine or a number of workers out of range, and what setting up raises.
    """
    check_crew(workers, engine, address)
    if engine == "local" and workers == 1:
        maker = recipe.open()
        yield InProcess(maker.generator, maker.facts)
        return
    if is_file_spec(recipe.spec):  # a worker may start in another folder
        recipe = replace(recipe, spec=str(Path(recipe.spec).absolute()))
    with Workers(crew_of(recipe, workers, engine, address, spread=recipe.device in (None, "cuda"))) as made:
        yield made
