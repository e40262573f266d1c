"""What papers print about these benchmarks (`reports/reported.json`): not measured here, never in our columns."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radl_bench.benchmarks.loading import family
from radl_bench.errors import BadInput, MissingData

REPORTED = "reported"
"""The scale of these numbers in CSV and JSON, beside "mini" and "paper"."""


@dataclass(frozen=True)
class ReportedColumn:
    """Metric (by the source's meaning, "r" where that is unknown), level or None, and the head of the column."""

    metric: str
    head: str
    level: int | None = None


@dataclass(frozen=True)
class ReportedLine:
    """One row as printed; `method` is the generator's name here, None for methods that we do not have."""

    label: str
    method: str | None
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class ReportedTable:
    """A table of a source, in per cent where the source prints rates; `decimals` as printed."""

    id: str
    name: str
    benchmark: str
    source: str
    decimals: int
    columns: tuple[ReportedColumn, ...]
    lines: tuple[ReportedLine, ...]
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """E.g. "Table III, drawbench (reported, not measured here)"."""
        known = "" if self.benchmark in self.name.lower() else f", {self.benchmark}"
        return f"{self.name}{known} (reported, not measured here)"

    def text(self, value: float | None) -> str:
        """Return a value as printed, a dash where it is not at hand."""
        return "–" if value is None else f"{value:.{self.decimals}f}"


def reported_tables(benchmarks: Iterable[str] | None = None, file: Path | None = None) -> tuple[ReportedTable, ...]:
    """Return the reported tables of these benchmarks ("coco-mig-public" counts as "coco-mig"), or all.

    Raises:
        MissingData: reported.json is not part of this installation.
        BadInput: it is not what it should be.
    """
    file = file or reported_file()
    try:
        content = json.loads(file.read_text("utf-8"))
        tables = tuple(_table(table, content["sources"]) for table in content["tables"])
    except OSError as error:
        raise MissingData(f"{file} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"{file} is no list of reported tables ({type(error).__name__}: {error}).") from error
    known = list(dict.fromkeys(table.benchmark for table in tables))
    wanted = None if benchmarks is None else {family(name, known) for name in benchmarks}
    return tuple(table for table in tables if wanted is None or table.benchmark in wanted)


def reported_file() -> Path:
    """Return the path of reported.json, in an installed package or in a checkout; raises `MissingData`."""
    package = Path(__file__).parents[1]
    for file in (package / "_reports" / "reported.json", package.parent / "reports" / "reported.json"):
        if file.is_file():
            return file
    raise MissingData("reported.json is not part of this installation. Install radl-bench again, or leave it out.")


def _table(table: dict[str, Any], sources: dict[str, str]) -> ReportedTable:
    columns = tuple(ReportedColumn(c["metric"], c["head"], c.get("level")) for c in table["columns"])
    lines = tuple(ReportedLine(r["label"], r["method"], tuple(r["values"])) for r in table["rows"])
    for line in lines:
        if len(line.values) != len(columns):
            raise ValueError(
                f"'{line.label}' of {table['id']} has {len(line.values)} values for {len(columns)} columns"
            )
    return ReportedTable(
        id=table["id"],
        name=table["name"],
        benchmark=table["benchmark"],
        source=sources[table["source"]],
        decimals=int(table["decimals"]),
        columns=columns,
        lines=lines,
        notes=tuple(table["notes"]),
    )
