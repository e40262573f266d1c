"""Which clauses of a sample are checked: what DrawBench's three scores share.

A sample says by a tag what it tests: "attribute", "quantity" or "relation". One with none of these tags is tested on
what it states anyway, colours and relations; never on numbers, since a layout of two cars does not forbid a third.
"""

from __future__ import annotations

from radl_bench.scoring.metrics import Row, View
from radl_bench.types import Sample

KINDS = frozenset({"attribute", "quantity", "relation"})


def asks(sample: Sample, kind: str) -> bool:
    """Say whether the sample tests `kind`, one of `KINDS`."""
    named = KINDS.intersection(sample.tags)
    return kind in named if named else kind != "quantity"


def wanted(sample: Sample) -> dict[str, int]:
    """Return how many instances of each category the sample has, in order of appearance."""
    counts: dict[str, int] = {}
    for instance in sample.instances:
        counts[instance.category] = counts.get(instance.category, 0) + 1
    return counts


def lost(view: View, score: str, instances: list[int]) -> list[Row]:
    """Return a row without a value for each of these instances of an image that cannot be judged."""
    return [Row(n, score, float("nan"), f"no image: {view.problem}") for n in instances]
