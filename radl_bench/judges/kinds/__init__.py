"""Kinds of measurement: what is asked of a judge about an image, how the answer is kept, and how it is read back.

A kind is an object of a subclass of `Kind`, named in `registry.MEASUREMENTS` or by an entry point of the group
`radl_bench.measurements`. Nothing else has to know it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from radl_bench.judges.contracts import Declared, Judge, Role
from radl_bench.runs.images import Picture
from radl_bench.scoring.evidence_table import EvidenceTable
from radl_bench.scoring.protocol import Protocol

J = TypeVar("J", bound=Judge)
T = TypeVar("T")

Seen = dict[str, object]
"""What is known of one image so far: fields of `scoring.metrics.View`; other names become entries of `View.more`."""


class Store(NamedTuple):
    """How answers are kept; see `EvidenceTable`. Kinds that name one store and role share its rows."""

    name: str
    keys: tuple[str, ...]
    values: Mapping[str, str]


@dataclass(frozen=True)
class Desk(Generic[J]):
    """What a kind works with.

    Attributes:
        judge: who is asked; None where answers are read alone.
        facts: what the judge declares. Where answers are read alone, what was kept beside them: `needs_sample`.
        table: answers, by the kind's store.
        rules: the protocol.
        batch_size: images a call of the judge, at most.
        memo: what need not be computed twice in one run, by a key of the kind's own.
    """

    judge: J | None
    facts: Declared
    table: EvidenceTable
    rules: Protocol
    batch_size: int = 16
    memo: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict)

    @property
    def asked(self) -> J:
        """The judge, where one is to be asked."""
        assert self.judge is not None, "answers are read here, not measured"
        return self.judge


class Kind(ABC, Generic[J]):
    """A kind of measurement.

    Attributes:
        key: its name in `Metric.requires`, and in `Metric.settings` for its part of a signature.
        role: whom it asks.
        store: how its answers are kept.
        after: keys of the kinds whose readings it needs.
    """

    key: ClassVar[str]
    role: ClassVar[Role]
    store: ClassVar[Store]
    after: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def measure(self, pictures: Sequence[Picture], seen: Sequence[Seen], desk: Desk[J]) -> None:
        """Ask the judge what is not in `desk.table` yet, and add it there.

        Args:
            pictures: the images of a chunk that can be judged; one that cannot be opened gets its `problem` here.
            seen: what the kinds before this one read, one an image.

        Raises:
            BadAnswer: the judge failed, or its answer is none (`radl_bench.judges.checks`).
        """

    @abstractmethod
    def read(self, picture: Picture, seen: Seen, desk: Desk[J]) -> Seen:
        """Return what is known of a measured image; raises `KeyError` for what was never measured."""

    def setting(self, judge: J) -> str:
        """Return the part of a signature that stands for this kind."""
        return f"{self.key}:{judge.signature}"


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def sound(values: object, size: int | None = None) -> np.ndarray:
    """Return kept numbers, finite and `size` of them; raises `ValueError` for a damaged file of evidence."""
    made = np.asarray(values)
    if size is not None and made.size != size:
        raise ValueError(f"{made.size} numbers stand where {size} belong")
    if not np.isfinite(made).all():
        raise ValueError("a number is not finite")
    return made


def box_key(box: Sequence[float]) -> str:
    """Return the text under which a box is filed; boxes closer than 1e-6 are one."""
    return ",".join(f"{float(v):.6f}" for v in box)
