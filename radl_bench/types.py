"""The nouns of the suite: frozen dataclasses without I/O.

Boxes are `(x0, y0, x1, y1)` as fractions of the image side, origin top left, `0 <= x0 < x1 <= 1`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image

COLORS = ("red", "yellow", "green", "blue", "white", "black", "brown")
"""The seven colours of COCO-MIG; their HSV ranges are data in `radl_bench.judges.color`."""

MAX_IMAGES = 10_000
"""Most images of a sample; a larger number is a mistake that would be planned for hours."""

MINI_SIDE = 128
"""Pixels of a side of the embedded sprite world."""

MAX_SIDE = 16_384
"""Most pixels of an image's side that a benchmark can be defined at."""

Box = tuple[float, float, float, float]

SCALES = ("mini", "paper")
"""Worlds that a generator or a judge may declare as its `scale`: the embedded sprite world, or that of the literature.

Numbers of two worlds never share a column, nor do those of a generator that declares none.
"""


@dataclass(frozen=True)
class OwnColor:
    """A colour that a benchmark defines beside the seven: `[colors]` in its `benchmark.toml`.

    `ranges` are (lower, upper) in OpenCV's 8-bit HSV (H 0..180, S and V 0..255), both ends included; a pixel has the
    colour when all three channels fall into one of them.
    """

    name: str
    ranges: tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...]


@dataclass(frozen=True)
class Instance:
    """One thing that is wanted in the image, e.g. "a red car" in a box.

    Attributes:
        phrase: the text a generator reads for this instance.
        category: class name without article and colour; what a detector is asked for.
        color: one of `COLORS` or a colour of the benchmark's own, or None when the colour is free.
        box: xyxy, fractions of the image side.
        attributes: other words of the phrase about this thing ("wooden"), for judges and metrics of one's own; no
            built-in score looks at them, but Local CLIP reads the whole phrase.
    """

    phrase: str
    category: str
    color: str | None
    box: Box
    attributes: tuple[str, ...] = ()


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
    colors: tuple[OwnColor, ...] = ()
    """The colours that its benchmark defines beside the seven."""

    @property
    def color_names(self) -> tuple[str, ...]:
        """All colours that are judged in its images, in the order of colour shares: the seven, then the others."""
        return (*COLORS, *(color.name for color in self.colors))

    @property
    def level(self) -> int:
        """Number of instances, the L of COCO-MIG's L2..L6."""
        return len(self.instances)


@dataclass(frozen=True)
class TableLayout:
    """How the main table of a benchmark looks: `[table]` in its `benchmark.toml`.

    Attributes:
        name: what the literature calls it, e.g. "Table II"; empty for benchmarks that the literature does not know.
        what: its subject, in words.
        columns: names of the scores in it, in order; the others go into a second table.
        by_level: whether each score gets a table of its own with a column a level, where a run has several.
        differences: scores whose differences are drawn, the first five that there are; the columns, then the others,
            when empty.
    """

    name: str
    what: str
    columns: tuple[str, ...]
    by_level: bool = False
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class PaperRun:
    """How the papers ran a benchmark: `[paper]` in its `benchmark.toml`, what `generate --paper-scale` takes.

    `steps` hold for models of the papers' scale; `seed` and `seed_policy` are those of `runs.seeds`.
    """

    images_per_sample: int
    steps: int
    seed: int = 0
    seed_policy: str = "hashed"


@dataclass(frozen=True)
class Benchmark:
    """A versioned set of samples and the protocol they are scored under."""

    name: str
    version: str
    samples: tuple[Sample, ...]
    samples_sha256: str
    images_per_sample: int
    resolution: int
    metrics: Mapping[str, Mapping[str, object]]
    license: str
    citation: str
    description: str = ""
    filter: dict[str, Any] = field(default_factory=dict)
    """What was left of the set, e.g. `{"level": 6, "limit": 20}`; empty for the whole set."""
    table: TableLayout | None = None
    """How a report lays out its main table; None for the common form."""
    strata: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Terciles of the whole set by fact of a layout (`benchmarks.strata`), whatever part of it is left."""
    paper: PaperRun | None = None
    """How the papers ran it; see also `benchmarks.paper.paper_of`."""
    folder: Path | None = None
    """Where it was read from: metrics of its own are looked up here."""
    colors: tuple[OwnColor, ...] = ()
    """Colours that it defines beside the seven."""


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
