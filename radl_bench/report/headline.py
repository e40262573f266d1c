"""The result in words, made from the numbers alone.

The rules, for the leading score of a section (the first of its table, e.g. R_inst) over all levels:

1. The best method comes first; beside it the baseline (Stable Diffusion without a layout) where it is another one.
2. The ceiling is what images that are right by construction score: "a perfect generator would score".
3. Then the best against the next best: "no difference shown" where both are in the group of ties of the best (paired
   permutation test, Holm's rule over all pairs), and all others of that group are named; else by how much it is ahead,
   with the paired 95 % interval.
"""

from __future__ import annotations

import math

from radl_bench.report.foremost import baseline_of, leading_score, ranked
from radl_bench.report.paired import difference_of
from radl_bench.report.scored_run import ScoredRun
from radl_bench.report.tables import Cell, Section
from radl_bench.scoring.metrics.spec import ScoreSpec

_NAMED = 3
_WHAT = {"instance": "objects", "image": "images", "relation": "relations"}


def headline(section: Section) -> str:
    """Return one to three sentences about who is ahead, by how much and how sure that is; "" without a number."""
    score = leading_score(section)
    order = ranked(section)
    if score is None or not order:
        return ""
    cells = {label: cell for _, label, cell in section.cells if cell.metric == score and cell.level is None}
    spec = section.specs[score]
    said = f"{_values(section, order, cells, spec)}{_ceiling(section, cells, spec)}."
    return said if len(order) < 2 else f"{said} {_against(order, cells, spec)}"


def _values(section: Section, order: list[tuple[ScoredRun, str]], cells: dict[str, Cell], spec: ScoreSpec) -> str:
    (best, label), base = order[0], baseline_of(section, None)
    first = cells[label].text
    if spec.is_rate and not spec.lower_is_better:
        said, unit = f"{label} puts {first} % of {_WHAT[spec.unit]} right", " %"
    else:
        less = " (less is better)" if spec.lower_is_better else ""
        said, unit = f"{label} has the best {spec.heading}{less}, {first}", ""
    if base is None or base[0] is best or base[1] not in cells or cells[base[1]].value is None:
        return said
    return f"{said}, {base[1]} {cells[base[1]].text}{unit}"


def _ceiling(section: Section, cells: dict[str, Cell], spec: ScoreSpec) -> str:
    right = [label for run, label in section.runs if run.ceiling]
    known = [cells[label] for label in right if label in cells and cells[label].value is not None]
    unit = " %" if spec.is_rate else ""
    return f"; a perfect generator would score {known[0].text}{unit}" if known else ""


def _against(order: list[tuple[ScoredRun, str]], cells: dict[str, Cell], spec: ScoreSpec) -> str:
    (best, label), (second, rival) = order[:2]
    tied = [name for _, name in order[1:] if cells[name].group == 1]
    if cells[label].group is None:
        return f"{label} against {rival}: not tested."
    if tied or cells[label].group != 1:
        return f"{label} against {_listed(tied or [rival])}: no difference shown."
    ahead, behind = (second, best) if spec.lower_is_better else (best, second)
    test, _ = difference_of(ahead, behind, spec.name, None)
    ends = "" if math.isnan(test.ci_low) else f" (95 % interval {spec.text(test.ci_low)} to {spec.text(test.ci_high)})"
    return f"{label} against {rival}, the next best: ahead by {spec.text(test.value)}{' points' * spec.is_rate}{ends}."


def _listed(names: list[str]) -> str:
    if len(names) > _NAMED:
        names = [*names[:_NAMED], f"{len(names) - _NAMED} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
