"""Tables by stratum: every score of a group over the samples of a level, a tercile of size or overlap, or over the
instances of a class or colour, with interval and ties as for the whole. Read from rows and parts; nothing is judged.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from radl_bench.benchmarks.strata import FACTS, MEANINGS, NAMES, tercile_of
from radl_bench.errors import RadlBenchError, UsageError, did_you_mean
from radl_bench.report.collect import Group
from radl_bench.report.layouts import AVERAGE, in_order
from radl_bench.report.paired import difference_of
from radl_bench.report.scored_run import ScoredRun
from radl_bench.report.strata_scores import Measured, measured_of
from radl_bench.report.tables import Cell, Line, Section, Table
from radl_bench.report.ties import too_many
from radl_bench.runs.scale import LABELS
from radl_bench.scoring.metrics.ap_parts import NAMES as NAMES_OF_AP
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.permutation import tie_groups
from radl_bench.scoring.shared_swaps import SharedSwaps, swaps_for
from radl_bench.types import COLORS, Benchmark

BY = ("level", "size", "overlap", "class", "color")
OF_INSTANCES = ("class", "color")
"""What parts the instances and not the samples: only scores that count instances have such tables."""

_ANY_COLOR = "any"


@dataclass(frozen=True)
class Stratum:
    """A part of a benchmark.

    Attributes:
        samples: its samples; instances: of these, by number, None for all and the whole image.
        category: the class that the instances are all of, None where they are not parted by class.
    """

    name: str
    samples: frozenset[str]
    instances: frozenset[tuple[str, int]] | None = None
    category: str | None = None


def check_by(by: Sequence[str]) -> None:
    """Raise `UsageError` for a word that is none of `BY`."""
    for word in by:
        if word not in BY:
            raise UsageError(did_you_mean(word, BY, "stratum"))


def strata_of(benchmark: Benchmark, by: str) -> list[Stratum]:
    """Return the strata of a benchmark, none of them empty, in order; classes by falling number of instances."""
    if by in OF_INSTANCES:
        return _of_instances(benchmark, by)
    names = NAMES.get(by, ())
    found: dict[int, set[str]] = {}
    for sample in benchmark.samples:
        fact = tercile_of(FACTS[by](sample), benchmark.strata[by]) if by in FACTS else sample.level
        found.setdefault(fact, set()).add(sample.id)
    return [Stratum(names[n] if names else f"L{n}", frozenset(found[n])) for n in sorted(found)]


def _of_instances(benchmark: Benchmark, by: str) -> list[Stratum]:
    found: dict[str, set[tuple[str, int]]] = {}
    for sample in benchmark.samples:
        for n, instance in enumerate(sample.instances):
            name = instance.category if by == "class" else instance.color or _ANY_COLOR
            found.setdefault(name, set()).add((sample.id, n))
    colors = (*COLORS, _ANY_COLOR)
    order = sorted(found, key=lambda name: (-len(found[name]), name) if by == "class" else (colors.index(name), name))
    return [
        Stratum(name, frozenset(s for s, _ in found[name]), frozenset(found[name]), name if by == "class" else None)
        for name in order
    ]


def with_strata(section: Section, group: Group, by: Sequence[str]) -> Section:
    """Return a section with the tables of these strata at its end, and a note that says what each means."""
    for word in dict.fromkeys(by):
        try:
            benchmark = max((run.plan.benchmark for run in group.runs), key=lambda b: len(b.samples))
        except RadlBenchError as error:
            section = replace(section, notes=(*section.notes, f"No tables by {word}: {error}"))
            continue
        made = _Tables(section, group, benchmark, word)
        tables = tuple(made.tables())
        section = replace(
            section,
            tables=(*section.tables, *tables),
            notes=(*section.notes, *made.notes(bool(tables))),
            more=(*section.more, *made.cells),
        )
    return section


class _Tables:
    """The tables of one kind of strata, and the cells in them."""

    def __init__(self, section: Section, group: Group, benchmark: Benchmark, by: str) -> None:
        self.group, self.benchmark, self.by = group, benchmark, by
        places = {run.path: n for n, run in enumerate(group.runs)}
        self.whole = {(places[run.path], cell.metric): cell for run, _, cell in section.cells if cell.level is None}
        self.layout, self.labels = section.layout, group.labels()
        self.strata = strata_of(benchmark, by)
        self.specs = [spec for spec in in_order(group.specs.values()) if self._breaks_down(spec)]
        self.measured = self._measure()
        self.cells: list[tuple[ScoredRun, str, Cell]] = []
        self.without: list[str] = []

    def _breaks_down(self, spec: ScoreSpec) -> bool:
        shown = self.by == "level" and self.layout.by_level and spec.name in self.layout.columns
        return not shown and (self.by not in OF_INSTANCES or spec.unit == "instance")

    def _measure(self) -> dict[tuple[str, str], dict[int, Measured]]:
        """Return by score and stratum what each run has, by number; one run at a time, as its rows are large."""
        measured: dict[tuple[str, str], dict[int, Measured]] = {}
        for n, run in enumerate(self.group.runs):
            rows = run.rows()
            for stratum in self.strata:
                for name, found in measured_of(run, rows, self.specs, stratum).items():
                    measured.setdefault((name, stratum.name), {})[n] = found
        return measured

    def tables(self) -> Iterator[Table]:
        """Yield a table for each score that can be broken down so."""
        for spec in self.specs:
            columns = [self._column(spec, stratum) for stratum in self.strata]
            if not any(columns) and spec.name in NAMES_OF_AP:
                self.without.append(spec.column)
            elif any(columns):
                whole = {n: cell for (n, metric), cell in self.whole.items() if metric == spec.name}
                mark = LABELS[self.group.scale]
                title = f"{spec.column} by {self.by}" + (f" ({mark})" if mark else "")
                yield (self._classes if self.by == "class" else self._methods)(title, [*columns, whole])

    def notes(self, any_table: bool) -> list[str]:
        """Say what the strata are."""
        if not any_table:
            return [f"No score can be broken down by {self.by}: the rows of these scores are not there."]
        return [*self._meaning(), *self._no_ap(), *self._bare()]

    def _no_ap(self) -> list[str]:
        """Say where AP has no table: a detection that hits no box belongs to no instance."""
        if not self.without:
            return []
        names = ", ".join(self.without)
        return [f"By {self.by}, no table of {names}: what is kept of a detection does not say its {self.by}."]

    def _bare(self) -> list[str]:
        """Say why some numbers have no interval."""
        reasons = dict.fromkeys(_reason(cell.note) for _, _, cell in self.cells if cell.note)
        return [f"By {self.by}, where a number has no interval: {' '.join(reasons)}"] if reasons else []

    def _meaning(self) -> list[str]:
        if self.by not in FACTS:
            return []
        low, high = self.benchmark.strata[self.by]
        counts = Counter({s.name: len(s.samples) for s in self.strata})
        first, second, third = NAMES[self.by]
        parts = (f"{first} up to {low:g}", f"{second} up to {high:g}", f"{third} above")
        sizes = ", ".join(f"{text} (n {counts[name]})" for text, name in zip(parts, NAMES[self.by], strict=True))
        return [f"By {self.by}, {MEANINGS[self.by]}; terciles of the whole benchmark, n samples here: {sizes}."]

    def _column(self, spec: ScoreSpec, stratum: Stratum) -> dict[int, Cell]:
        """Return the cells of a score in a stratum by number of the run; none where nothing is known."""
        runs = self.group.runs
        found = self.measured.get((spec.name, stratum.name), {})
        groups = _ties(runs, spec, stratum, found)
        alone = list(groups.values()).count(1) == 1
        cells = {}
        for n, of in found.items():
            signature = str(runs[n].cells[spec.name, None].get("signature", ""))
            group = groups.get(n)
            cells[n] = of.cell(spec, f"{self.by}={stratum.name}", signature, group, group == 1 and alone)
            self.cells.append((runs[n], self.labels[n], cells[n]))
        return cells

    def _methods(self, title: str, columns: Sequence[dict[int, Cell]]) -> Table:
        lines = tuple(
            Line(label, run.model, tuple(column.get(n) for column in columns), run.reference, run.ceiling)
            for n, (run, label) in enumerate(zip(self.group.runs, self.labels, strict=True))
        )
        return Table(title, (*(stratum.name for stratum in self.strata), AVERAGE), lines, narrow=True)

    def _classes(self, title: str, columns: Sequence[dict[int, Cell]]) -> Table:
        """Lay classes out as lines, since there are many."""
        numbers = [str(len(stratum.instances or ())) for stratum in self.strata]
        names = [*(stratum.name for stratum in self.strata), AVERAGE]
        sizes = [*numbers, str(sum(map(int, numbers)))]
        lines = tuple(
            Line(name, size, tuple(column.get(n) for n in range(len(self.labels))))
            for name, size, column in zip(names, sizes, columns, strict=True)
        )
        return Table(title, tuple(self.labels), lines, first=("class", "instances"), narrow=True)


def _reason(note: str) -> str:
    # how few samples there are differs from stratum to stratum; the cell says it
    return re.sub(r", here (is|are) \d+\.$", ".", note)


def _ties(runs: Sequence[ScoredRun], spec: ScoreSpec, stratum: Stratum, found: dict[int, Measured]) -> dict[int, int]:
    """Return the tie group of each contestant, as `ties.column_groups` does for the whole."""
    contest = {n: of for n, of in found.items() if not runs[n].reference and not math.isnan(of.value)}
    if len(contest) < 2 or too_many(runs, spec.name):
        return {}
    sums = {n: of.sums for n, of in contest.items() if of.sums is not None}
    shared = sorted(frozenset.intersection(*(frozenset(s.ids) for s in sums.values()))) if sums else []
    if sums and (not shared or len(sums) < len(contest)):
        return {}
    taken = {n: s.take(shared) for n, s in sums.items()}
    place = {n: k for k, n in enumerate(taken)}
    swaps = SharedSwaps(list(taken.values()), swaps=swaps_for(len(contest))) if taken else None
    known: list[bool] = []
    values = {str(n): taken[n].value if taken else of.value for n, of in contest.items()}

    def p_of(best: str, rival: str) -> float:
        a, b = int(best), int(rival)
        if swaps is not None:
            gap, p = swaps.test(place[a], place[b])
        else:
            test, _ = difference_of(runs[a], runs[b], spec.name, None, stratum.samples, stratum.category)
            gap, p = test.value, test.p
        known.append(not math.isnan(p))
        return p if spec.sign * gap > 0 else math.nan

    groups = tie_groups(values, p_of, higher_is_better=not spec.lower_is_better)
    return {int(name): group for name, group in groups.items()} if any(known) else {}
