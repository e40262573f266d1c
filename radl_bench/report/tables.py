"""Tables of a report as plain data: what stands where, and which numbers are marked. No layout, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from radl_bench.report.collect import Group
from radl_bench.report.glossary import meaning
from radl_bench.report.layouts import AVERAGE, in_order, layout_of
from radl_bench.report.notes import footnotes, notes_of
from radl_bench.report.scored_run import ScoredRun
from radl_bench.report.ties import column_groups, is_number
from radl_bench.runs.scale import LABELS
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.types import TableLayout

NOTHING = "–"
"""What stands where nothing was measured."""

_REST = "Other scores"


@dataclass(frozen=True)
class Cell:
    """One number: value and 95 % interval in the unit of the table, its tie group, and whether it alone is the best.

    `value` is None when nothing could be measured; `group` is None for the reference and for a single contestant.
    `note` is a sentence that must stand by the number. `stratum` is the part of the benchmark, e.g. "size=small", of a
    number that is not of a level.
    """

    spec: ScoreSpec
    level: int | None
    value: float | None
    low: float | None
    high: float | None
    n: int
    missing: int
    signature: str
    group: int | None
    best: bool
    note: str | None = None
    stratum: str | None = None

    @property
    def metric(self) -> str:
        """The name of the score."""
        return self.spec.name

    @property
    def tied(self) -> bool:
        """Whether the number shares the best group with another one."""
        return self.group == 1 and not self.best

    @property
    def text(self) -> str:
        """The value as every format prints it."""
        return NOTHING if self.value is None else self.spec.text(self.value)

    @property
    def interval(self) -> str:
        """The ends of the interval as every format prints them: "94.2, 98.8"."""
        if self.low is None or self.high is None:
            return NOTHING
        return f"{self.spec.text(self.low)}, {self.spec.text(self.high)}"


Grid = dict[tuple[int, str, int | None], Cell]
"""Cells by (index of the run, metric, level)."""

Head = tuple[str, tuple[str, "int | None"]]
"""Head of a column, and the (metric, level) below it."""


@dataclass(frozen=True)
class Line:
    """One method of a table; `cells` follow the table's columns, None where the run has no such score.

    `reference` marks images that are right or wrong by construction, which take no part in the contest; `ceiling` those
    that are right, so what they score is the most that a method can.
    """

    label: str
    model: str
    cells: tuple[Cell | None, ...]
    reference: bool = False
    ceiling: bool = False

    @property
    def name(self) -> str:
        """The label, and whether this is the ceiling."""
        return f"{self.label}, ceiling" if self.ceiling else self.label


@dataclass(frozen=True)
class Table:
    """Title, column heads and lines; every line has as many cells as there are heads.

    `first` are the heads of a line's label and model; a `narrow` table fits a terminal of 80 columns.
    """

    title: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]
    first: tuple[str, str] = ("method", "model")
    narrow: bool = False

    def ends(self) -> Iterator[tuple[Line, bool]]:
        """Yield the lines, each with whether it is the last of the references, after which the contest begins."""
        following = [line.reference for line in self.lines[1:]] + [False]
        for line, more in zip(self.lines, following, strict=True):
            yield line, line.reference and not more


@dataclass(frozen=True)
class Section:
    """Everything about one group of comparable runs; `cells` are all scores, also those that no table shows.

    `more` are the other numbers of its tables: by stratum, and shares of instances without guidance.
    """

    title: str
    cells: tuple[tuple[ScoredRun, str, Cell], ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    signatures: tuple[str, ...]
    specs: Mapping[str, ScoreSpec]
    layout: TableLayout
    more: tuple[tuple[ScoredRun, str, Cell], ...] = ()
    headline: str = ""
    """The result in words, "" where there is none; see `headline`."""

    @property
    def glossary(self) -> tuple[tuple[str, str], ...]:
        """What each head of a column means, once, in the order of the columns."""
        return tuple((spec.column, meaning(spec)) for spec in in_order(self.specs.values()))

    @property
    def runs(self) -> tuple[tuple[ScoredRun, str], ...]:
        """The runs with their labels, in the order of the tables."""
        return tuple({run.path: (run, label) for run, label, _ in self.cells}.values())


def build_section(group: Group, title: str) -> Section:
    """Lay out one group: the table of the literature for its benchmark, then every other score over all levels."""
    grid = _cells(group)
    levels = sorted({level for run in group.runs for _, level in run.cells if level is not None})
    layout = layout_of(group.benchmark["name"], group.table, group.specs.values())
    tables = tuple(_tables(group, grid, layout, levels, LABELS[group.scale]))
    listed, notes = tuple(_listed(group, grid)), (*_mirrored(layout, tables), *notes_of(group))
    return Section(title, listed, tables, notes, tuple(footnotes(group, grid)), group.specs, layout)


def _listed(group: Group, grid: Grid) -> Iterator[tuple[ScoredRun, str, Cell]]:
    for n, (run, label) in enumerate(zip(group.runs, group.labels(), strict=True)):
        for metric, level in sorted(run.cells, key=lambda key: (run.specs[key[0]].order, key[1] is None, key[1] or 0)):
            yield run, label, grid[n, metric, level]


def _cells(group: Group) -> Grid:
    keys = dict.fromkeys(key for run in group.runs for key in run.cells)
    grid: Grid = {}
    for metric, level in keys:
        groups = column_groups(group.runs, metric, level)
        alone = list(groups.values()).count(1) == 1  # in the group of the best
        for n, run in enumerate(group.runs):
            if (metric, level) in run.cells:
                grid[n, metric, level] = _cell(group.specs[metric], run.cells[metric, level], groups.get(n), alone)
    return grid


def _cell(spec: ScoreSpec, score: dict, group: int | None, alone: bool) -> Cell:
    value, low, high = (float(score[k]) if is_number(score[k]) else None for k in ("value", "ci_low", "ci_high"))
    return Cell(
        spec=spec,
        level=score["level"],
        value=value,
        low=low,
        high=high,
        n=int(score["n"]),
        missing=int(score["n_missing"]),
        signature=str(score.get("signature", "")),
        group=group,
        best=group == 1 and alone,
        note=score.get("note"),
    )


def _tables(group: Group, grid: Grid, layout: TableLayout, levels: list[int], mark: str) -> Iterator[Table]:
    specs = group.specs
    main = [specs[name] for name in layout.columns if name in specs]
    rest = [spec for spec in in_order(specs.values()) if spec not in main]
    where = f"L{levels[0]}" if len(levels) == 1 else "all levels"
    if layout.by_level and len(levels) > 1:
        yield from (_level_table(group, grid, spec, levels, mark) for spec in main)
    elif main:
        title = f"{layout.what}, {where}" if layout.by_level else layout.what
        yield _table(group, grid, _title_of(title, mark), _heads(main))
    if rest:
        yield _table(group, grid, _tagged(f"{_REST}, {where}", mark), _heads(rest))


def _level_table(group: Group, grid: Grid, spec: ScoreSpec, levels: list[int], mark: str) -> Table:
    heads: list[Head] = [*((f"L{level}", (spec.name, level)) for level in levels), (AVERAGE, (spec.name, None))]
    return _table(group, grid, _title_of(f"{spec.column} by number of objects", mark), heads)


def _title_of(what: str, mark: str) -> str:
    return _tagged(what[0].upper() + what[1:] if what.split()[0].islower() else what, mark)


def _mirrored(layout: TableLayout, tables: Sequence[Table]) -> Iterator[str]:
    """Say once which table of the literature these follow."""
    if layout.name and any(not table.title.startswith(_REST) for table in tables):
        yield f"Laid out as {layout.name} of the literature."


def _heads(specs: Iterable[ScoreSpec]) -> list[Head]:
    return [(spec.column, (spec.name, None)) for spec in specs]


def _table(group: Group, grid: Grid, title: str, heads: Sequence[Head]) -> Table:
    lines = tuple(
        Line(
            label,
            run.model,
            tuple(grid.get((n, metric, level)) for _, (metric, level) in heads),
            run.reference,
            run.ceiling,
        )
        for n, (run, label) in enumerate(zip(group.runs, group.labels(), strict=True))
    )
    return Table(title, tuple(head for head, _ in heads), lines)


def _tagged(title: str, mark: str) -> str:
    return f"{title} ({mark})" if mark else title
