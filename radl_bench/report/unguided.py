"""The share of instances that a method gave no guidance, as a column beside its scores.

A method that finds no word for an instance, or has no slot or class for it, leaves it to the text alone and says so in
the image's row; its scores are to be read with that share.
"""

from __future__ import annotations

from dataclasses import replace

from radl_bench.report.collect import Group
from radl_bench.report.tables import Cell, Section
from radl_bench.scoring.metrics.spec import ScoreSpec

SPEC = ScoreSpec(
    "unguided",
    "Unguided %",
    "mean",
    "instance",
    missing=None,
    lower_is_better=True,
    about="the share of instances that a method, by its own record, could not guide",
)
NOTE = (
    "Unguided %: the share of instances that a method, by its own record, could not guide, as the prompt lacks their "
    "words or the method a place for them; a dash where it records none."
)


def with_unguided(section: Section, group: Group) -> Section:
    """Return the section with that column at the end of every table, and as it is where no run records any."""
    runs = list(zip(group.runs, group.labels(), strict=True))
    cells = {(label, run.model): _cell(*run.unguided) for run, label in runs if run.unguided}
    if not cells:
        return section
    tables = tuple(
        replace(
            table,
            heads=(*table.heads, SPEC.column),
            lines=tuple(
                replace(line, cells=(*line.cells, cells.get((line.label, line.model)))) for line in table.lines
            ),
        )
        for table in section.tables
    )
    more = tuple((run, label, cells[label, run.model]) for run, label in runs if run.unguided)
    return replace(section, tables=tables, notes=(*section.notes, NOTE), more=(*section.more, *more))


def _cell(n: int, of: int) -> Cell:
    return Cell(SPEC, None, 100.0 * n / of, None, None, of, 0, f"unguided|n:{of}", None, False)
