"""The nouns of the suite: frozen dataclasses without I/O.

Boxes are `(x0, y0, x1, y1)` as fractions of the image side, origin top left, `0 <= x0 < x1 <= 1`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image

COLORS = ("red", "yellow", "green", "blue", "white", "black", "brown")
"""The seven colours of COCO-MIG; their HSV ranges are data in `radl_bench.judges.color`."""

Box = tuple[float, float, float, float]

SCALES = ("mini", "paper")
"""Worlds that a generator or a judge may declare as its `scale`: the embedded sprite world, or that of the literature.

Numbers of two worlds never share a column, nor do those of a generator that declares none.
"""


@dataclass(frozen=True)
class Instance:
    """One thing that is wanted in the image, e.g. "a red car" in a box.

    Attributes:
        phrase: the text a generator reads for this instance.
        category: class name without article and colour; what a detector is asked for.
        color: one of `COLORS`, or None when the colour is free.
        box: xyxy, fractions of the image side.
    """

    phrase: str
    category: str
    color: str | None
    box: Box


@dataclass(frozen=True)
class Relation:
    """`subject` and `object` index into the instances of the sample; `predicate` is free text ("left of")."""

    subject: int
    predicate: str
    object: int


@dataclass(frozen=True)
class Sample:
    """One row of a benchmark: a global prompt and the instances it asks for, in order."""

    id: str
    prompt: str
    instances: tuple[Instance, ...]
    relations: tuple[Relation, ...] = ()
    verbs: str = ""
    """Text for Relation Attention, extracted once and cached; empty when the prompt has no relation."""
    tags: tuple[str, ...] = ()

    @property
    def level(self) -> int:
        """Number of instances, the L of COCO-MIG's L2..L6."""
        return len(self.instances)


@dataclass(frozen=True)
class Benchmark:
    """A versioned set of samples and the protocol they are scored under."""

    name: str
    version: str
    samples: tuple[Sample, ...]
    samples_sha256: str
    images_per_sample: int
    resolution: int
    metrics: dict[str, dict[str, Any]]
    license: str
    citation: str
    description: str = ""
    filter: dict[str, Any] = field(default_factory=dict)
    """What was left of the set, e.g. `{"level": 6, "limit": 20}`; empty for the whole set."""


@runtime_checkable
class Generator(Protocol):
    """A method under test. Any class with these four members works; nothing is inherited."""

    name: str
    revision: str
    max_batch: int

    def generate(self, samples: Sequence[Sample], seeds: Sequence[int]) -> list[Image]:
        """Return one RGB image for each `(sample, seed)` pair; `len(samples) == len(seeds) <= max_batch`."""
        ...


@dataclass(frozen=True)
class Detection:
    """One box that a detector found; `score` in [0, 1], box as fractions of the image side."""

    category: str
    box: Box
    score: float


@dataclass(frozen=True)
class Score:
    """An aggregate with its uncertainty. `value` and interval are in the unit of the table (per cent for rates).

    `n` counts the units that were asked for (failed images included), `n_missing` those without evidence.
    """

    value: float
    ci_low: float
    ci_high: float
    n: int
    n_missing: int
    signature: str
