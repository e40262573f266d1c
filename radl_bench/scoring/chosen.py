"""The metrics that a benchmark asks for: found, held to their contract, and each with the thresholds of its own table.

Everything that can be wrong with a metric or its table is told here, before an image is made or judged.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from radl_bench.errors import BadInput, RadlBenchError, UsageError, did_you_mean
from radl_bench.parsing import shown
from radl_bench.registry import describe_error, known, resolve
from radl_bench.scoring.conditions import SHARED
from radl_bench.scoring.metrics import Context, Metric, Pool, Row, View
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.protocol import THRESHOLDS, Protocol, resolve_protocol
from radl_bench.types import Benchmark, Sample

USUAL = ("success", "iou", "average_precision", "clip_score")
"""Metrics of a benchmark that names none: those that any layout has and that need no reference."""

_LOST = "give a row that is NaN for each of its units, and ScoreSpec.missing says what it counts as"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")


@dataclass(frozen=True)
class Chosen:
    """A metric as a benchmark asks for it.

    Attributes:
        name: what the benchmark calls it, e.g. "success" or "mine.py:METRIC".
        thresholds: of the protocol, for this metric alone; own: the metric's own; options: texts for its pool.
        told: the scores that have rows for images without evidence; None where nobody looked.
    """

    name: str
    metric: Metric
    thresholds: Mapping[str, float] = field(default_factory=dict)
    own: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    told: frozenset[str] | None = None

    @cached_property
    def specs(self) -> dict[str, ScoreSpec]:
        """Its scores by name."""
        return {spec.name: spec for spec in self.metric.scores}

    def rules(self, protocol: str, given: Mapping[str, float | None]) -> Protocol:
        """Return the protocol for this metric; thresholds `given` by hand win over those of its table."""
        by_hand = {key: value for key, value in given.items() if value is not None}
        return replace(resolve_protocol(protocol, **{**self.thresholds, **by_hand}), own=self.own)

    def rows(self, view: View, rules: Protocol) -> list[Row]:
        """Return the rows of an image, [] for a metric that keeps a pool; raises `RadlBenchError` for a bad row."""
        if self.metric.rows is None:
            return []
        with self.asking(f"on image {view.sample.id}_{view.k}"):
            rows = self.metric.rows(view, rules)
            wrong = next((p for p in map(self._problem, rows) if p), None)
        if wrong:
            raise RadlBenchError(f"The metric '{self.name}' failed on image {view.sample.id}_{view.k}: {wrong}.")
        return rows

    @contextlib.contextmanager
    def asking(self, when: str) -> Iterator[None]:
        """Turn whatever the metric's code raises into a clear error; errors of our own pass."""
        try:
            yield
        except RadlBenchError:
            raise
        except Exception as error:
            raise RadlBenchError(f"The metric '{self.name}' failed {when}: {describe_error(error)}.") from error

    def _problem(self, row: Row) -> str | None:
        spec = self.specs.get(row.metric)
        if spec is None:
            return f"it gave a row of '{row.metric}', but its scores are {', '.join(self.specs)}"
        if spec.is_rate and not (row.value in (0.0, 100.0) or math.isnan(row.value)):
            return f"a row of '{spec.name}' is {row.value:g}, but rows of a rate are 0, 100 or NaN"
        if self.told is not None and spec.name not in self.told:
            return f"it gives no row of '{spec.name}' for an image without evidence; {_LOST}"
        if math.isinf(row.value):
            return f"a row of '{spec.name}' is infinite; a value that is not known is NaN"
        return None

    def told_by(self, samples: Iterable[Sample]) -> Chosen:
        """Return it with `told`, from the rows of samples without an image, which have to be NaN."""
        if self.metric.rows is None:
            return self
        rules, told = self.rules("strict", {}), set[str]()
        for sample in samples:
            for row in self.rows(View(sample, 0, problem="not made yet"), rules):
                if not math.isnan(row.value):
                    what = f"a row of '{row.metric}' is {row.value:g} for an image without evidence; {_LOST}"
                    raise UsageError(f"The metric '{self.name}' breaks its contract: {what}.")
                told.add(row.metric)
            if told == set(self.specs):
                break
        return replace(self, told=frozenset(told))

    def pool(self, context: Context, options: Mapping[str, str]) -> Pool | None:
        """Return the pool of a metric that is no mean of rows; `options` given by hand win over those of its table."""
        if self.metric.pool is None:
            return None
        with self.asking("making its pool"):
            pool = self.metric.pool(replace(context, parameters={**self.own, **self.options, **options}))
        lacking = [part for part in ("add", "estimates", "settings") if not hasattr(pool, part)]
        if lacking:
            raise UsageError(f"The pool of the metric '{self.name}' has no '{lacking[0]}'; see scoring.metrics.Pool.")
        return pool


def choose(benchmark: Benchmark) -> list[Chosen]:
    """Return the metrics that a benchmark names, or `USUAL`.

    Raises:
        UsageError: an unknown metric, one that breaks its contract, or two that give the same score.
        BadInput: a key or value of a metric's table is not understood. All name the file, the key and the remedy.
    """
    where = benchmark.name if benchmark.folder is None else str(benchmark.folder / "benchmark.toml")
    tables: Mapping[str, Mapping[str, object]] = benchmark.metrics or {name: {} for name in USUAL}
    found = [_chosen(name, table, benchmark.folder, where) for name, table in tables.items()]
    try:
        chosen = [one.told_by(benchmark.samples) for one in found]
    except RadlBenchError as error:
        raise UsageError(f"{where}: {error}") from error
    owners: dict[str, str] = {}
    for one in chosen:
        for score in one.specs:
            if score in owners:
                raise UsageError(
                    f"{where}: '{owners[score]}' and '{one.name}' both give the score '{score}'; keep one."
                )
            owners[score] = one.name
    return chosen


