"""How the scores of a benchmark are laid out: by the `[table]` of its `benchmark.toml`, or by the scores' own facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from radl_bench.benchmarks.loading import benchmark_folders, family, packaged
from radl_bench.benchmarks.toml import read_table, read_toml
from radl_bench.errors import RadlBenchError
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.types import TableLayout

AVERAGE = "avg"
"""Head of the column over all levels. As in the literature it is the mean over objects (or images), not over levels."""


def layout_of(benchmark: str, table: object, specs: Iterable[ScoreSpec]) -> TableLayout:
    """Return the layout of a benchmark's main table.

    Args:
        benchmark: its name.
        table: the `[table]` that its scores carry; scores of older versions carry none.
        specs: the scores that there are.

    A benchmark without one takes that of the benchmark it is a variant of ("coco-mig-public" of "coco-mig"); any other
    gets the scores that are worth a table by number of objects.
    """
    try:
        found = read_table(table, benchmark) if table else _own_layout(benchmark)
    except RadlBenchError:
        found = None  # scores of another version: their numbers stand
    if found is not None:
        return found
    by_level = tuple(spec.name for spec in in_order(specs) if spec.by_level)
    return TableLayout("", "success and position", by_level, by_level=True)


def _own_layout(benchmark: str) -> TableLayout | None:
    folder = benchmark_folders().get(family(benchmark, packaged()))
    if folder is None:
        return None
    file = folder / "benchmark.toml"
    return read_table(read_toml(file).get("table"), str(file))


def in_order(specs: Iterable[ScoreSpec]) -> list[ScoreSpec]:
    """Return each score once, in the order of the columns."""
    return sorted({spec.name: spec for spec in specs}.values(), key=lambda spec: spec.order)


def differences_of(layout: TableLayout, specs: Mapping[str, ScoreSpec]) -> list[str]:
    """Return the names of the scores whose differences are worth a panel, most telling first."""
    names = layout.differences or (*layout.columns, *(spec.name for spec in in_order(specs.values())))
    return [name for name in dict.fromkeys(names) if name in specs]
