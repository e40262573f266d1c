"""Dealing batches to workers: whoever is free gets the next one, and what a lost worker held is done again.

Nothing here knows what a batch is or where a worker runs: `Crew` is what an engine of workers has to do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from radl_bench.errors import RadlBenchError, UsageError

MOST_LOSSES = 3
"""Workers that a batch, or the setting up of one worker, may cost before it is given up."""
MOST_WORKERS = 4096
"""Most workers of a run."""

B = TypeVar("B")
R = TypeVar("R")


class Ready(NamedTuple):
    """A worker is set up; `facts` are those of its `Maker`."""

    facts: Any


class Done(NamedTuple):
    """A batch is done."""

    result: Any


class Failed(NamedTuple):
    """A worker met an error that every worker would meet; the work ends with it."""

    error: RadlBenchError


class Lost(NamedTuple):
    """A worker ended without an answer; `why` follows "it"."""

    why: str


Answer = Ready | Done | Failed | Lost


class Maker(Protocol):
    """What a worker holds: it is made once, where the worker runs, and does one batch after the other."""

    @property
    def facts(self) -> object:
        """What the worker says of itself when it is set up; can be pickled."""

    def make(self, batch: Any) -> object:
        """Do a batch and return what comes of it; both can be pickled."""


class Job(Protocol):
    """What is sent to a new worker."""

    def open(self) -> Maker:
        """Set up what does the batches; raises `RadlBenchError`."""


class Crew(ABC):
    """Workers of one kind, at places 0 to `size` - 1."""

    size: int

    @abstractmethod
    def hire(self, place: int) -> None:
        """Start a worker at a place; it answers `Ready`, `Failed` or `Lost`."""

    @abstractmethod
    def hand(self, place: int, batch: Any) -> None:
        """Give a batch to a worker that is ready; it answers `Done`, `Failed` or `Lost`."""

    @abstractmethod
    def wait(self) -> Iterable[tuple[int, Answer]]:
        """Wait for answers and return those that are there, at least one."""

    @abstractmethod
    def dismiss(self) -> None:
        """End all workers, whatever they do."""


@dataclass
class _Held(Generic[B]):
    batch: B
    losses: int = 0


class Dealer(Generic[B, R]):
    """Deals batches to a crew; as a context manager it hires it and lets it go.

    Args:
        crew: the workers.
        agree: raises `RadlBenchError` where the facts of two workers do not fit together.
        parts: the parts of a batch that are tried one by one when it has cost `MOST_LOSSES` workers.
        give_up: what stands for the result of a batch without parts that costs another one; gets the reason too.
    """

    def __init__(
        self,
        crew: Crew,
        agree: Callable[[Any, Any], None],
        parts: Callable[[B], Sequence[B]],
        give_up: Callable[[B, str], R],
    ) -> None:
        self.crew, self._agree, self._parts, self._give_up = crew, agree, parts, give_up
        self.facts: Any = None
        self.losses: list[tuple[B | None, str]] = []
        self._free: set[int] = set()
        self._gone: set[int] = set()
        self._setups: Counter[int] = Counter()
        self._held: dict[int, _Held[B]] = {}
        self._again: deque[_Held[B]] = deque()

    def __enter__(self) -> Dealer[B, R]:
        try:
            for place in range(self.crew.size):
                self.crew.hire(place)
            while len(self._free) + len(self._gone) < self.crew.size:  # all have to agree before any work
                for place, answer in self.crew.wait():
                    self._take(place, answer)
        except BaseException:
            self.crew.dismiss()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.crew.dismiss()

    @property
    def workers(self) -> int:
        """Workers that are not given up."""
        return self.crew.size - len(self._gone)

    def remark(self) -> str:
        """Return "2 workers" or "2 workers, 1 lost"."""
        lost = len(self.losses)
        return f"{self.workers} worker{'s' * (self.workers != 1)}" + (f", {lost} lost" if lost else "")

    def results(self, batches: Iterable[B]) -> Iterator[R]:
        """Yield the result of every batch, or of its parts, as they come.

        Raises:
            RadlBenchError: a worker met an error that every worker would meet, or none can be set up any more.
        """
        left = iter(batches)
        self._deal(left)
        while self._held or self._again:
            for place, answer in self.crew.wait():
                results = self._take(place, answer)
                self._deal(left)  # before the result is dealt with, so that nobody waits for that
                yield from results

    def _deal(self, left: Iterator[B]) -> None:
        for place in sorted(self._free):
            held = self._again.popleft() if self._again else next((_Held(batch) for batch in left), None)
            if held is None:
                return
            self._free.remove(place)
            self._held[place] = held
            self.crew.hand(place, held.batch)

    def _take(self, place: int, answer: Answer) -> list[R]:
        if isinstance(answer, Failed):
            raise answer.error
        if isinstance(answer, Lost):
            return self._replace(place, answer.why)
        if isinstance(answer, Ready):
            self.facts = answer.facts if self.facts is None else self.facts
            self._agree(self.facts, answer.facts)
            self._setups[place] = 0
        self._free.add(place)
        if isinstance(answer, Done):
            del self._held[place]
            return [answer.result]
        return []

    def _replace(self, place: int, why: str) -> list[R]:
        """Hire another worker for a lost one; return the result of its batch where that is given up."""
        held = self._held.pop(place, None)
        self.losses.append((held.batch if held else None, why))
        self._free.discard(place)
        self._setups[place] += held is None
        if self._setups[place] < MOST_LOSSES:
            self.crew.hire(place)
        else:
            self._gone.add(place)
            if not self.workers:
                raise UsageError(f"No worker can be set up: {MOST_LOSSES} times it {why}. Try fewer --workers.")
        return [] if held is None else self._try_again(held, why)

    def _try_again(self, held: _Held[B], why: str) -> list[R]:
        held.losses += 1
        if held.losses < MOST_LOSSES:
            self._again.appendleft(held)
            return []
        parts = self._parts(held.batch)
        if len(parts) > 1:  # one worker more each, to find the guilty
            self._again.extendleft(_Held(part, MOST_LOSSES - 1) for part in reversed(parts))
            return []
        return [self._give_up(held.batch, f"{MOST_LOSSES} workers were lost over it: the last {why}")]


def check_number(workers: int) -> int:
    """Return a number of workers; raises `UsageError` for one out of range."""
    if not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"--workers must be at least 1 and at most {MOST_WORKERS}, not {workers}.")
    return workers