def by_rules(
    chosen: Sequence[Chosen], protocol: str, given: Mapping[str, float | None]
) -> list[tuple[Protocol, list[tuple[Chosen, Protocol]]]]:
    """Return the metrics, each with its own rules, in groups that can be judged together; one empty group for none.

    A group shares all thresholds of the protocol, so what the judges saw is matched once for it; thresholds of the
    metrics' own play no part in that.
    """
    groups: list[tuple[Protocol, list[tuple[Chosen, Protocol]]]] = []
    for one in chosen:
        rules = one.rules(protocol, given)
        shared = replace(rules, own={})
        home = next((members for common, members in groups if common == shared), None)
        if home is None:
            home = []
            groups.append((shared, home))
        home.append((one, rules))
    return groups or [(Chosen("", Metric("", (), frozenset())).rules(protocol, given), [])]


def _chosen(name: str, table: Mapping[str, object], folder: Path | None, where: str) -> Chosen:
    try:
        found = resolve("metrics", name, folder)
    except UsageError as error:
        raise UsageError(f"{where}: [metrics.{_quoted(name)}]: {error}") from error
    metric = getattr(found, "METRIC", found)
    problem = next(_problems(metric), None)
    if problem:
        raise UsageError(f"{where}: the metric '{name}' cannot be used: {problem}. See scoring.metrics.Metric.")
    values = {key: _value(metric, key, value, f"{where}: [metrics.{_quoted(name)}]") for key, value in table.items()}
    texts = {key: value for key, value in values.items() if isinstance(value, str)}
    numbers = {key: value for key, value in values.items() if not isinstance(value, str)}
    thresholds = {key: value for key, value in numbers.items() if key in metric.thresholds}
    return Chosen(name, metric, thresholds, {key: numbers.get(key, v) for key, v in metric.own.items()}, texts)


def _value(metric: Metric, key: str, value: object, where: str) -> float | str:
    keys = (*metric.thresholds, *metric.own, *metric.options)
    if key not in keys:
        hint = did_you_mean(key, keys, "key") if keys else f"Unknown key '{key}'. This metric takes none."
        raise BadInput(f"{where}: {hint}")
    if key in metric.options:
        if not isinstance(value, str):
            raise BadInput(f"{where}: '{key}' must be a text in quotes.")
        return value
    number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if key in metric.thresholds and not 0.0 <= number <= 1.0:
        raise BadInput(f"{where}: '{key}' must be a fraction from 0 to 1, not {shown(value)}.")
    if not math.isfinite(number):
        raise BadInput(f"{where}: '{key}' must be a finite number, not {shown(value)}.")
    return number


def _problems(metric: object) -> Iterator[str]:
    """Yield what breaks the contract of a metric."""
    if not isinstance(metric, Metric):
        yield f"it is a {type(metric).__name__}, not a Metric"
        return
    if not isinstance(metric.scores, tuple) or not metric.scores:
        yield "'scores' must be a tuple of ScoreSpec"
        return
    if (metric.rows is None) == (metric.pool is None):
        yield "it needs either 'rows' or a 'pool'"
    yield from _unknown("kind of evidence", metric.requires, known("measurements"))
    yield from _unknown("threshold of the protocol", metric.thresholds, THRESHOLDS)
    taken = set(metric.own).intersection(THRESHOLDS) | set(metric.options).intersection((*THRESHOLDS, *metric.own))
    yield from (f"'{key}' is a threshold already; give its own another name" for key in sorted(taken))
    for name, default in metric.own.items():
        if not _NAME.fullmatch(name) or type(default) not in (int, float) or not math.isfinite(default):
            yield f"the threshold '{name}' needs a name of lower-case letters and a finite number"
    for spec in metric.scores:
        yield from _problems_of(spec)
    names = [spec.name for spec in metric.scores if isinstance(spec, ScoreSpec)]
    yield from (f"it gives the score '{name}' twice" for name in {n for n in names if names.count(n) > 1})


def _problems_of(spec: object) -> Iterator[str]:
    if not isinstance(spec, ScoreSpec):
        yield f"the score {spec!r:.60} is a {type(spec).__name__}, not a ScoreSpec"
        return
    if not _NAME.fullmatch(spec.name):
        yield f"the score {spec.name!r:.60} must be named in lower-case letters, digits and underscores"
    texts = [setting for setting in spec.settings if isinstance(setting, str)]
    yield from _unknown(f"setting of '{spec.name}'", texts, (*SHARED, *known("measurements")))
    if any(not isinstance(setting, str) and not callable(setting) for setting in spec.settings):
        yield f"a setting of '{spec.name}' is neither a name nor a function of Conditions"


def _unknown(what: str, names: Iterable[str], there: Iterable[str]) -> Iterator[str]:
    there = tuple(there)
    yield from (did_you_mean(name, there, what).rstrip(".") for name in names if name not in there)


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
