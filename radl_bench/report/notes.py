"""The sentences that stand by the tables of a group, and the lines below them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from radl_bench.report.collect import Group
from radl_bench.report.layouts import in_order
from radl_bench.report.scored_run import WAYS_TO_BE_WRONG, ScoredRun
from radl_bench.report.ties import too_many
from radl_bench.runs.scale import MINI

if TYPE_CHECKING:
    from radl_bench.report.tables import Grid

_SCALE_NOTES = {
    MINI: "mini: made by the embedded small models or measured by the embedded judges; not comparable with papers.",
    None: "scale not stated: these methods do not declare a scale (mini or paper), so no table holds them with others.",
}


def notes_of(group: Group) -> Iterator[str]:
    """Yield what a reader of a group's tables has to know, as sentences."""
    if group.scale in _SCALE_NOTES:
        yield _SCALE_NOTES[group.scale]
    if group.scale == MINI:
        yield _bounds(group)
    yield from filter(None, map(_progress, group.runs, group.labels()))
    yield from _said_by(group)
    if group.seeds_differ:
        yield "Seeds differ, as the labels say: these methods did not start from the same noise."
    for spec in in_order(group.specs.values()):
        if most := too_many(group.runs, spec.name):
            yield (
                f"{spec.heading}: nothing is marked. Among more than {most} methods its paired test has too few swaps "
                "to tell any two apart; `radl-bench compare` tests two of them."
            )
    limits = [run.data["benchmark"].get("filter", {}).get("limit") for run in group.runs]
    if len(set(limits)) > 1:
        sizes = (f"{label} {limit or 'all'}" for label, limit in zip(group.labels(), limits, strict=True))
        yield f"Numbers of samples differ ({', '.join(sizes)}); ties are judged on the samples all methods have."
    elif limits[0]:
        yield f"A part of the benchmark: {limits[0]} samples."


def _said_by(group: Group) -> Iterator[str]:
    """Yield what the runs say of their images and judges, once, with the names of those that say it."""
    said: dict[str, list[str]] = {}
    for run, label in zip(group.runs, group.labels(), strict=True):
        for note in dict.fromkeys(run.notes):
            said.setdefault(note, []).append(f"{label} ({run.model})")
    for note, names in said.items():
        everyone = len(names) == len(group.runs) > 1
        yield f"{'All methods' if everyone else ', '.join(names)}: {note}"


def _bounds(group: Group) -> str:
    """Say between which rows the numbers of the mini world lie, and how to get the rows that are not there."""
    floors = {run.wrong for run in group.runs if run.floor}
    ceiling = any(run.ceiling for run in group.runs)
    other = ", ".join(kind for kind in WAYS_TO_BE_WRONG if kind not in floors)
    shown = ["right (the ceiling)"] * ceiling + [f"wrong {kind} (a floor)" for kind in sorted(filter(None, floors))]
    lacking = ["ceiling (--method sprites)"] * (not ceiling)
    lacking += [f"floor (--method sprites --set wrong={other})"] if other else []
    said = [f"Scenes drawn on purpose, between which methods lie: {', '.join(shown)}."] if shown else []
    if lacking:
        said.append(
            f"Not shown, what the judges give to scenes drawn right or wrong on purpose: {' and '.join(lacking)}."
        )
    return " ".join(said)


def _progress(run: ScoredRun, label: str) -> str | None:
    """Say that a run was still going when it was scored, or has gone on since."""
    name = f"{label} ({run.model})"
    if run.status == "outdated":
        return f"{name}: this run asks for {run.planned:,} images now, of which {run.images:,} are in these numbers."
    if run.complete:
        return None
    missing = int(run.data.get("images", {}).get("n_missing", 0))
    there = f"; {run.images - missing:,} of {run.images:,} images were there" if run.images else ""
    return f"{name}: this run was still going, or stopped early, when it was scored{there}."


def footnotes(group: Group, grid: Grid) -> Iterator[str]:
    """Yield a line for each metric over all levels and each different (n, missing, signature)."""
    labels = group.labels()
    for spec in in_order(group.specs.values()):
        at = ((label, (n, spec.name, None)) for n, label in enumerate(labels))
        cells = {label: grid[key] for label, key in at if key in grid}
        kinds = dict.fromkeys((cell.n, cell.missing, cell.signature) for cell in cells.values())
        for n, missing, signature in kinds:
            of = [label for label, c in cells.items() if (c.n, c.missing, c.signature) == (n, missing, signature)]
            whose = "" if len(kinds) == 1 else f" ({', '.join(of)})"
            yield f"{spec.heading}{whose}: n {n:,}, missing {missing:,}; `{signature}`"
        for note in dict.fromkeys(cell.note for cell in cells.values() if cell.note):
            noted = ", ".join(label for label, cell in cells.items() if cell.note == note)
            yield f"{spec.heading} ({noted}): {note}"
