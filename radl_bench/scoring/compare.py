"""Two runs side by side: the difference of each score with its interval, a paired p, and whether they are tied.

Both are compared on the samples both have, and the sample is the unit: instances share an image and images share a
layout. Every score is tested by swapping the two methods' images sample by sample, and its interval holds exactly the
differences that this test does not reject. Numbers measured under other rules are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radl_bench.errors import MissingData, UsageError
from radl_bench.hints import command
from radl_bench.report.choice import Choice, scored_alike
from radl_bench.report.collect import collect
from radl_bench.report.paired import NOT_TESTED, difference_of
from radl_bench.report.scored_run import ScoredRun
from radl_bench.report.ties import is_number
from radl_bench.scoring.permutation import ALPHA

_FREE = ("n:", "seed:", "ci:", "level:")
"""Parts of a signature that may differ: size and seeds; the interval's kind; the span of levels, told by a note."""


@dataclass(frozen=True)
class Line:
    """One score of both runs at a level (None: all).

    `difference` is a - b over the `n` samples both have, with its 95 % interval, None under six samples; `p` is
    two-sided, and None where the runs cannot be paired. `groups` are the tie groups of a and b: (1, 1), (1, 2) or
    (2, 1). Numbers are None where nothing was measured.
    """

    metric: str
    heading: str
    level: int | None
    a: float | None
    b: float | None
    difference: float | None
    ci_low: float | None
    ci_high: float | None
    p: float | None
    n: int | None
    groups: tuple[int, int]
    test: str


@dataclass(frozen=True)
class Comparison:
    """What both runs are, sentences about how far they can be compared, and a line a score and level."""

    a: dict[str, Any]
    b: dict[str, Any]
    benchmark: dict[str, Any]
    notes: tuple[str, ...]
    lines: tuple[Line, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain data of schema version 1."""
        return {"schema_version": 1, "alpha": ALPHA, **asdict(self)}


def compare_runs(a: Path, b: Path) -> Comparison:
    """Compare two scored runs; raises `MissingData` or `UsageError` where that cannot be done, and `BadInput`."""
    return compare_scored(*scored_alike(_scored(a), _scored(b)))


def compare_scored(one: ScoredRun, other: ScoredRun) -> Comparison:
    """Compare two scored runs that are read already; see `compare_runs`."""
    a, b = one.path, other.path
    _check_benchmark(one, other)
    keys = [key for key in one.cells if key in other.cells]
    if not keys:
        raise UsageError(f"{a} and {b} have no score in common; score both with the same metrics.")
    for key in keys:
        _check_signature(one, other, key)
    keys.sort(key=lambda key: (one.specs[key[0]].order, -1 if key[1] is None else key[1]))
    lines = tuple(_line(one, other, *key) for key in keys)
    benchmark = {key: one.data["benchmark"][key] for key in ("name", "version", "sha256")}
    notes = (*_notes(one, other), *_untested(lines, one, other))
    return Comparison(_what(one), _what(other), benchmark, notes, lines)


def _scored(path: Path) -> list[ScoredRun]:
    scored, unscored = collect([path], Choice(every=True))
    if unscored:
        raise MissingData(f"{path} is not scored yet. Run `{command('score', path)}`.")
    return scored


def _check_benchmark(one: ScoredRun, other: ScoredRun) -> None:
    a, b = (f"{d['name']}@{d['version']}:{d['sha256'][:8]}" for d in (one.data["benchmark"], other.data["benchmark"]))
    if a != b:
        raise UsageError(f"{one.path} was made on {a} and {other.path} on {b}; only runs of one benchmark compare.")


def _check_signature(one: ScoredRun, other: ScoredRun, key: tuple[str, int | None]) -> None:
    a, b = (str(run.cells[key].get("signature", "")) for run in (one, other))
    apart = [p for p in _parts(a) + _parts(b) if (p in _parts(a)) != (p in _parts(b))]
    if apart:
        raise UsageError(
            f"'{key[0]}' was measured differently in {one.path} and {other.path}: {' against '.join(apart)}. "
            "Score both with the same judges, protocol and thresholds."
        )
    if not one.specs[key[0]].same_rules(other.specs[key[0]]):
        raise UsageError(
            f"'{key[0]}' means different things in {one.path} and {other.path}: its kind, unit, direction or what a "
            "missing image counts as has changed. Score both with the same version of the metric."
        )


def _parts(signature: str) -> list[str]:
    return [part for part in signature.split("|") if not part.startswith(_FREE)]


def _line(one: ScoredRun, other: ScoredRun, metric: str, level: int | None) -> Line:
    a, b = (run.cells[metric, level]["value"] for run in (one, other))
    found, test = difference_of(one, other, metric, level)
    spec = one.specs[metric]
    groups = (1, 1)
    if found.p < ALPHA:
        groups = (1, 2) if spec.sign * found.value > 0 else (2, 1)
    gap, low, high, p = (None if math.isnan(v) else v for v in (found.value, found.ci_low, found.ci_high, found.p))
    a, b = (value if is_number(value) else None for value in (a, b))
    return Line(metric, spec.heading, level, a, b, gap, low, high, p, found.n or None, groups, test)


def _notes(one: ScoredRun, other: ScoredRun) -> Iterator[str]:
    if one.data["benchmark"].get("filter") != other.data["benchmark"].get("filter"):
        yield "The runs hold different parts of the benchmark: differences are over the samples both have."
    if one.seeds != other.seeds:
        yield f"The seeds differ ({one.seeds} and {other.seeds}), so the pairing is by layout and not by noise."
    for run in (one, other):
        missing = run.data.get("images", {}).get("n_missing", 0)
        if missing:
            yield f"{missing} images of {run.path} could not be judged; {_missing_rule(run)}."
    left = sorted({key[0] for key in one.cells.keys() ^ other.cells.keys()})
    if left:
        yield f"Scores of one run alone are left out: {', '.join(left)}."
    yield (
        "p is that of a permutation over samples; the interval holds the differences that it does not reject, so 0 is "
        f"outside where p < {ALPHA:g}."
    )
    yield f"p is not corrected for the number of lines; runs whose p is {ALPHA:g} or more are tied."


def _untested(lines: Sequence[Line], one: ScoredRun, other: ScoredRun) -> Iterator[str]:
    """Say which scores have a difference and no test."""
    bare = dict.fromkeys(line.heading for line in lines if line.test == NOT_TESTED and line.difference is not None)
    if bare:
        yield (
            f"{', '.join(bare)}: not tested, since what the test needs is not there any more, or was never kept. "
            f"`{command('score', one.path, other.path)}` makes it again for AP, FID and KID."
        )


def _missing_rule(run: ScoredRun) -> str:
    """Say what an image without evidence counts as: one rule a score, and not the same for all."""
    left_out = [spec.heading for spec in sorted(run.specs.values(), key=lambda s: s.order) if spec.missing is None]
    if not left_out:
        return "they count as failures"
    names = ", ".join(left_out)
    return (
        "they count as failures" + f", and are left out of {names}"
        if len(left_out) < len(run.specs)
        else (f"they are left out of {names}")
    )


def _what(run: ScoredRun) -> dict[str, Any]:
    return {"run": str(run.path), "method": run.method, "model": run.model, "seeds": run.seeds}
