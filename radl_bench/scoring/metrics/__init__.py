"""Metrics: pure functions from what the judges saw in an image to rows, and from rows to numbers.

A metric is a module with a `METRIC`, which holds all facts about its scores (`spec.ScoreSpec`). Its
`rows(view, protocol)` gives one `Row` an instance or image; a score is the mean of its rows, so that a swap is
re-summing. A metric that is no mean (AP) keeps a pool instead and aggregates that. docs/metrics.md adds one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, runtime_checkable
from typing import Protocol as TypingProtocol

import numpy as np

from radl_bench.scoring.intervals import Interval
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.protocol import PROTOCOLS, Boxes, Match, Protocol
from radl_bench.types import Benchmark, Sample

WHOLE_IMAGE = -1
"""`instance` of a row that speaks of the whole image."""


class Row(NamedTuple):
    """One line of rows.parquet; `value` is per cent or 100 * cosine as in the tables, NaN without evidence."""

    instance: int
    metric: str
    value: float
    reason: str


@dataclass(frozen=True)
class View:
    """What the judges saw in one image, after the protocol's matching.

    Attributes:
        problem: why the image cannot be judged, or None; then everything below is empty.
        found: detections by category down to score 0.05, after suppression.
        matches: one an instance.
        shares: float [N, 7 or more], colour shares of each instance's mask in the order of `Sample.color_names`; 0
            without a mask.
        object_shares: by category of the sample's coloured things, float [n, 7 or more]: colour shares of the n
            strongest detections, best first, with n the number of instances of the category.
        clip: cosine of image and prompt; local_clip: of each instance's crop and phrase; NaN without an
            encoder, and for an instance whose detection would be cut out and that has none.
        features: float32 [D] of the feature judge, or None without one.
        more: what kinds of measurement that are not built in saw, by the names they give it.
    """

    sample: Sample
    k: int
    problem: str | None = None
    found: Mapping[str, Boxes] = field(default_factory=dict)
    matches: tuple[Match, ...] = ()
    shares: np.ndarray = field(default_factory=lambda: np.zeros((0, 7)))
    object_shares: Mapping[str, np.ndarray] = field(default_factory=dict)
    clip: float = float("nan")
    local_clip: tuple[float, ...] = ()
    features: np.ndarray | None = None
    more: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What a pool may know beside the views.

    Attributes:
        benchmark: the benchmark, cut down as the run was.
        parameters: the metric's own thresholds and options: the benchmark's, with those of the call over them.
        features: the feature judge, or None.
        protocol: the rules, with the metric's thresholds.
    """

    benchmark: Benchmark
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    features: Any | None = None
    protocol: Protocol = PROTOCOLS["strict"]


class Estimate(NamedTuple):
    """A number, its 95 % interval, units asked for and units without evidence, and how the interval was made.

    `note` is a sentence that must stand by the number.
    """

    value: float
    ci_low: float
    ci_high: float
    n: int
    n_missing: int
    ci: str
    note: str | None = None

    @classmethod
    def of(cls, value: float, interval: Interval, n: int, n_missing: int, note: str | None = None) -> Estimate:
        """Return a number with its interval; the note of the interval follows that of the number."""
        notes = " ".join(filter(None, (note, interval.note))) or None
        return cls(value, interval.low, interval.high, n, n_missing, interval.how, notes)


class Pool(TypingProtocol):
    """Gathers views for a metric that is no mean of rows.

    Attributes:
        settings: what it adds to the signature of its scores, by key, e.g. `{"ref": "ref:coco:6400:<sha8>"}`.
    """

    settings: Mapping[str, str]

    def add(self, view: View) -> None:
        """Take what the metric needs out of a view."""
        ...

    def estimates(self, level: int | None) -> dict[str, Estimate]:
        """Return the scores, by name, over the samples of a level, or all; {} for a level that is not measured."""
        ...


@runtime_checkable
class Comparable(TypingProtocol):
    """A pool whose scores have a paired test.

    Attributes:
        form: which test of `report.paired.FORMS` reads what it keeps.
    """

    form: str

    def kept(self) -> Mapping[str, np.ndarray]:
        """Return what the test needs of this run, as arrays for an npz file without pickles."""
        ...


@dataclass(frozen=True)
class Metric:
    """What `radl_bench.registry.METRICS` names: either `rows` or a `pool`, and the facts of its scores.

    Attributes:
        scores: what it gives.
        requires: kinds of measurement, names of `registry.MEASUREMENTS` or of an entry point.
        rows: rows of one image, also of one without evidence (its `problem` is set): a unit that cannot be judged is a
            row whose value is NaN, and `ScoreSpec.missing` says what it counts as.
        pool: makes the pool of a metric that is no mean of rows.
        thresholds: thresholds of the protocol that its table in `benchmark.toml` may set, for this metric alone.
        own: thresholds of its own, by name, with their defaults; its table may set them too, `rows` finds them in
            `protocol.own`, and they always stand in the signature.
        options: other keys of its table, texts that are handed to its pool.
    """

    name: str
    scores: tuple[ScoreSpec, ...]
    requires: frozenset[str]
    rows: Callable[[View, Protocol], list[Row]] | None = None
    pool: Callable[[Context], Pool] | None = None
    thresholds: tuple[str, ...] = ()
    own: Mapping[str, float] = field(default_factory=dict)
    options: tuple[str, ...] = ()
